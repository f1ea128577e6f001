"""What flows through the data plane: source → document with segments → chunks → a visible generation."""

from dataclasses import dataclass, field
from enum import StrEnum

from morag.domain.json import JsonObject


class ContentType(StrEnum):
    """The six kinds of content, by the word callers use for them."""

    DOCUMENT = "document"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    WEB = "web"
    YOUTUBE = "youtube"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Bytes a user handed in (or a fetch brought), kept in the blob store under their SHA-256."""

    sha256: str
    size_bytes: int
    filename: str
    """As the sender named it: shown to people, never used as a path."""
    media_type: str | None = None
    """What the sender said it is (a Content-Type header); a hint, never trusted."""
    url: str | None = None
    """Where it was fetched from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the original a piece of text stood. Only what applies is set.

    `page` and `slide` count from 1; `start_s` and `end_s` are seconds; `bbox` is (left, top, right, bottom) as
    fractions of the page, 0 to 1, from its top left; `heading_path` runs from the outermost heading in.
    """

    page: int | None = None
    bbox: tuple[float, float, float, float] | None = None
    start_s: float | None = None
    end_s: float | None = None
    speaker: str | None = None
    sheet: str | None = None
    slide: int | None = None
    heading_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of a document's Markdown and its place in the original.

    `text_start` and `text_end` are character offsets into `Document.markdown`, end exclusive. The segments of one
    document stand in order of `text_start` and do not overlap.
    """

    text_start: int
    text_end: int
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The result of a conversion: Markdown, and where each piece of it came from."""

    markdown: str
    content_type: ContentType
    media_type: str
    title: str | None
    metadata: JsonObject
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of a document small enough to embed: `text` is `markdown[text_start:text_end]`, stripped."""

    index: int
    text: str
    text_start: int
    text_end: int
    place: Place
    """Where the chunk begins; `heading_path` is that of its first line, `end_s` that of its last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One complete set of index points of one document: those an attempt (task, fence) wrote."""

    document_id: str
    task_id: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What the settlement of an ingest makes visible, in that settlement's transaction.

    It replaces the document's visible generation, unless that one was submitted later (task ids are ordered by time).
    """

    document_id: str
    title: str
    source: str
    """The file name, or the URL, as shown with hits."""
    content_type: ContentType
    media_type: str
    content_hash: str
    """SHA-256 of the original bytes, hexadecimal."""
    options_digest: str
    """SHA-256 over the options that change the result, hexadecimal; with the hash it recognises the same content."""
    metadata: JsonObject
    """The caller's metadata and the converter's."""
    chunks: int
    size_bytes: int
    document_blob: str
    """SHA-256 of the blob that holds the converted document as JSON; `reindex` starts from it."""
    original_blob: str | None
    """SHA-256 of the original, if originals are kept."""
    chunking: JsonObject = field(default_factory=dict)
    """How it was cut, where that differs from the defaults, so that `reindex` cuts it the same way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDocument:
    """A document of a user that search sees."""

    user_id: str
    publication: Publication
    generation: Generation
    created_at: float
    updated_at: float


def ingest_result(
    publication: Publication,
    *,
    processing_time: float,
    processing_method: str,
    worker: str | None,
    routing: JsonObject,
    duplicate_of: str | None = None,
) -> JsonObject:
    """What a completed ingest answers; `duplicate_of` names the stored document if the content was recognised."""
    result: JsonObject = {
        "document_id": publication.document_id,
        "chunks_stored": publication.chunks,
        "content_hash": publication.content_hash,
        "content_type": publication.content_type.value,
        "processing_time": processing_time,
        "processing_method": processing_method,
        "worker": worker,
        "routing": routing,
        "metadata": publication.metadata,
    }
    return {**result, "duplicate_of": duplicate_of} if duplicate_of else result
