"""Files handed in ahead of time, and conversions asked for by name on a machine of the caller's."""

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue

from morag.api.schemas.submissions import JsonObjectField
from morag.domain.content import ContentType

JobStatus = Literal["pending", "processing", "completed", "failed", "timeout", "cancelled"]


class Uploaded(BaseModel):
    """A file that was taken; it is kept for a day, and longer if a task uses it."""

    upload_id: str
    size: int
    sha256: str


class RemoteJobCreationRequest(BaseModel):
    """A conversion for a machine of yours."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    upload_id: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        validation_alias=AliasChoices("upload_id", "source_file_path"),
        description="What `POST /api/v1/uploads` answered. `source_file_path` means the same: an upload's id, no path.",
    )
    content_type: ContentType = Field(description="What it is; checked against what the file looks like.")
    task_options: JsonObjectField = Field(
        default_factory=dict, description="Options of the content type, such as `ocr` or `language`.", examples=[{}]
    )
    ingestion_task_id: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="A task of yours that this belongs to."
    )
    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=86_400,
        allow_inf_nan=False,
        description="Seconds the conversion may run; by content type if absent.",
    )


class RemoteJobCreated(BaseModel):
    """A job that was taken on."""

    job_id: str
    status: JobStatus
    created_at: str


class RemoteJobRetried(RemoteJobCreated):
    """A new job for what an ended one was to do."""

    retry_of: str


class RemoteJobResult(BaseModel):
    """What a completed job delivers."""

    content: str = Field(description="Markdown.")
    metadata: dict[str, JsonValue]
    processing_time: float = Field(description="Seconds.")


class RemoteJobStatus(RemoteJobCreated):
    """How a job stands."""

    worker_id: str | None = Field(description="The machine that runs it, or ran it last.")
    started_at: str | None
    completed_at: str | None
    error_message: str | None
    retry_count: int = Field(description="Attempts after the first.")
    result: RemoteJobResult | None = None


class RemoteJobCancelled(BaseModel):
    """How a job stands after it was asked to stop."""

    job_id: str
    status: JobStatus
