"""The rules of the task record that every store shares: order, digests, what a fresh record looks like.

Pure functions of values; a store calls them inside its transactions.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import IntEnum
from functools import cache
from typing import Any, cast

from morag.domain.failure import Failure, FailureType
from morag.domain.json import Json, JsonObject
from morag.domain.task import (
    Answer,
    ChildResult,
    Completed,
    Failed,
    NewTask,
    Offers,
    Outcome,
    Parked,
    Priority,
    Retried,
    Task,
    TaskState,
)

IDEMPOTENCY_S = 86_400.0
"""How long an idempotency key keeps pointing at its task."""

INLINE_RESULT_BYTES = 256 * 1024
"""The largest result kept in the record, as JSON in UTF-8; larger ones are blobs."""

_STEPS = 16
LAST_RANK = 3 * _STEPS
"""Beyond every rank."""


class Standing(IntEnum):
    """What a task is to its user's others: lower goes first, whatever the priority."""

    RESUMED = 0
    """A parent whose children ended."""
    CHILD = 1
    ROOT = 2


def rank(standing: Standing, priority: Priority) -> int:
    """Place within one user's ready tasks, lower first; equal ranks go by age. `rank % 16` is that of a resumed one."""
    return standing * _STEPS + (_STEPS - 1 - priority)


def resumed(ranked: int) -> int:
    """The rank of a parent once its children ended."""
    return ranked % _STEPS


def is_resumed(ranked: int) -> bool:
    """Whether that is the rank of a parent whose children ended."""
    return ranked < _STEPS


def content_type_of(args: Mapping[str, Json]) -> str:
    """The content type a claimer must offer for such a task, empty if it has none."""
    found = args.get("content_type")
    return found if isinstance(found, str) else ""


def is_offered(offers: Offers, name: str, content_type: str) -> bool:
    """Whether a claimer with these offers can run it (its namespace aside)."""
    return (offers.names is None or name in offers.names) and (
        offers.content_types is None or content_type in offers.content_types
    )


def opened(new: NewTask, *, user_id: str, parent_id: str | None, now: float, steady: float) -> Task:
    """The record of a task as submitted at `now`, by the store's steady time at `steady`, before any event of it."""
    is_done = new.completed_with is not None
    return Task(
        id=new.id,
        namespace=new.namespace,
        name=new.name,
        user_id=user_id,
        state=TaskState.COMPLETED if is_done else TaskState.PENDING,
        args=new.args,
        options=new.options,
        routing=new.routing,
        priority=new.priority,
        budget=new.budget,
        timeout_s=new.timeout_s,
        parent_id=parent_id,
        step=new.step,
        open_children=0,
        retry_of=new.retry_of,
        batch_id=new.batch_id,
        needs_attention=False,
        created_at=now,
        ready_at=steady + new.delay_s,
        started_at=None,
        finished_at=now if is_done else None,
        attempt=0,
        fence=0,
        processing_failures=0,
        infrastructure_losses=0,
        worker_id=None,
        progress=None,
        result=new.completed_with,
        result_blob=None,
        failure=None,
    )


def waits_until(task: Task, steady: float) -> float | None:
    """When a fresh task times out unless it is claimed, on the store's steady time; None: it waits for ever."""
    if task.state.is_terminal or task.budget.waiting_s is None:
        return None
    return steady + task.budget.waiting_s


def overdue(task: Task) -> Failure:
    """Why a task that waited or worked for longer than it may ends."""
    if task.started_at is None:
        return Failure(
            type=FailureType.TASK_TIMEOUT,
            code="waited_too_long",
            message=f"Nothing took the task within the {task.budget.waiting_s:g} s it may wait.",
            hint="Start a worker for its lane, or submit it again with more time to wait.",
        )
    return Failure(
        type=FailureType.TASK_TIMEOUT,
        code="deadline",
        message=f"The task did not end within {task.budget.deadline_s:g} s of its first start.",
        hint="Submit a smaller input, or raise MORAG_TASK_DEADLINE_S.",
    )


def worn_out(task: Task) -> Failure:
    """Why a task that lost more workers than it may ends."""
    return Failure(
        type=FailureType.WORKER_OFFLINE,
        code="workers_lost",
        message=f"The task was lost with its worker {task.infrastructure_losses} times.",
        hint="The input may bring workers down; try it alone, or on a machine with more memory.",
    )


def child_result(child: Task) -> ChildResult:
    """How an ended child looks to its parent. It must have a step."""
    return ChildResult(
        task_id=child.id,
        step=child.step or "",
        state=child.state,
        result=child.result,
        result_blob=child.result_blob,
        failure=child.failure,
    )


def refused(state: TaskState | None, *, is_known: bool = False) -> Answer:
    """The answer to a holder whose fence is not current: `is_known` if it settled the same way before."""
    if is_known:
        return Answer.DUPLICATE
    return Answer.CANCELLED if state is TaskState.CANCELLED else Answer.LOST


def outcome_name(outcome: Outcome | Parked) -> str:
    """What an attempt's record calls the outcome."""
    if isinstance(outcome, Completed):
        return "completed"
    if isinstance(outcome, Failed):
        return "failed"
    if isinstance(outcome, Retried):
        return "retried"
    return "parked" if isinstance(outcome, Parked) else "timeout"


def digest(outcome: Outcome | Parked) -> str:
    """SHA-256 that is equal for equal outcomes, hexadecimal; of a park only the steps count."""
    told: Any = sorted(str(child.step) for child in outcome.children) if isinstance(outcome, Parked) else outcome
    return hashlib.sha256(_canonical([outcome_name(outcome), told]).encode()).hexdigest()


def steps(children: Iterable[NewTask]) -> list[str]:
    """The step of each child. Raises ValueError if one has none or two share one."""
    found = [child.step for child in children if child.step]
    if len(found) != len(list(children)) or len(set(found)) != len(found):
        raise ValueError("Each child of a parked task needs a step of its own.")
    return found


def check_inline(outcome: Outcome) -> None:
    """Raise ValueError for a result that must be a blob."""
    if not isinstance(outcome, Completed):
        return
    text = json.dumps(outcome.result, ensure_ascii=False, separators=(",", ":"))
    if len(text) * 4 > INLINE_RESULT_BYTES and len(text.encode(errors="surrogatepass")) > INLINE_RESULT_BYTES:
        raise ValueError(f"A result over {INLINE_RESULT_BYTES} bytes of JSON belongs in a blob.")


def as_json(record: object) -> JsonObject:
    """A frozen record as a JSON object, without copying what is JSON already."""
    return cast("JsonObject", json.loads(json.dumps(record, default=_plain)))


def _plain(value: object) -> dict[str, Any]:
    names = _names(type(value))
    if names is None:
        raise TypeError(f"{type(value).__name__} is no JSON value")
    return {name: getattr(value, name) for name in names}


@cache
def _names(kind: type) -> tuple[str, ...] | None:
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else None


# made once: `json.dumps` with options makes an encoder at each call
_canonical = json.JSONEncoder(default=_plain, sort_keys=True, separators=(",", ":")).encode
