"""The leaf anyone may import: log events, readable on a terminal, JSON otherwise.

Bind ids with `structlog.contextvars`: every event within a request carries `request_id`, within a task `task_id`.
"""

import logging
import sys
from threading import Lock
from typing import TextIO

import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger("morag")
"""Events are snake_case facts with fields: `log.info("task_settled", outcome=…)`. Never secrets, never URLs."""


class Tally:
    """Counts of this process by labels, for `/metrics`. Callable from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, *labels: str) -> None:
        """One more."""
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + 1

    def counts(self) -> dict[tuple[str, ...], int]:
        """All of them as they stand."""
        with self._lock:
            return dict(self._counts)


attempts = Tally()
"""Attempts by task name and outcome."""

_TRACEBACK = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
"""Local variables may hold what users sent, passwords of documents among it."""


def settle_in() -> None:
    """As a guest in an application that did nothing about structlog: through its own `logging`, logger `morag`."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"], repr_native_str=False),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def configure(*, level: str = "INFO", stream: TextIO = sys.stderr) -> None:
    """Route structlog and the standard library's logging to `stream`, at `level` and above."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if stream.isatty()
        else [structlog.processors.ExceptionRenderer(_TRACEBACK), structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for chatty in ("httpx2", "httpcore2", "uvicorn.access", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
