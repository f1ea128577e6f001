"""How tasks are shown. Times are RFC 3339, UTC."""

from pydantic import BaseModel, Field, JsonValue

from morag.domain.failure import FailureType
from morag.domain.task import TaskState


class TaskError(BaseModel):
    """Why a task did not complete."""

    code: str
    message: str
    hint: str | None
    failure_type: FailureType
    stage: str | None


class TaskSummary(BaseModel):
    """A task in a list."""

    task_id: str
    name: str
    status: TaskState
    stage: str
    progress: float = Field(description="0 to 1.")
    message: str
    created_at: str
    started_at: str | None
    completed_at: str | None
    batch_id: str | None
    needs_attention: bool
    error: TaskError | None


class QueuePlace(BaseModel):
    """Where a task stands."""

    lane: str
    position: int | None = Field(description="Your tasks before it; null unless it is pending.")


class ConsideredLane(BaseModel):
    """A lane that was looked at."""

    lane: str
    verdict: str


class RoutingShown(BaseModel):
    """Which lane a task was given, and why."""

    lane: str
    reason: str
    considered: list[ConsideredLane]


class AlternativeShown(BaseModel):
    """What else could have been done."""

    strategy: str
    why_not: str


class DecisionShown(BaseModel):
    """What was done about a failure, and why."""

    strategy: str
    reason: str
    target_worker_id: str | None
    target_queue: str | None
    delay_s: float
    options_changed: dict[str, JsonValue] | None
    alternatives: list[AlternativeShown]


class AttemptShown(BaseModel):
    """One try."""

    n: int
    worker: str
    lane: str
    started_at: str
    ended_at: str | None
    outcome: str | None = Field(description="Null while it runs.")
    failure_type: FailureType | None
    error: str | None
    decision: DecisionShown | None


class TaskShown(TaskSummary):
    """All there is to know about a task."""

    queue: QueuePlace
    routing: RoutingShown
    attempts: list[AttemptShown]
    remote_job_id: str | None = Field(description="The conversion a URL or an ingest asked for.")
    retry_of: str | None
    result: JsonValue


class TaskPage(BaseModel):
    """Tasks, newest first."""

    tasks: list[TaskSummary]
    next_cursor: str | None


class EventShown(BaseModel):
    """One line of a task's log, as SSE sends it too."""

    id: int
    event: str = Field(examples=["state"])
    at: str
    data: dict[str, JsonValue]


class History(BaseModel):
    """A task's log."""

    task_id: str
    events: list[EventShown]


class Cancelled(BaseModel):
    """How a task stands after it was asked to stop."""

    task_id: str
    status: str


class LegacyStatus(BaseModel):
    """A task in the words of TaskManager."""

    task_id: str
    status: str = Field(examples=["success"], description="pending, retry, running, success, failure or cancelled.")
    result: JsonValue
    error: TaskError | None
    progress: float
    attempts: int


class LaneShown(BaseModel):
    """Your share of a lane."""

    length: int
    running: int
    oldest_wait_s: float | None


class Queues(BaseModel):
    """Your lanes."""

    queues: dict[str, LaneShown]
