"""What conversions and ingests are answered with."""

from pydantic import BaseModel, Field, JsonValue

from morag.domain.content import ContentType
from morag.domain.task import TaskState
from morag.protocol import SegmentMessage


class ConversionResult(BaseModel):
    """A conversion that is done."""

    success: bool = True
    task_id: str
    content: str = Field(description="Markdown.")
    content_type: ContentType
    media_type: str
    metadata: dict[str, JsonValue]
    segments: list[SegmentMessage] = Field(description="Where each piece came from; what does not apply is left out.")
    processing_time: float = Field(description="Seconds.")
    processing_method: str = Field(examples=["local"])
    worker: str | None
    error_message: str | None = None


class ItemResult(BaseModel):
    """What became of one item of a batch: its result, why it failed, or how far it is."""

    success: bool
    task_id: str | None = None
    status: TaskState | None = None
    content: str | None = None
    content_type: ContentType | None = None
    media_type: str | None = None
    metadata: dict[str, JsonValue] | None = None
    segments: list[SegmentMessage] | None = None
    processing_time: float | None = None
    processing_method: str | None = None
    worker: str | None = None
    error_message: str | None = None
    code: str | None = None
    hint: str | None = None


class BatchResult(BaseModel):
    """The items of a batch in the order they were sent."""

    results: list[ItemResult]


class Accepted(BaseModel):
    """A task that goes on by itself; `Location` says where to follow it."""

    task_id: str
    status: TaskState


class IngestAccepted(Accepted):
    """An ingest that was taken on."""

    message: str


class BatchAccepted(BaseModel):
    """A batch of ingests that was taken on, in the order it was sent."""

    batch_id: str
    task_ids: list[str]
    status: TaskState = TaskState.PENDING
    message: str
