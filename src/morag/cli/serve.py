"""`morag serve`: the API in this process, until Ctrl-C; then what runs is given back and everything is closed."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from morag.api.app import create_app
from morag.cli import tls
from morag.cli.addresses import exposure, first_key, is_loopback, url_of
from morag.cli.output import answer, say
from morag.domain.errors import MoragError, StartupError
from morag.settings import Settings, load
from morag.telemetry import configure

DRAIN_S = 5
"""How long open requests may go on after Ctrl-C."""
KEEP_ALIVE_S = 60
"""How long a connection stays open unused: longer than machines are silent between heartbeats, or each would meet its
end half the time."""


class _Watched:
    """The application; keeps the error its start ended in, for a clear word instead of a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.error: MoragError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, self._without_trace(send))
        except MoragError as error:
            self.error = error
            raise

    def _without_trace(self, send: Send) -> Send:
        async def passing(message: Message) -> None:
            is_failed = message["type"] == "lifespan.startup.failed"
            await send({"type": message["type"], "message": ""} if is_failed else message)

        return passing


class _Server(uvicorn.Server):
    """Says when it is ready, and where; and if nobody can use it yet, what to do."""

    def __init__(self, config: uvicorn.Config, url: str, first_steps: Callable[[], Awaitable[list[str]]]) -> None:
        super().__init__(config)
        self._url = url
        self._first_steps = first_steps

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            _spare_the_collector()
            for line in await self._first_steps():
                say(line)
            answer(f"MoRAG is ready at {self._url} (what it can do: {self._url}/docs; Ctrl-C stops it)")
            sys.stdout.flush()


def _spare_the_collector() -> None:
    """Let the garbage collector look less often, and never again at what was loaded for good.

    A full look at all that lives kept every request waiting for 0.1 to 0.5 s with 1,000 machines connected.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def run(**given: object) -> int:
    """Serve with the settings, those given first, until told to stop; the exit status. Raises StartupError."""
    settings = load(**{name: value for name, value in given.items() if value is not None})
    configure(level=settings.log_level)
    uvicorn_log = logging.getLogger("uvicorn.error")
    uvicorn_log.setLevel(logging.WARNING)  # its news are told below, in one line
    uvicorn_log.addFilter(_is_news)
    encryption = tls.files(settings)
    scheme = "https" if encryption else "http"
    signal.signal(signal.SIGTERM, _leave)
    with _bound(settings) as listening:
        port = int(listening.getsockname()[1])
        for line in exposure(
            settings.host, allow_anonymous=settings.allow_anonymous, is_encrypted=encryption is not None
        ):
            say(line)
        app = create_app(settings)
        watched = _Watched(app)
        config = uvicorn.Config(
            watched,
            log_config=None,
            access_log=False,
            lifespan="on",
            ws="none",
            proxy_headers=False,  # the door reads them, of those who are trusted
            server_header=False,
            timeout_graceful_shutdown=DRAIN_S,
            timeout_keep_alive=KEEP_ALIVE_S,
            ssl_certfile=encryption[0] if encryption else None,
            ssl_keyfile=encryption[1] if encryption else None,
        )
        try:
            with contextlib.suppress(KeyboardInterrupt):  # how it is told to stop; all is closed by now
                server = _Server(
                    config, url_of(settings.host, port, scheme=scheme), partial(_first_steps, app, settings)
                )
                asyncio.run(server.serve([listening]))
        except SystemExit:
            if watched.error:
                raise watched.error from None
            raise
    say("MoRAG has stopped.")
    return 0


async def _first_steps(app: FastAPI, settings: Settings) -> list[str]:
    """How to make the first key, where there is none and nobody is let in without one."""
    is_open = settings.allow_anonymous
    if is_open or (is_open is None and is_loopback(settings.host)) or await app.state.system.keys.has_keys():
        return []
    return first_key(settings.data_dir if settings.key_store == "database" else None)


def _bound(settings: Settings) -> socket.socket:
    """A listening socket. Raises StartupError: `cannot_listen`."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # the protocol by name: asyncio sets TCP_NODELAY only where it reads IPPROTO_TCP, else each answer waits 40 ms
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StartupError(
            f"Cannot listen on {settings.host}:{settings.port}: {reason}.",
            code="cannot_listen",
            hint="Is a server running there already? Choose another with --port (0 takes a free one) or --host.",
        ) from None
    return listening


def _is_news(record: logging.LogRecord) -> bool:
    """Not that the start failed, which is told with its reason; nor that requests were cut off by the end."""
    raised = record.exc_info[1] if record.exc_info else None
    is_cut_off = isinstance(raised, asyncio.CancelledError)
    return not (is_cut_off or record.getMessage().startswith("Application startup failed"))


def _leave(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
