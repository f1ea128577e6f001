"""Document → chunks: pure, in time linear in the text; the ingestor embeds what comes out.

The text is parted into pieces (pieces.py), which are packed into chunks in order. A chunk ends where it is full, at the
best place in its last third; before a heading, if it is not short; before another slide or sheet, always.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Self

from morag.domain.content import Chunk, Document, Place, Segment
from morag.domain.errors import InvalidRequest
from morag.domain.json import Json
from morag.pipeline.ingestion.pieces import Break, Piece, markdown_pieces, paragraph_pieces, parts, sentence_pieces

DEFAULT_SIZE, DEFAULT_OVERLAP = 1200, 120
SMALLEST, LARGEST = 50, 100_000
_SHORT = 1 / 4
"""Less of the size than this, and a heading does not end a chunk: a title is no chunk of its own."""
_STEPS = 8
"""Parts of a chunk's size that text without good places to cut comes in."""

CountTokens = Callable[[Sequence[str]], list[int]]


class ChunkStrategy(StrEnum):
    """Where chunks may be cut, as long as they fit."""

    MARKDOWN = "markdown"
    SENTENCE = "sentence"
    PARAGRAPH = "paragraph"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkOptions:
    """Sizes in characters; `max_tokens`, as `count_tokens` counts them, caps a chunk besides where both are given."""

    chunk_size: int = DEFAULT_SIZE
    chunk_overlap: int = DEFAULT_OVERLAP
    strategy: ChunkStrategy = ChunkStrategy.MARKDOWN
    max_tokens: int | None = None
    count_tokens: CountTokens | None = None

    @classmethod
    def of(cls, asked: Mapping[str, Json]) -> Self:
        """From `chunk_size`, `chunk_overlap`, `strategy`, each optional. Raises InvalidRequest naming the field."""
        size = _whole(asked, "chunk_size", DEFAULT_SIZE, least=SMALLEST, most=LARGEST)
        overlap = _whole(asked, "chunk_overlap", min(DEFAULT_OVERLAP, size // 10), least=0, most=size - 1)
        name = asked.get("strategy") or ChunkStrategy.MARKDOWN
        if name not in list(ChunkStrategy):
            raise InvalidRequest(
                f"There is no chunking strategy {name!r}.",
                hint=f"Choose one of: {', '.join(ChunkStrategy)}.",
                field="strategy",
            )
        return cls(chunk_size=size, chunk_overlap=overlap, strategy=ChunkStrategy(str(name)))


@dataclass(frozen=True, slots=True)
class _Weighed:
    piece: Piece
    tokens: int


def chunk(document: Document, options: ChunkOptions) -> list[Chunk]:
    """Chunks in order; none of a document without a letter or digit."""
    text = document.markdown
    pieces = _by_part(_pieces(text, options.strategy), document.segments)
    weighed = _fitting(text, pieces, options)
    starts = [segment.text_start for segment in document.segments]
    chunks: list[Chunk] = []
    for first, last in _packed(weighed, options):
        begin = weighed[first].piece
        start, end = _stripped(text, begin.start, weighed[last - 1].piece.end)
        if any(map(str.isalnum, text[start:end])):
            place = _place(document.segments, starts, start, end)
            place = place if place.heading_path else replace(place, heading_path=begin.heading_path)
            chunks.append(Chunk(index=len(chunks), text=text[start:end], text_start=start, text_end=end, place=place))
    return chunks


def _whole(asked: Mapping[str, Json], field: str, default: int, *, least: int, most: int) -> int:
    value = asked.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidRequest(f"{field} must be a whole number from {least} to {most}.", field=field)
    return value


def _pieces(text: str, strategy: ChunkStrategy) -> Iterator[Piece]:
    match strategy:
        case ChunkStrategy.MARKDOWN:
            return markdown_pieces(text)
        case ChunkStrategy.SENTENCE:
            return sentence_pieces(text)
        case ChunkStrategy.PARAGRAPH:
            return paragraph_pieces(text)
        case ChunkStrategy.FIXED:
            return parts(text, Piece(0, len(text), Break.WORD), step=SMALLEST, longest=LARGEST)


def _by_part(pieces: Iterator[Piece], segments: Sequence[Segment]) -> Iterator[Piece]:
    """The pieces, those marked with which another slide or sheet begins."""
    turns = [
        after.text_start
        for before, after in pairwise(segments)
        if (before.place.slide, before.place.sheet) != (after.place.slide, after.place.sheet)
    ]
    turn = 0
    for piece in pieces:
        passed = bisect_left(turns, piece.end, lo=turn)
        yield replace(piece, before=Break.PART) if passed > turn else piece
        turn = passed


def _fitting(text: str, pieces: Iterator[Piece], options: ChunkOptions) -> list[_Weighed]:
    """Every piece, or parts of it that fit a chunk, with its tokens (0 where nobody counts)."""
    size, most = options.chunk_size, options.max_tokens
    step = max(size // _STEPS, 1)
    fitting = [
        part
        for piece in pieces
        for part in ([piece] if piece.size <= size else parts(text, piece, step=step, longest=size))
    ]
    if options.count_tokens is None or most is None:
        return [_Weighed(piece, 0) for piece in fitting]
    weighed: list[_Weighed] = []
    for given in _weigh(text, fitting, options.count_tokens):
        if given.tokens <= most:
            weighed.append(given)
        else:  # a token is a character at least
            smaller = list(parts(text, given.piece, step=min(step, most), longest=most))
            weighed.extend(_weigh(text, smaller, options.count_tokens))
    return weighed


def _weigh(text: str, pieces: Sequence[Piece], count_tokens: CountTokens) -> list[_Weighed]:
    counts = count_tokens([text[piece.start : piece.end] for piece in pieces])
    return [_Weighed(piece, count) for piece, count in zip(pieces, counts, strict=True)]


def _packed(weighed: Sequence[_Weighed], options: ChunkOptions) -> Iterator[tuple[int, int]]:
    """The chunks, each as its first piece and the one after its last."""
    first = fresh = 0
    while fresh < len(weighed):
        cut = _end(weighed, first, fresh, options)
        yield first, cut
        first, fresh = _overlap_start(weighed, first, cut, options), cut


def _end(weighed: Sequence[_Weighed], first: int, fresh: int, options: ChunkOptions) -> int:
    """Where the chunk from `first` ends; it holds the piece `fresh`, which no chunk held before."""
    begin, tokens = weighed[first].piece.start, 0
    for at in range(first, len(weighed)):
        piece = weighed[at].piece
        tokens += weighed[at].tokens
        if at <= fresh:
            continue
        if piece.before is Break.PART:
            return at
        if piece.before is Break.HEADING and piece.start - begin >= options.chunk_size * _SHORT:
            return at
        if not _fits(piece.end - begin, tokens, options):
            return _best_cut(weighed, first, fresh + 1, at)
    return len(weighed)


def _fits(size: int, tokens: int, options: ChunkOptions) -> bool:
    return size <= options.chunk_size and (options.max_tokens is None or tokens <= options.max_tokens)


def _best_cut(weighed: Sequence[_Weighed], first: int, least: int, full: int) -> int:
    """Of the last third before `full`, the piece that a chunk best begins with; of equals the last."""
    begin = weighed[first].piece.start
    late = begin + (weighed[full].piece.start - begin) * 2 / 3
    best = full
    for at in range(full - 1, least - 1, -1):
        piece = weighed[at].piece
        if piece.start < late:
            break
        if piece.before > weighed[best].piece.before:
            best = at
    return best


def _overlap_start(weighed: Sequence[_Weighed], first: int, cut: int, options: ChunkOptions) -> int:
    """The first of the pieces before `cut` that the next chunk repeats; `cut` if it begins something new."""
    if cut == len(weighed) or weighed[cut].piece.before >= Break.HEADING:
        return cut
    start, end, tokens = cut, weighed[cut].piece, weighed[cut].tokens
    while start - 1 > first:
        back = weighed[start - 1]
        tokens += back.tokens
        is_small = end.start - back.piece.start <= options.chunk_overlap
        if not is_small or not _fits(end.end - back.piece.start, tokens, options):
            break
        start -= 1
    return start


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())


def _place(segments: Sequence[Segment], starts: Sequence[int], start: int, end: int) -> Place:
    """The place of the first segment the chunk touches, up to the time the last one ends."""
    at = max(bisect_right(starts, start) - 1, 0)
    if at < len(segments) and segments[at].text_end <= start:
        at += 1
    last = bisect_left(starts, end) - 1
    if at > last:
        return Place()
    return replace(segments[at].place, end_s=segments[last].place.end_s)
