"""The way to a Redis server: commands in, answers out, and one error for all that can go wrong on the way."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Protocol, TypeAlias, cast

from morag.domain.errors import StartupError, Unavailable

Word: TypeAlias = str | float
Command: TypeAlias = Sequence[Word]

_HINT = "Check REDIS_URL, and that the server it names runs."


class Pipeline(Protocol):
    """The part of `redis.asyncio.client.Pipeline` used here, typed."""

    def execute_command(self, *words: Word) -> object:
        """Put a command behind the others."""
        ...

    async def execute(self) -> list[Any]:
        """Send them; the answers in order."""
        ...


class Client(Protocol):
    """The part of `redis.asyncio.Redis` used here, typed."""

    async def execute_command(self, *words: Word) -> Any:
        """Send a command; its answer."""
        ...

    def pipeline(self, transaction: bool = True) -> Pipeline:  # noqa: FBT001, FBT002 -- the driver's own signature
        """Commands to be sent together."""
        ...

    async def aclose(self) -> None:
        """Take leave of the server."""
        ...


class Link:
    """Connections to one server, made as they are needed."""

    def __init__(self, client: Client, troubles: type[Exception]) -> None:
        self._client = client
        self._troubles = troubles

    async def ask(self, *words: Word) -> Any:
        """Send a command; its answer. Raises Unavailable."""
        try:
            return await self._client.execute_command(*words)
        except self._troubles as error:
            raise _away(error) from error

    async def ask_all(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one go; their answers in order. Raises Unavailable."""
        pipeline = self._client.pipeline(transaction=False)
        for words in commands:
            pipeline.execute_command(*words)
        try:
            return await pipeline.execute()
        except self._troubles as error:
            raise _away(error) from error


@asynccontextmanager
async def linked(url: str, *, timeout_s: float) -> AsyncGenerator[Link]:
    """A link to the server at `url` that waits `timeout_s` for each answer. Raises StartupError for what is no URL."""
    redis, errors, retry, backoff = map(_driver, ("asyncio", "exceptions", "asyncio.retry", "backoff"))
    try:
        client = redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # a connection that broke while nobody used it is made anew, at once and once
            retry=retry.Retry(backoff.NoBackoff(), 1),
        )
    except ValueError:
        # the driver's own words may hold the password
        raise StartupError(
            "REDIS_URL: this is no address of a Redis server.",
            code="bad_setting",
            hint="Write redis://HOST:PORT/0, rediss:// for TLS, or unix:///PATH.",
        ) from None
    try:
        yield Link(cast("Client", client), cast("type[Exception]", errors.RedisError))
    finally:
        await client.aclose()


def _driver(name: str) -> Any:
    try:
        # only who uses Redis has it, and pays for it
        return import_module(f"redis.{name}")
    except ModuleNotFoundError as error:
        raise StartupError(
            "The driver for Redis is not installed.",
            code="driver_missing",
            hint="Install it: pip install 'morag[redis]'",
        ) from error


def _away(error: Exception) -> Unavailable:
    # its kind alone: messages of the driver name addresses, and commands with what is in them
    return Unavailable(f"Redis did not answer ({type(error).__name__}).", code="redis_away", hint=_HINT)
