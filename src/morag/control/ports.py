"""What the control plane needs from the outside, as ports; the adapters live in `morag.storage`."""

from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from morag.domain.content import Source, StoredDocument
from morag.domain.history import Attempt, Event
from morag.domain.json import JsonObject
from morag.domain.keys import ApiKey
from morag.domain.limits import Limits, Usage
from morag.domain.task import Answer, Extension, Lease, NewTask, Offers, Outcome, Parked, Task, TaskState, Worker
from morag.domain.webhook import Delivery, Secret
from morag.domain.worker import Machine, Readiness, RemoteWorker


class Clock(Protocol):
    """Two clocks, injected so that tests can turn them."""

    def now(self) -> float:
        """Seconds since the epoch, UTC; for records and schedules, may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some start, equal in all processes of this run of the operating system; for leases."""
        ...


class SteadyClock(Clock, Protocol):
    """The clocks of a store that keeps delays and deadlines."""

    def uptime(self) -> float:
        """Seconds since the boot, those the machine slept included; equal in all processes, never jumps."""
        ...


class Bell(Protocol):
    """One listener's end of a doorbell; a ring between two waits is not lost."""

    @property
    def ended(self) -> Task | None:
        """The record of the task listened to, if whoever rang knew that it has ended."""
        ...

    async def wait(self, timeout_s: float) -> bool:
        """Return True when it was rung since the last return, False after the time-out."""
        ...


Sound = Callable[[], None]
"""Rings some bells; to be called on their event loop."""


class Signals(Protocol):
    """Doorbells: hints that something changed. They may be lost or doubled without harm; the record is the truth."""

    def lane(self, lane: str) -> None:
        """A lane may have work. Callable from any thread."""
        ...

    def task(self, task_id: str) -> None:
        """A task's record or log changed. Callable from any thread."""
        ...

    def sounds(self, lanes: Iterable[str], tasks: Mapping[str, Task | None]) -> Mapping[AbstractEventLoop, Sound]:
        """What rings those lanes and tasks, by the event loop it is to be called on: for who wakes that loop anyway.

        `tasks` gives the record of each that is known to have ended. Callable from any thread.
        """
        ...

    @property
    def changes(self) -> int:
        """How many changes of tasks were rung so far; the same number twice: none between."""
        ...

    def heard(self, task_ids: Iterable[str]) -> list[str]:
        """Those of the tasks that somebody listens to now. Callable from any thread."""
        ...

    def everything(self) -> None:
        """Any lane may have work, any task may have changed: others wrote. Callable from any thread."""
        ...

    def hear_lanes(self, lanes: Sequence[str]) -> AbstractContextManager[Bell]:
        """A bell that rings with any of the lanes while the context is open."""
        ...

    def hear_task(self, task_id: str) -> AbstractContextManager[Bell]:
        """A bell that rings with the task while the context is open."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What one sweep repaired: counts, for the log."""

    expired: int = 0
    """Leases that ran out or whose process is gone; their tasks are pending again."""
    timed_out: int = 0
    """Tasks whose deadline passed."""
    unparked: int = 0
    """Waiting tasks without an open child, made pending."""


class TaskStore(Protocol):
    """The record. Each act is atomic, and durable when it returns.

    `extend`, `park`, `settle` and `release` act only if the fence is current, by one conditional statement.
    """

    async def submit(self, tasks: Sequence[NewTask]) -> list[Task]:
        """Store all of them or none, in order.

        A known `(user_id, idempotency_key)` younger than a day gives the task that has it instead of a new one.
        Raises IdempotencyConflict, DocumentExists, and LimitReached if a user had more queued than they may.
        """
        ...

    async def claim(
        self, *, lanes: Sequence[str], worker: Worker, claim_id: str, n: int, lease_s: float, offers: Offers
    ) -> list[Lease]:
        """Grant up to `n` ready tasks of the lanes, fairest user first; the same `claim_id` gives the same leases."""
        ...

    async def extend(self, extensions: Sequence[Extension], *, lease_s: float) -> list[Answer]:
        """Renew leases and note progress, all in one write; answers in the order given: ok, cancelled or lost."""
        ...

    async def park(self, task_id: str, fence: int, parked: Parked) -> Answer:
        """Make the children (or find those the parent already has, by step) and let the parent wait for them."""
        ...

    async def settle(self, task_id: str, fence: int, outcome: Outcome) -> Answer:
        """End the attempt; what the outcome makes visible is written in the same transaction.

        `duplicate`: it was settled before with the same outcome.
        """
        ...

    async def release(self, task_id: str, fence: int, *, reason: str) -> Answer:
        """Give the task back to its lane at once, charging no budget."""
        ...

    async def cancel(self, task_id: str, *, user_id: str) -> Task | None:
        """End an open task and all its open descendants in one transaction; of an ended one nothing changes.

        Returns the record afterwards, None if the user has no such task.
        """
        ...

    async def hasten(self, task_id: str) -> bool:
        """Let a pending task that waits for its time be claimable now; whether there was such a one."""
        ...

    async def sweep(self) -> SweepReport:
        """Repair what time or death broke: expired leases, dead processes of this machine, deadlines, lost wake-ups."""
        ...

    async def held(self, worker_id: str, *, but: str = "") -> list[tuple[str, int]]:
        """(task id, fence) of each lease that a claimer of that id holds, those of the claim id `but` left out."""
        ...

    async def forsake(self, worker_id: str) -> int:
        """Take the leases of a claimer whose session is over as expired now; how many."""
        ...

    async def reclaim(self, *, keep: Worker) -> int:
        """At the start of the one server of a data folder: free the leases of server processes other than `keep`.

        Charges no budget. Returns how many tasks went back to their lanes.
        """
        ...

    async def get(self, task_id: str, *, user_id: str | None = None) -> Task | None:
        """The record; with a user id only if it is that user's."""
        ...

    async def find(
        self,
        *,
        user_id: str,
        states: Sequence[TaskState] = (),
        name: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> list[Task]:
        """A user's root tasks (no children), newest first; `before` is a task id to go on from."""
        ...

    async def children(self, task_id: str) -> list[Task]:
        """The children of a task, oldest first."""
        ...

    async def attempts(self, task_id: str) -> list[Attempt]:
        """All attempts, oldest first."""
        ...

    async def events(self, task_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """The log after a sequence number, oldest first."""
        ...

    async def position(self, task_id: str) -> int | None:
        """How many ready tasks of its user in its lane are before a pending task; None if it is not pending."""
        ...

    async def lanes(self, *, user_id: str | None = None) -> Mapping[str, "LaneLoad"]:
        """By lane: what stands there and what runs; with a user id only that user's tasks."""
        ...

    async def set_limits(self, user_id: str | None, limits: Limits | None) -> None:
        """Give a user limits of their own, or everybody who has none (None); `limits` None takes them back."""
        ...

    async def limits(self, user_id: str) -> Limits:
        """The user's limits, else everybody's, else none."""
        ...

    async def users(self) -> list[str]:
        """Everybody who is known by limits of their own, by tasks or by documents; in order."""
        ...

    async def usage(self, user_id: str) -> Usage:
        """What the user uses now."""
        ...

    async def lead(self, worker: Worker, *, lease_s: float) -> bool:
        """Whether `worker` leads: it takes or renews the lead unless another holds it.

        A holder whose lease ran out, or whose process is seen to be dead, holds it no more.
        """
        ...

    async def resign(self, worker: Worker) -> None:
        """Give the lead back, if `worker` has it."""
        ...

    async def ready(self, lane: str, offers: Offers, *, limit: int) -> list[tuple[str, int]]:
        """(task id, attempts so far) of ready tasks in a lane that such a claimer could be granted, in no order."""
        ...

    async def ready_names(self, lane: str, namespace: str) -> set[str]:
        """The names of the ready tasks of a namespace in a lane."""
        ...

    async def retire(self, *, older_than_s: float) -> int:
        """Delete ended trees of tasks that ended longer ago than that, with attempts, events and blob references."""
        ...

    async def referenced(self, blobs: Sequence[str]) -> set[str]:
        """Those of the blobs that a task or a document refers to."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLoad:
    """What stands in a lane and what runs from it."""

    length: int
    running: int
    oldest_wait_s: float | None


class DocumentStore(Protocol):
    """What search sees. Documents appear by `TaskStore.settle` with a publication; they are read and deleted here."""

    async def document(self, user_id: str, document_id: str) -> StoredDocument | None:
        """The visible document, None if the user has none of that id."""
        ...

    async def documents(self, user_id: str, *, limit: int, after: str | None = None) -> list[StoredDocument]:
        """A user's documents by id; `after` is an id to go on from."""
        ...

    async def recognise(self, user_id: str, content_hash: str, options_digest: str) -> str | None:
        """The id of the user's visible document with the same content and options."""
        ...

    async def remove(self, user_id: str, document_id: str) -> bool:
        """Make a document invisible at once; whether there was one. Its points are for the sweep of the index.

        Open tasks of the user that reserved its id were asked for before, so they are cancelled with it.
        """
        ...


ReportProgress = Callable[[float, str, str], None]
"""Called with (fraction 0..1, stage, message for people); cheap, may be called as often as one likes."""

Run = Callable[[Lease, ReportProgress], Awaitable[Outcome | Parked]]
"""Run a claimed task to its outcome. Raises nothing but on cancellation: a failure is an outcome too."""


class Executor(Protocol):
    """A way to get claimed tasks run."""

    async def serve(self) -> None:
        """Claim, run and settle until cancelled; then give back what still runs."""
        ...

    async def check(self) -> None:
        """Ask the store about every lease held, now: what was cancelled is stopped."""
        ...

    async def drain(self, timeout_s: float) -> None:
        """Claim nothing more, and return when what runs has ended, or after the time-out."""
        ...


class BlobStore(Protocol):
    """Bytes by their SHA-256."""

    async def put(self, content: bytes) -> str:
        """Store, durable when it returns; the digest."""
        ...

    async def get(self, sha256: str) -> bytes:
        """All bytes of a blob. Raises NotFound."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What a receiver answered."""

    status: int
    retry_after_s: float | None = None


class Poster(Protocol):
    """The way to a receiver."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        """One POST, redirects not followed. Raises FetchRefused for a place it must not reach, FetchFailed."""
        ...


class DeliveryStore(Protocol):
    """Deliveries and the secrets that sign them. Deliveries appear with the end of a task (`TaskStore`)."""

    async def take(self, *, limit: int, hold_s: float, busy: Sequence[str]) -> list[Delivery]:
        """Deliveries that are due, oldest first, not of the `busy` users; each is due again only after `hold_s`."""
        ...

    async def note(self, delivery: Delivery) -> None:
        """Keep what came of a try."""
        ...

    async def of_user(self, user_id: str, *, limit: int, before: str | None = None) -> list[Delivery]:
        """A user's deliveries, newest task first; `before` is a delivery's id to go on from."""
        ...

    async def secret(self, user_id: str, fresh: bytes) -> Secret:
        """The user's secret; `fresh` becomes it if there is none."""
        ...

    async def rotate(self, user_id: str, fresh: bytes) -> Secret:
        """Make `fresh` the secret, and the one that was the previous."""
        ...

    async def forget(self, *, older_than_s: float) -> int:
        """Delete deliveries that ended and are older than that; how many."""
        ...


KEY_COPY_S = 0.4
"""How old an answer of `KeyStore.get` may be."""


class KeyStore(Protocol):
    """API keys. Each act is atomic, and durable when it returns. All raise Unavailable."""

    async def add(self, key: ApiKey) -> None:
        """Keep a new key."""
        ...

    async def get(self, key_id: str) -> ApiKey | None:
        """The key, live or not; None if there is none of that id. It may be KEY_COPY_S old."""
        ...

    async def find(self, *, user_id: str | None = None) -> list[ApiKey]:
        """All keys, or those of a user, newest first; ended ones too."""
        ...

    async def revoke(self, key_id: str, *, at: float) -> ApiKey | None:
        """End a key; one that was revoked before stays as it was. The key afterwards, None if there is none."""
        ...

    async def succeed(self, key_id: str, successor: ApiKey, *, expires_at: float) -> bool:
        """Keep `successor`, and let the key expire at `expires_at` or earlier; nothing if it was revoked meanwhile."""
        ...

    async def touch(self, used: Mapping[str, float]) -> None:
        """Note when keys were last used; earlier times than those known change nothing."""
        ...

    async def has_any(self) -> bool:
        """Whether a key was ever made; one that has ended counts."""
        ...


class WorkerStore(Protocol):
    """Users' machines. Each act is atomic, and durable when it returns. All raise Unavailable."""

    async def register(self, user_id: str, machine: Machine, *, fresh_id: str) -> RemoteWorker:
        """Keep a machine, one generation on, active and heard now: as it was known by its instance, else `fresh_id`."""
        ...

    async def get(self, worker_id: str) -> RemoteWorker | None:
        """The worker, there or lost; None if it never was or left."""
        ...

    async def find(self, *, user_id: str | None = None) -> list[RemoteWorker]:
        """All workers, or those of a user, by id."""
        ...

    async def hear(self, worker_id: str, generation: int, *, load: JsonObject, held: int) -> RemoteWorker | None:
        """Note that it was heard now. The worker afterwards; None, and nothing noted, if that session is over."""
        ...

    async def set_readiness(self, worker_id: str, readiness: Readiness) -> RemoteWorker | None:
        """Let it work, pause or drain. The worker afterwards, None if there is none."""
        ...

    async def remove(self, worker_id: str) -> bool:
        """Forget it: it left. Whether there was one."""
        ...


UPLOAD_KEPT_S = 86_400.0
"""How long an upload waits to be used."""


class UploadStore(Protocol):
    """Files handed in ahead of the task that will use them. Their content stays in the blob store meanwhile."""

    async def keep(self, user_id: str, upload_id: str, source: Source) -> None:
        """Let the user name a blob by `upload_id`, for UPLOAD_KEPT_S."""
        ...

    async def get(self, user_id: str, upload_id: str) -> Source | None:
        """What the user uploaded under that id; None if it is another's, too old, or never was."""
        ...

    async def forget(self) -> int:
        """Delete those that nobody may use any more; how many."""
        ...


CHECKSUMS = ("sha256", "sha1")
"""What a piece of an upload may be checked by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one request adds to an upload."""

    offset: int
    checksum: tuple[str, bytes] | None = None
    """Algorithm and digest of its bytes."""
