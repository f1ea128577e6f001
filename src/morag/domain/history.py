"""What happened to a task: its attempts, and its log, which status and streams read."""

from dataclasses import dataclass

from morag.domain.failure import Decision, Failure
from morag.domain.json import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One claim and what came of it."""

    n: int
    fence: int
    worker_id: str
    lane: str
    started_at: float
    ended_at: float | None
    outcome: str | None
    """completed, failed, timeout, cancelled, parked, retried, released, lost; None while it runs."""
    failure: Failure | None
    decision: Decision | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a task's log. `seq` counts from 1 within the task; `kind` is `state`, `progress` or `decision`."""

    task_id: str
    seq: int
    at: float
    kind: str
    data: JsonObject
