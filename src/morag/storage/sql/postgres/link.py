"""One connection to the server, for one thread: `asyncpg` on an event loop that runs only while a statement does.

The acts are plain functions that run beside the server's event loop; the driver knows event loops only. A loop a
connection, run by the thread that waits, costs nothing measurable over `await` (88 against 87 µs a statement).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, TypeVar, cast

from morag.domain.errors import StartupError
from morag.storage.sql.postgres import dialect, troubles
from morag.storage.sql.transaction import Row, Value

T = TypeVar("T")

CONNECT_S = 5.0
ANSWER_S = 20.0
"""A statement without an answer for so long is given up here; the server gives it up before."""
_SERVER_SIDE = {
    "application_name": "morag",
    # every statement is a seek: the plan must not hang on how old the statistics of a growing queue are
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
    "jit": "off",
    "statement_timeout": "15s",
    "lock_timeout": "12s",
    # a client stopped in the middle keeps nobody waiting for ever, nor does one whose machine is gone
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


class Driver(Protocol):
    """The part of `asyncpg.Connection` used here, typed."""

    async def fetch(self, query: str, *args: Value) -> list[Sequence[Any]]:
        """All rows of a statement."""
        ...

    async def execute(self, query: str, *args: Value) -> str:
        """Run a statement, or several without parameters; the tag of the last."""
        ...

    def is_closed(self) -> bool:
        """Whether the connection is known to be gone."""
        ...

    def terminate(self) -> None:
        """Drop the connection without a word."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- the driver's own signature
        """Take leave of the server."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the record is: the server and database by URL, and the schema in it."""

    url: str
    schema: str


class Link:
    """A connection that is made when it is needed. To be used by one thread at a time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._driver: Driver | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that is not known to be gone."""
        return self._driver is not None and not self._driver.is_closed()

    def open(self) -> None:
        """Connect, unless it is connected."""
        if not self.is_open:
            self._driver = self._wait(_connect(self._address))

    def rows(self, shared: str, values: dict[str, Value]) -> list[Row]:
        """Run a shared statement; all rows."""
        text, names = dialect.statement(shared)
        return [tuple(row) for row in self._wait(self._live.fetch(text, *(_text(values[name]) for name in names)))]

    def run(self, shared: str, values: dict[str, Value]) -> int:
        """Run a shared statement; how many rows it changed."""
        text, names = dialect.statement(shared)
        tag = self._wait(self._live.execute(text, *(_text(values[name]) for name in names)))
        return int(tag.rpartition(" ")[2])

    def script(self, statements: str) -> None:
        """Run statements of Postgres's own, without parameters."""
        self._wait(self._live.execute(statements))

    def drop(self) -> None:
        """Let go of the connection at once; the server undoes what was not committed."""
        if self._driver is not None:
            self._driver.terminate()
            self._driver = None
            # lets the loop close the socket
            self._loop.run_until_complete(asyncio.sleep(0))

    def close(self) -> None:
        """Take leave of the server; the link is not to be used again."""
        try:
            if self._driver is not None and self.is_open:
                self._wait(self._driver.close(timeout=CONNECT_S))
        except Exception as error:
            self.drop()
            if not troubles.is_lost(error):
                raise
        finally:
            self._loop.close()

    @property
    def _live(self) -> Driver:
        if self._driver is None:
            raise ConnectionError("not connected")
        return self._driver

    def _wait(self, answer: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(answer)


async def _connect(address: Address) -> Driver:
    server_side = {**_SERVER_SIDE, "search_path": f'"{address.schema}"'}
    connect = _driver()
    return await connect(address.url, timeout=CONNECT_S, command_timeout=ANSWER_S, server_settings=server_side)


def _driver() -> Callable[..., Awaitable[Driver]]:
    try:
        # only who uses Postgres has it, and pays for it
        asyncpg = import_module("asyncpg")
    except ModuleNotFoundError as error:
        raise StartupError(
            "The driver for Postgres is not installed.",
            code="driver_missing",
            hint="Install it: pip install 'morag[postgres]'",
        ) from error
    return cast("Callable[..., Awaitable[Driver]]", asyncpg.connect)


def _text(value: Value) -> Value:
    """A value as Postgres takes it: its text knows no NUL."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value
