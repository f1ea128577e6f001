"""The wire between processes: messages that are checked when read, because the other side may be broken or hostile.

A converted document travels as JSON from a child process to its parent and from a user's machine to the server, and
rests in that form in the blob store. Server and workers speak version PROTOCOL of the messages at the end; fields that
a side does not know are passed over.
"""

import json
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    TypeAdapter,
    ValidationError,
)

from morag.domain.content import ContentType, Document, Place, Segment
from morag.domain.errors import ConversionError

MAX_DOCUMENT_BYTES = 256 * 1024**2
"""Largest converted document taken, as JSON: about 250 million characters of Markdown."""


def _storable(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """An object that any JSON reader takes back. Raises ValueError for NaN, an infinity, or half a character."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ValueError("must hold valid text and finite numbers") from None
    return value


JsonFields = Annotated[dict[str, JsonValue], AfterValidator(_storable)]


def _short(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """What a machine says of itself is kept with every heartbeat."""
    if len(json.dumps(value)) > MAX_FACTS_BYTES:
        raise ValueError(f"must be at most {MAX_FACTS_BYTES} bytes of JSON")
    return value


MAX_FACTS_BYTES = 16 * 1024
Facts = Annotated[JsonFields, AfterValidator(_short)]


class SegmentMessage(BaseModel):
    """A segment with its place, flat; what does not apply is left out."""

    model_config = ConfigDict(allow_inf_nan=False)

    text_start: int = Field(ge=0)
    text_end: int = Field(ge=0)
    page: int | None = Field(default=None, ge=1)
    bbox: tuple[float, float, float, float] | None = None
    start_s: float | None = Field(default=None, ge=0)
    end_s: float | None = Field(default=None, ge=0)
    speaker: str | None = None
    sheet: str | None = None
    slide: int | None = Field(default=None, ge=1)
    heading_path: tuple[str, ...] = ()

    @classmethod
    def of(cls, segment: Segment) -> Self:
        """The message for a segment."""
        place = segment.place
        return cls(
            text_start=segment.text_start,
            text_end=segment.text_end,
            page=place.page,
            bbox=place.bbox,
            start_s=place.start_s,
            end_s=place.end_s,
            speaker=place.speaker,
            sheet=place.sheet,
            slide=place.slide,
            heading_path=place.heading_path,
        )

    def segment(self) -> Segment:
        """The segment of the message."""
        place = self.model_dump(exclude={"text_start", "text_end"})
        return Segment(text_start=self.text_start, text_end=self.text_end, place=Place(**place))


class DocumentMessage(BaseModel):
    """A converted document."""

    markdown: str
    content_type: ContentType
    media_type: str = Field(max_length=255)
    title: str | None = None
    metadata: JsonFields
    segments: list[SegmentMessage]


def encode_document(document: Document) -> bytes:
    """A document as JSON, UTF-8."""
    message = DocumentMessage(
        markdown=document.markdown,
        content_type=document.content_type,
        media_type=document.media_type,
        title=document.title,
        metadata=document.metadata,
        segments=[SegmentMessage.of(segment) for segment in document.segments],
    )
    return message.model_dump_json(exclude_defaults=True).encode()


def decode_document(raw: bytes) -> Document:
    """A document from JSON of an untrusted sender. Raises ConversionError with code `bad_result`."""
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise ConversionError("The converted document is too large.", code="bad_result")
    try:
        message = DocumentMessage.model_validate_json(raw)
    except ValidationError:
        raise ConversionError("The converter delivered something that is not a document.", code="bad_result") from None
    end = 0
    for segment in message.segments:
        if not end <= segment.text_start <= segment.text_end <= len(message.markdown):
            raise ConversionError("The converter delivered segments that do not fit its text.", code="bad_result")
        end = segment.text_end
    return Document(
        markdown=message.markdown,
        content_type=message.content_type,
        media_type=message.media_type,
        title=message.title,
        metadata=dict(message.metadata),
        segments=tuple(segment.segment() for segment in message.segments),
    )


class ChildJob(BaseModel):
    """What a conversion child is told, one line of JSON on its standard input."""

    model_config = ConfigDict(extra="forbid")

    source_path: str | None
    work_dir: str
    filename: str
    content_type: ContentType
    media_type: str
    url: str | None
    options: dict[str, JsonValue]
    speech_model: str


class ChildProgress(BaseModel):
    """A line a child writes while it works."""

    kind: Literal["progress"] = "progress"
    fraction: float = Field(ge=0, le=1)
    stage: str = Field(max_length=100)
    message: str = Field(max_length=500)


class ChildDone(BaseModel):
    """The last line of a child that succeeded: the document lies in its work folder under this name."""

    kind: Literal["done"] = "done"
    document: Literal["document.json"] = "document.json"


class ChildFailed(BaseModel):
    """The last line of a child whose converter raised; `is_final` when the input itself is at fault."""

    kind: Literal["failed"] = "failed"
    code: str = Field(max_length=100)
    message: str = Field(max_length=2000)
    hint: str | None = Field(default=None, max_length=2000)
    is_final: bool
    signature: str = Field(max_length=200)


ChildMessage = Annotated[ChildProgress | ChildDone | ChildFailed, Field(discriminator="kind")]
CHILD_MESSAGE: TypeAdapter[ChildProgress | ChildDone | ChildFailed] = TypeAdapter(ChildMessage)


PROTOCOL = 1
"""Version of the messages below. A worker says which it speaks; another than the server's is answered 426."""
MAX_INLINE_BYTES = 1024**2
"""Larger documents are uploaded first, in pieces that can be resumed."""

ShortText = Annotated[str, Field(max_length=200)]
Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:-]+$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RegisterWorker(BaseModel):
    """`POST /api/v1/workers`: a machine says who it is and what it passed its own tests for."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    instance_id: Identifier
    version: ShortText
    protocol: int = PROTOCOL
    type: Literal["remote_gpu", "remote_cpu"]
    lanes: list[Identifier] = Field(default=[], max_length=8, description="Of its owner; all it may serve if empty.")
    content_types: list[ContentType] = Field(min_length=1, max_length=len(ContentType))
    capabilities: Facts = {}
    slots: int = Field(default=1, ge=1, le=64)
    hardware: Facts = {}


class Registered(BaseModel):
    """Its answer: durations in seconds, never clocks."""

    worker_id: str
    generation: int
    lanes: list[str]
    poll_s: float
    heartbeat_s: float
    lease_s: float


class ClaimWork(BaseModel):
    """`POST /api/v1/workers/{id}/claim`. The same `claim_id` again gives the same leases."""

    claim_id: Identifier
    generation: int = Field(default=0, description="Of its registration; 0: whichever is current.")
    slots: int = Field(ge=1, le=64)
    wait_s: float = Field(default=0.0, ge=0, le=25)


class SourceMessage(BaseModel):
    """What is to be converted: `GET /api/v1/attempts/{attempt_id}/source` has the bytes."""

    size: int
    sha256: str
    filename: str


class LeaseMessage(BaseModel):
    """One task granted. Its running time, in seconds, begins with the answer that carries it."""

    attempt_id: str
    task_id: str
    fence: int
    name: str
    content_type: ContentType
    media_type: str
    options: dict[str, JsonValue]
    source: SourceMessage | None = None
    url: str | None = None
    timeout_s: float
    lease_s: float


class Claimed(BaseModel):
    """What was granted."""

    leases: list[LeaseMessage]


class HeldMessage(BaseModel):
    """A lease as its holder sees it."""

    attempt_id: Identifier
    fence: int
    stage: Annotated[str, Field(max_length=100)] = ""
    progress: float = Field(default=0.0, ge=0, le=1)
    message: Annotated[str, Field(max_length=500)] = ""


class Heartbeat(BaseModel):
    """`POST /api/v1/workers/{id}/heartbeat`: every lease it holds, in one message."""

    seq: int = Field(ge=0)
    generation: int = 0
    state: Literal["active", "draining"] = "active"
    load: Facts = {}
    leases: list[HeldMessage] = Field(default=[], max_length=256)


class Directives(BaseModel):
    """What the server wants of a worker."""

    drain: bool = False
    pause: bool = False
    heartbeat_s: float
    min_version: str | None = None


class HeartbeatAnswer(BaseModel):
    """For each lease whether to go on; `cancel` and `lost` mean: stop, deliver nothing."""

    leases: dict[str, Literal["ok", "cancel", "lost"]]
    directives: Directives


class CompleteAttempt(BaseModel):
    """`POST /api/v1/attempts/{a}/complete`: the document itself, or the upload that holds it as JSON.

    `sha256` is that of the bytes uploaded, or of the inline document's `markdown` in UTF-8.
    """

    fence: int
    result: DocumentMessage | None = None
    upload_id: Identifier | None = None
    sha256: Sha256
    timings: dict[str, FiniteFloat] = {}


class Committed(BaseModel):
    """The task is completed; `duplicate` if it was already, by this same attempt."""

    status: Literal["committed", "duplicate"]


class FailAttempt(BaseModel):
    """`POST /api/v1/attempts/{a}/fail`. A `failure_type` the server does not know counts as `processing_error`."""

    fence: int
    failure_type: Annotated[str, Field(max_length=64)]
    code: Annotated[str, Field(max_length=100)] = "worker_failed"
    message: Annotated[str, Field(max_length=2000)] = ""
    hint: Annotated[str | None, Field(max_length=2000)] = None
    signature: Annotated[str | None, Field(max_length=200)] = None
    stage: Annotated[str | None, Field(max_length=100)] = None
    is_final: bool = False
    resources: JsonFields = {}


class FailureDecided(BaseModel):
    """What is done about it."""

    decision: str
    reason: str


class ReleaseAttempt(BaseModel):
    """`POST /api/v1/attempts/{a}/release`: back to its lane at once, nothing charged."""

    fence: int
    reason: Literal["drain", "preempted"] = "drain"


class Released(BaseModel):
    """The task is back in its lane."""

    status: Literal["released"]


class WorkerState(BaseModel):
    """What a worker was told to do."""

    worker_id: str
    state: Literal["active", "paused", "draining"]
