"""What the data plane needs from the outside, as ports, and the shapes it hands over."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from morag.domain.content import Chunk, ContentType, Document, Generation, Source, StoredDocument
from morag.domain.json import JsonObject

ReportProgress = Callable[[float, str, str], None]
"""Called with (fraction 0..1, stage, message for people); cheap, may be called as often as one likes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """What a file is, told from its bytes first, then from its name and header."""

    content_type: ContentType
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionInput:
    """All a converter gets to see."""

    path: Path | None
    """The file; None only for `youtube`, which is given a URL alone."""
    filename: str
    detected: Detected
    url: str | None
    """Where it came from: to make links absolute, never to fetch, `youtube` aside."""
    options: JsonObject
    work_dir: Path
    """An empty folder of its own for anything temporary."""
    speech_model: str = "auto"
    """The operator's choice (MORAG_WHISPER_MODEL): `auto`, a name, or a folder with CTranslate2 weights."""
    depth: int = 0
    """How many inputs it lies in: 1 for the attachment of a mail."""


class Converter(Protocol):
    """Turns one kind of input into a document, in a child process with limits."""

    def convert(self, given: ConversionInput, report: ReportProgress) -> Document:
        """The document. Raises ConversionError for input at fault; anything else it raises is its own bug."""
        ...


class Embedder(Protocol):
    """Text to vectors. Thread-safe; loads its model at the first call."""

    @property
    def model(self) -> str:
        """Name and version of what makes the vectors; vectors of different models are never mixed."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of each vector."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest text it reads whole."""
        ...

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors of passages, in order. Blocking and busy: call it in a thread."""
        ...

    def embed_query(self, text: str) -> list[float]:
        """The unit vector of a question."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A chunk as the index holds it."""

    user_id: str
    generation: Generation
    chunk: Chunk
    vector: Sequence[float]
    content_type: ContentType
    metadata: JsonObject
    """What `filters` of a search may name: scalars only, by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What hits must match; all of it."""

    document_id: str | None = None
    content_type: ContentType | None = None
    metadata: Mapping[str, str | int | float | bool] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A point found, best first; `score` is the ranker's own."""

    generation: Generation
    chunk: Chunk
    score: float


class VectorIndex(Protocol):
    """Vectors and words of chunks. Every call names its user and touches that user's points only.

    Blocking: call it in a thread; thread-safe.
    """

    def add(self, points: Sequence[Point]) -> None:
        """Store points, durable when it returns; a point of the same generation and chunk index is replaced."""
        ...

    def dense(self, user_id: str, vector: Sequence[float], *, limit: int, filters: Filters) -> list[Scored]:
        """Nearest by cosine."""
        ...

    def keyword(self, user_id: str, text: str, *, limit: int, filters: Filters) -> list[Scored]:
        """Best by BM25 over the words of the chunk."""
        ...

    def delete(self, user_id: str, document_id: str, *, keep: Generation | None) -> None:
        """Drop a document's points, those of `keep` aside."""
        ...

    def generations(self) -> Mapping[Generation, str]:
        """Every generation in the index with its user id; for the sweep."""
        ...

    def count(self, user_id: str) -> int:
        """A user's points."""
        ...

    def close(self) -> None:
        """Flush and let go of the files."""
        ...


class DocumentStore(Protocol):
    """Which generation of each document is visible. Documents appear by the settlement of their ingest."""

    async def document(self, user_id: str, document_id: str) -> StoredDocument | None:
        """The visible document of that id, if any."""
        ...

    async def visible(self, user_id: str, document_ids: Sequence[str]) -> Mapping[str, StoredDocument]:
        """The visible documents among the ids, by id."""
        ...

    async def recognise(self, user_id: str, content_hash: str, options_digest: str) -> str | None:
        """The id of the user's visible document with the same content and options."""
        ...

    async def documents(self, user_id: str, *, limit: int, after: str | None = None) -> list[StoredDocument]:
        """A user's documents by id; `after` is an id to go on from."""
        ...

    async def remove(self, user_id: str, document_id: str) -> bool:
        """Make a document invisible at once; whether there was one."""
        ...

    def every(self) -> AsyncIterator[StoredDocument]:
        """Every visible document of every user; for `reindex` and sweeps."""
        ...


class BlobStore(Protocol):
    """Bytes by their SHA-256."""

    async def put(self, content: bytes) -> str:
        """Store, durable when it returns; the digest."""
        ...

    async def get(self, sha256: str) -> bytes:
        """All bytes of a blob. Raises NotFound."""
        ...

    def path(self, sha256: str) -> Path:
        """A local file with the blob's bytes, read-only. Raises NotFound."""
        ...


class Fetcher(Protocol):
    """The one way to a URL."""

    async def fetch(self, url: str, report: ReportProgress) -> Source:
        """The body of a GET, kept in the blob store. Raises FetchRefused, FetchFailed, TooLarge."""
        ...
