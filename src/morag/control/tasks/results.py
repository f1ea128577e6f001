"""A task as an application sees it, in the words that task queues share."""

from dataclasses import dataclass
from typing import Literal

from morag.domain.failure import AttemptFailed, Failure, FailureType
from morag.domain.json import Json, JsonObject
from morag.domain.task import Progress, Task, TaskState

Status = Literal["pending", "retry", "running", "success", "failure", "cancelled"]

MOST = 2000
"""Characters of a message that are kept."""

_STATUS: dict[TaskState, Status] = {
    TaskState.PENDING: "pending",
    TaskState.RUNNING: "running",
    TaskState.WAITING: "running",
    TaskState.COMPLETED: "success",
    TaskState.FAILED: "failure",
    TaskState.TIMEOUT: "failure",
    TaskState.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskError:
    """Why a task failed, or why its latest attempt did."""

    code: str
    """Stable, for programs: `task_raised`, `timeout`, `result_not_json`, `child_died`, `out_of_memory`, …

    Of a `TaskFailed` its own.
    """
    message: str
    hint: str | None

    def __str__(self) -> str:
        """The message."""
        return self.message


class TaskFailed(AttemptFailed):
    """Raised in a task, wherever it runs, to fail with words for a person: they are the result's error as they stand.

    An expected end: no traceback is logged. With `is_final` it is not tried again, else the task's retries apply.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, code: str = "task_failed", is_final: bool = True
    ) -> None:
        told = Failure(
            type=FailureType.PROCESSING_ERROR, code=code, message=message[:MOST], hint=hint, is_final=is_final
        )
        super().__init__(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """How a task stands."""

    task_id: str
    name: str
    status: Status
    result: Json
    """What the function returned; None until `success`."""
    error: TaskError | None
    """Set with `failure`, and with `retry` for the latest attempt."""
    progress: float
    """0 to 1."""
    stage: str
    message: str
    attempts: int
    created_at: float
    """Seconds since the epoch, as the two below."""
    started_at: float | None
    finished_at: float | None

    @property
    def is_done(self) -> bool:
        """Whether nothing will change any more."""
        return self.finished_at is not None


def status_of(task: Task) -> Status:
    """The status of a record. One that stands in its lane again without a failed attempt goes on, as if it ran."""
    if task.state is TaskState.PENDING and task.attempt:
        return "retry" if _failed_attempts(task) else "running"
    return _STATUS[task.state]


def attempts_of(task: Task) -> int:
    """How many times it was tried: runs that ended to wait for children, or were given back, do not count."""
    is_under_way = status_of(task) != "retry"
    return min(task.attempt, _failed_attempts(task) + is_under_way)


def shown(task: Task, result: Json) -> TaskResult:
    """A record with its result, which may be a blob's."""
    progress = task.progress or Progress(fraction=0.0, stage="")
    status = status_of(task)
    return TaskResult(
        task_id=task.id,
        name=task.name,
        status=status,
        result=result,
        error=_error(task.failure, task.state) if status in {"failure", "retry"} else None,
        progress=1.0 if status == "success" else progress.fraction,
        # what it did last is no news of one that is through
        stage="completed" if status == "success" else progress.stage,
        message="" if status == "success" else progress.message,
        attempts=attempts_of(task),
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
    )


def as_json(result: TaskResult) -> JsonObject:
    """What `GET /api/tasks/{id}/status` answers."""
    error = result.error
    return {
        "task_id": result.task_id,
        "name": result.name,
        "status": result.status,
        "result": result.result,
        "error": {"code": error.code, "message": error.message, "hint": error.hint} if error else None,
        "progress": result.progress,
        "stage": result.stage,
        "message": result.message,
        "attempts": result.attempts,
    }


def _failed_attempts(task: Task) -> int:
    return task.processing_failures + task.infrastructure_losses


def _error(failure: Failure | None, state: TaskState) -> TaskError | None:
    if failure is None:
        return None
    code = "timeout" if state is TaskState.TIMEOUT else failure.code
    return TaskError(code=code, message=failure.message, hint=failure.hint)
