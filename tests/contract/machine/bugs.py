"""Bugs to plant, each a small change at run time in one store, that the machine has to find."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from morag.domain.task import Answer, NewTask, Task, TaskState
from morag.domain.transitions import opened, refused
from morag.storage.memory import claiming as memory_claiming
from morag.storage.memory import holding as memory_holding
from morag.storage.memory.claiming import Shares
from morag.storage.memory.intake import Intake
from morag.storage.memory.ledger import Entry, Ledger
from morag.storage.sql import documents as sql_documents
from morag.storage.sql import ending as sql_ending
from morag.storage.sql import holding as sql_holding
from morag.storage.sql import intake as sql_intake
from morag.storage.sql import steady_time
from morag.storage.sql import turns as sql_turns
from morag.storage.sql.database import Machine
from morag.storage.sql.statements import claim, documents, ending, holding, intake, limits
from morag.storage.sql.transaction import Moment, Transaction


@dataclass(frozen=True, slots=True)
class Bug:
    """`plant` is a context in which the store has it."""

    name: str
    store: str
    plant: Callable[[], AbstractContextManager[None]]
    is_quick: bool = True
    """Whether it is found in seconds; the others take `chaos/planted_bugs.py`."""


@contextmanager
def _swap(owner: Any, name: str, planted: object) -> Generator[None]:
    sound = getattr(owner, name)
    setattr(owner, name, planted)
    try:
        yield
    finally:
        setattr(owner, name, sound)


def _sql(name: str, module: Any, statement: str, old: str, new: str, *, is_quick: bool = True) -> Bug:
    """A bug that is another text in a statement."""

    def plant() -> AbstractContextManager[None]:
        sound = getattr(module, statement)
        assert old in sound, f"{statement} does not say {old!r} any more"
        return _swap(module, statement, sound.replace(old, new))

    return Bug(name, "sqlite", plant, is_quick)


def _code(name: str, store: str, owner: Any, attribute: str, planted: object, *, is_quick: bool = True) -> Bug:
    """A bug that is another function."""
    return Bug(name, store, lambda: _swap(owner, attribute, planted), is_quick)


def _nothing(*_arguments: object, **_more: object) -> None:
    """What a forgotten call does."""


def _most_urgent(_shares: Shares, _queue: object, waiting: list[Entry]) -> Entry:
    return min(waiting, key=lambda entry: (entry.rank, entry.task.id))


def _leases_by_the_wall(machine: Machine, tx: Transaction) -> Moment:
    at = _sound_moment(machine, tx)
    return replace(at, monotonic=at.now)


def _all_by_the_wall(machine: Machine, tx: Transaction) -> Moment:
    at = _sound_moment(machine, tx)
    return replace(at, steady=at.now)


def _ledger_by_the_wall(ledger: Ledger) -> float:
    return ledger.clock.now()


def _delayed_by_the_wall(new: NewTask, *, user_id: str, parent_id: str | None, now: float, steady: float) -> Task:
    del steady
    return opened(new, user_id=user_id, parent_id=parent_id, now=now, steady=now)


def _note_twice(tx: Transaction, at: Moment) -> None:
    _sound_note(tx, replace(at, steady=at.steady - (at.now - at.steady)))


def _forgetful(state: TaskState | None, *, is_known: bool = False) -> Answer:
    del is_known
    return refused(state)


def _impatient(ledger: Ledger) -> None:
    for entry in ledger.entries.values():
        if entry.task.state is TaskState.PENDING and not entry.is_ready:
            ledger.ready(entry)


def _half_stored(intake: Intake, tasks: Sequence[NewTask]) -> list[Task]:
    stored: list[Task] = []
    for new in tasks:
        stored += _sound_submit(intake, [new])
    return stored


def _room_for_all(*_asked: object, **_more: object) -> bool:
    return True


def _held_by_fence(entry: Entry, fence: int) -> bool:
    return entry.task.fence == fence


def _held_by_anyone(entry: Entry, _fence: int) -> bool:
    return entry.is_running or entry.lapsed


_sound_submit = Intake.submit
_sound_moment = Machine.moment
_sound_note = steady_time.note
FENCE = "AND fence = :fence "
HELD = "(state = 'running' OR lapsed = 1)"

BUGS = (
    _sql("settle without a fence check", holding, "END", FENCE, ""),
    _sql("extend without a fence check", holding, "RENEW", FENCE, "", is_quick=False),
    _sql("park without a fence check", holding, "PARK", FENCE, ""),
    _sql("release without a fence check", holding, "RETRY", FENCE, "", is_quick=False),
    _sql("late settle overwrites an end", holding, "END", HELD, "1 = 1"),
    _sql(
        "loss charged though the holder is back",
        holding,
        "RECOVER",
        "infrastructure_losses - 1",
        "infrastructure_losses",
        is_quick=False,
    ),
    _sql("grant under the old fence", claim, "GRANT", "fence = fence + 1", "fence = fence"),
    _sql("claim before the time", claim, "PROMOTE_DUE", "AND ready_at <= :steady", ""),
    _sql("claim id of another worker", claim, "HELD_BY_CLAIM", " AND worker_id = :worker_id", ""),
    _sql("user served without a charge", claim, "CHARGE", "last_grant = :last_grant, pass = :pass", "pass = pass"),
    _sql("weight ignored", claim, "NEXT_USERS", "room, weight FROM", "room, 1.0 FROM"),
    _sql("limit on queued tasks counts children", limits, "QUEUED", " AND rank >= 32", "", is_quick=False),
    _sql("limit on bytes forgets documents", limits, "STORED", "sum(size_bytes)", "min(0)"),
    _sql("everybody's limits go before the user's", limits, "GET", "ORDER BY user_id DESC", "ORDER BY user_id"),
    _code("limit on running tasks counts no lost ones", "sqlite", sql_turns, "_ANY", 1, is_quick=False),
    _code("free slot told to nobody", "sqlite", sql_holding, "slot_freed", _nothing, is_quick=False),
    _code("limit on running tasks not kept", "memory", memory_claiming, "has_room", _room_for_all),
    _code("half of a refused batch stored", "memory", Intake, "submit", _half_stored),
    _sql(
        "lost wake-up of the last child",
        ending,
        "CHILD_ENDED",
        "RETURNING open_children",
        "RETURNING open_children + 1",
    ),
    _sql("ended child counted twice", ending, "CHILD_ENDED", "open_children - 1", "open_children - 2"),
    _sql("resumed parent queues at the end", ending, "RESUME", ", rank = rank % 16", "", is_quick=False),
    _sql(
        "cancel misses a child", ending, "OPEN_DESCENDANTS", "finished_at IS NULL)\n", "finished_at IS NULL)\nLIMIT 1\n"
    ),
    _sql("cancel leaves the fence", ending, "CLOSE", "THEN 1 ELSE 0", "THEN 0 ELSE 0"),
    _sql("expiry moves the fence", ending, "LAPSE", "lapsed = 1,", "lapsed = 1, fence = fence + 1,"),
    _sql(
        "expiry of a lease renewed meanwhile",
        ending,
        "LAPSE",
        "lease_until <= :monotonic",
        "lease_until > 0",
        is_quick=False,
    ),
    _sql(
        "deadline of a task that has more time meanwhile",
        ending,
        "IS_OVERDUE",
        " AND due_at <= :steady",
        "",
        is_quick=False,
    ),
    _sql("key of another user", intake, "FIND_KEY", "user_id = :user_id AND ", ""),
    _sql("reservation not given back", intake, "IS_DOCUMENT_TAKEN", " AND finished_at IS NULL", "", is_quick=False),
    _sql("gap in the log", intake, "APPEND_EVENTS", "+ 1", "+ 2"),
    _sql(
        "older document replaces a newer one",
        documents,
        "PUBLISH",
        "WHERE documents.task_id <= excluded.task_id",
        "",
        is_quick=False,
    ),
    _code("deleted document comes back", "sqlite", sql_documents, "withdraw", _nothing, is_quick=False),
    _code("doorbell of a resumed parent not rung", "sqlite", sql_ending, "stand_in_lane", _nothing),
    _code("duplicate settle counts as lost", "sqlite", sql_holding, "refused", _forgetful),
    _code("leases by the wall clock", "sqlite", Machine, "moment", _leases_by_the_wall, is_quick=False),
    _code("delays and deadlines by the wall clock", "sqlite", Machine, "moment", _all_by_the_wall),
    _code("delays of new tasks by the wall clock", "sqlite", sql_intake, "opened", _delayed_by_the_wall),
    _sql("deadlines by the wall clock", claim, "GRANT", ":steady + deadline_s", ":now + deadline_s"),
    _code("jump taken for time by a boot", "sqlite", steady_time, "note", _nothing),
    _code("jump taken out twice by a boot", "sqlite", steady_time, "note", _note_twice),
    _sql(
        "record kept by the wall clock",
        ending,
        "CLOSE",
        "finished_steady = :steady",
        "finished_steady = :now",
        is_quick=False,
    ),
    _sql("key kept by the wall clock", intake, "INSERT_TASK", ":created_steady,", ":created_at,", is_quick=False),
    _code("delays and deadlines by the wall clock", "memory", Ledger, "steady", _ledger_by_the_wall),
    _code("settle without a fence check", "memory", Entry, "is_held", _held_by_anyone),
    _code("late settle overwrites an end", "memory", Entry, "is_held", _held_by_fence),
    _code("priority across users", "memory", Shares, "fairest", _most_urgent),
    _code("lost wake-up of the last child", "memory", Ledger, "_tell_parent", _nothing),
    _code("claim before the time", "memory", Ledger, "promote", _impatient),
    _code("document taken twice", "memory", Intake, "_check_reservation", _nothing),
    _code("deleted document comes back", "memory", Ledger, "withdraw", _nothing),
    _code("duplicate settle counts as lost", "memory", memory_holding, "refused", _forgetful),
)
