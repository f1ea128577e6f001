"""A running server's inside: data folder, sandbox, runner, executor and supervisor, opened and closed together."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from morag import bootstrap
from morag.bootstrap import System
from morag.settings import Settings
from morag.telemetry import log
from morag.worker.runner import Runner
from morag.worker.sandbox import Sandbox


@asynccontextmanager
async def open_system(settings: Settings) -> AsyncGenerator[System]:
    """Open everything and run tasks until the context ends; then give back what still runs, and close.

    Raises StartupError with what to change.
    """
    async with bootstrap.opened(settings) as parts:
        sandbox = Sandbox(
            root=settings.data_dir / "work", memory_bytes=settings.child_memory_bytes, read_only=model_paths(settings)
        )
        await sandbox.start()
        try:
            runner = Runner(
                handlers=parts.handlers.table(),
                sandbox=sandbox,
                blobs=parts.blobs,
                timeout_s=settings.timeout_s,
                worker_id=parts.worker.id,
            )
            system = bootstrap.assemble(parts, run=runner.run, names=runner.names)
            for note in system.notes:
                log.warning("note", note=note)
            async with _serving(system):
                yield system
        finally:
            await sandbox.close()


def model_paths(settings: Settings) -> list[Path]:
    """Model files outside the installed packages that a child must be able to read."""
    named = Path(settings.whisper_model).expanduser()
    return [named] if named.is_absolute() and named.exists() else []


@asynccontextmanager
async def _serving(system: System) -> AsyncGenerator[None]:
    loops = [asyncio.create_task(system.executor.serve()), asyncio.create_task(system.supervisor.serve())]
    for loop in loops:
        loop.add_done_callback(_say_if_broken)
    try:
        yield
    finally:
        for loop in loops:
            loop.cancel()
        for loop in loops:
            with contextlib.suppress(asyncio.CancelledError):
                await loop


def _say_if_broken(loop: "asyncio.Task[None]") -> None:
    """A loop that ends by itself is a bug that must not stay unseen."""
    if not loop.cancelled() and loop.exception():
        log.critical("loop_broken", exc_info=loop.exception())
