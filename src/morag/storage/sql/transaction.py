"""What an act on the record sees of the database, whichever it is: statements, a lock, the time, doorbells to ring.

The acts (intake, claim, holding, ending, sweep, documents) and their statements are written once against this. An
engine runs them: SQLite's one writer thread, or Postgres's connections. A comment `/*pg … */` in a statement is what
Postgres, where transactions overlap, reads in addition.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]
"""A row in the order of its statement's columns."""
Value: TypeAlias = str | int | float | bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When, by all clocks, and in which run of the clock `monotonic` an act takes place."""

    now: float
    """On the wall: for what people read."""
    steady: float
    """On the store's own time (`steady_time`), which a wall clock that jumps leaves alone: for delays and deadlines."""
    monotonic: float
    """For leases."""
    boot_id: str


class Transaction(Protocol):
    """One act inside a transaction of its own."""

    @property
    def lanes(self) -> set[str]:
        """Lanes where a task became claimable, to be rung once it is committed."""
        ...

    @property
    def tasks(self) -> set[str]:
        """Tasks whose record or log changed, to be rung once it is committed."""
        ...

    @property
    def notes(self) -> list[tuple[str, float, str, str]]:
        """(task id, when, kind, JSON) of lines for the tasks' logs, to be written before it is committed."""
        ...

    def rows(self, statement: str, /, **values: Value) -> list[Row]:
        """Run a statement with named parameters; all rows."""
        ...

    def row(self, statement: str, /, **values: Value) -> Row | None:
        """Run a statement to its end; its first row."""
        ...

    def run(self, statement: str, /, **values: Value) -> int:
        """Run a statement; how many rows it changed."""
        ...

    def lock(self, *name: str) -> None:
        """Go on only when no other transaction holds the lock of that name; held until this one ends."""
        ...


Act = Callable[[Transaction], T]
"""What is done in one transaction. It does nothing but use it, for it may be run again from its beginning."""


class Transactor(Protocol):
    """Runs acts, each whole or not at all."""

    async def write(self, act: Act[T], *, is_urgent: bool = False, lanes: frozenset[str] = frozenset()) -> T:
        """Run `act` in a transaction; durable when this returns. Urgent ones go before others that wait.

        It is known to make tasks of these `lanes` claimable: where acts run one after another they may be rung before.
        Raises what `act` raises, StorageFull, and Unavailable.
        """
        ...

    async def read(self, act: Act[T]) -> T:
        """Run `act` on one snapshot of the database."""
        ...


class Host(Protocol):
    """What the store asks of the machine it is used from."""

    def moment(self, tx: Transaction, /) -> Moment:
        """Now, for this transaction."""
        ...

    def is_gone(self, boot_id: str, pid: int | None, pid_started_at: float | None) -> bool:
        """Whether a worker is known to be dead: its process of this machine ended. Elsewhere only leases tell."""
        ...
