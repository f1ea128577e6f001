"""The one task record and what can happen to it.

                submit                    claim                      settle(Completed)
      ───────────────────▶ pending ─────────────────▶ running ───────────────────────▶ completed
                            ▲  ▲ │ cancel              │ │ │ settle(Failed) ──────────▶ failed
       ready_at reached ────┘  │ ▼                     │ │ └ deadline, settle(TimedOut) ▶ timeout
       (retry, delayed)        │ cancelled ◀── cancel ─┘ └ park(children) ─▶ waiting ─ last child settled ─▶ pending
                               └──── lease lost, released, retried

Completed, failed, timeout and cancelled absorb: nothing leaves them. Every other task has a place in a lane, a live
lease, a timer (`ready_at`) or an unfinished child.

Times on records (`created_at`, …) are seconds since the epoch, UTC; only `ready_at` is on the store's own steady time,
which is the same until somebody sets the wall clock. Ids of tasks are UUIDv7, so they sort by time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from morag.domain.content import Publication
from morag.domain.failure import Decision, Failure
from morag.domain.identity import LOCAL_LANE
from morag.domain.json import Json, JsonObject


class TaskState(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can change any more."""
        return self in TERMINAL_STATES


TERMINAL_STATES = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.TIMEOUT, TaskState.CANCELLED})


class Priority(IntEnum):
    """Order within one user's tasks; it never reorders users."""

    URGENT = 10
    HIGH = 8
    NORMAL = 5
    LOW = 3
    BATCH = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much may go wrong before a task ends."""

    processing: int = 3
    """Attempts that may end in a failure of the work itself."""
    infrastructure: int = 5
    """Attempts that may be lost with their worker."""
    deadline_s: float = 21_600.0
    """Everything of one task, counted from its first claim."""
    waiting_s: float | None = None
    """How long it may wait unclaimed from submit on; None: for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """A lane that was looked at while routing, and what was found."""

    lane: str
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Which lane a task was given and why."""

    lane: str = LOCAL_LANE
    reason: str = "local lane"
    considered: tuple[Considered, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an attempt is: `fraction` 0 to 1, the stage's name, a line for people."""

    fraction: float
    stage: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A document id taken at submit, in the submit's transaction.

    Without `replace_existing` the submit fails with `DocumentExists` if the id is visible or reserved by another open
    task. A task that ends without publishing gives its reservation back.
    """

    document_id: str
    replace_existing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """What submit takes. `id` is a fresh UUIDv7 in its 36-character form."""

    id: str
    namespace: str
    name: str
    user_id: str
    args: JsonObject = field(default_factory=dict)
    options: JsonObject = field(default_factory=dict)
    routing: Routing = Routing()
    priority: Priority = Priority.NORMAL
    budget: Budget = Budget()
    delay_s: float = 0.0
    timeout_s: float | None = None
    """Running time of one attempt; None: as its runner decides."""
    step: str | None = None
    """Which of its parent's children it is; only for children."""
    retry_of: str | None = None
    batch_id: str | None = None
    idempotency_key: str | None = None
    idempotency_digest: str | None = None
    """SHA-256 of the request's body; the same key with another digest is refused."""
    reservation: Reservation | None = None
    blobs: tuple[str, ...] = ()
    """SHA-256 of each blob it needs; they are kept while the task's record is."""
    webhook_url: str | None = None
    """Who is told when it has ended; only for tasks of users."""
    completed_with: Json = None
    """Not None: the task is stored as completed at once, with this result (recognised content)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Who claims: `id` is unique to one run of one process or machine.

    `boot_id` names the run of the operating system the process lives in, `pid` its process id there and
    `pid_started_at` that process's start (epoch seconds), so that its death can be seen; both None for machines
    elsewhere.
    """

    id: str
    boot_id: str
    pid: int | None = None
    pid_started_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What a claimer can run: None means anything."""

    namespace: str
    names: frozenset[str] | None = None
    content_types: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The record as the store holds it."""

    id: str
    namespace: str
    name: str
    user_id: str
    state: TaskState
    args: JsonObject
    options: JsonObject
    routing: Routing
    priority: Priority
    budget: Budget
    timeout_s: float | None
    parent_id: str | None
    step: str | None
    open_children: int
    retry_of: str | None
    batch_id: str | None
    needs_attention: bool
    created_at: float
    ready_at: float
    started_at: float | None
    finished_at: float | None
    attempt: int
    """Claims so far."""
    fence: int
    processing_failures: int
    infrastructure_losses: int
    worker_id: str | None
    progress: Progress | None
    result: Json
    result_blob: str | None
    failure: Failure | None

    @property
    def lane(self) -> str:
        """The lane it stands in."""
        return self.routing.lane


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildResult:
    """How a child of a resumed parent ended, as a value."""

    task_id: str
    step: str
    state: TaskState
    result: Json
    result_blob: str | None
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A granted claim: run `task`, then settle under `fence`. Renew within `lease_s`."""

    task: Task
    fence: int
    lease_s: float
    children: Mapping[str, ChildResult]
    """By step: the ended children of a parent that was parked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """One lease to renew, with progress if there is news."""

    task_id: str
    fence: int
    progress: Progress | None = None


class Answer(StrEnum):
    """What became of an extend, park, settle or release."""

    OK = "ok"
    CANCELLED = "cancelled"
    LOST = "lost"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The attempt delivered. `result` is any JSON value (at most 256 KiB inline; larger: `result_blob`)."""

    result: Json
    result_blob: str | None = None
    publication: Publication | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The attempt failed and the task ends so."""

    failure: Failure
    decision: Decision
    needs_attention: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """The attempt ran out of time and the task ends so."""

    failure: Failure
    decision: Decision
    needs_attention: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """The attempt failed; the task goes back to its lane after `decision.delay_s`.

    `is_infrastructure` charges the infrastructure budget instead of the processing one.
    """

    failure: Failure
    decision: Decision
    is_infrastructure: bool = False


Outcome = Completed | Failed | TimedOut | Retried


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """The attempt asks for children and waits for all of them without holding a worker."""

    children: tuple[NewTask, ...]
