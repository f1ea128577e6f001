"""Words to lines: what follows on one row, parted where a reader would see a gap between columns."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from morag.pipeline.conversion.layout.geometry import Line, Word

JUMP = 0.85
"""Gap between letters, in type sizes, over which a reader sees two columns rather than a blank."""
_JUSTIFIED = 2.6
"""Gap up to which even blanks may be those of a justified line."""


def lines_of(words: Sequence[Word]) -> list[Line]:
    """Words, in the order of the file, as lines."""
    return [Line.of(piece) for row in _rows(words) for piece in _pieces(row)]


def _rows(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Words that follow each other at the same height."""
    row: list[Word] = []
    for word in words:
        if row and not row[-1].box.shares_rows_with(word.box):
            yield row
            row = []
        row.append(word)
    if row:
        yield row


def _pieces(row: list[Word]) -> Iterator[list[Word]]:
    gaps = [_gap(last, word) for last, word in pairwise(row)]
    piece = [row[0]]
    for at, word in enumerate(row[1:]):
        if gaps[at] < JUMP * max(row[at].size, word.size) or _is_even(row, gaps, at):
            piece.append(word)
        else:
            yield piece
            piece = [word]
    yield piece


def _gap(last: Word, word: Word) -> float:
    """The white between two words, whichever way they run."""
    return max(word.box.left - last.box.right, last.box.left - word.box.right)


def _is_even(row: Sequence[Word], gaps: Sequence[float], at: int) -> bool:
    """Whether a wide gap is one of several equal ones between words, as where a short line was justified."""
    gap = gaps[at]
    if gap > _JUSTIFIED * row[at].size or not (row[at].text[-1].isalpha() or row[at].text[-1] in ",.;"):
        return False
    beside = [gaps[near] for near in (at - 1, at + 1) if 0 <= near < len(gaps)]
    return any(abs(near - gap) < 0.02 * gap + 0.2 for near in beside) and row[at + 1].text[0].isalpha()
