"""A running server's inside: data folder, sandbox, runner, executor and supervisor, opened and closed together."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from morag import bootstrap
from morag.bootstrap import System
from morag.domain.errors import ConversionError
from morag.pipeline.conversion.speech_models import choose
from morag.settings import Settings
from morag.telemetry import log
from morag.worker.runner import Runner
from morag.worker.sandbox.sandbox import Sandbox


@asynccontextmanager
async def open_system(settings: Settings) -> AsyncGenerator[System]:
    """Open everything and run tasks until the context ends; then give back what still runs, and close.

    Raises StartupError with what to change.
    """
    async with bootstrap.opened(settings) as parts:
        sandbox = sandbox_for(settings, settings.data_dir / "work")
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


def sandbox_for(settings: Settings, root: Path) -> Sandbox:
    """A sandbox as the settings want it, its folders under `root`."""
    return Sandbox(
        root=root,
        memory_bytes=settings.child_memory_bytes,
        warm=settings.workers,
        read_only=_model_paths(settings),
        speech_model=settings.whisper_model,
    )


def _model_paths(settings: Settings) -> list[Path]:
    """Where the speech model's weights lie, so that conversions are let in; none if there is no such model."""
    try:
        return list(choose(settings.whisper_model).reads())
    except ConversionError as error:
        log.info("speech_model_missing", reason=error.message, hint=error.hint)
        return []


@asynccontextmanager
async def _serving(system: System) -> AsyncGenerator[None]:
    system.loops.start("executor", system.executor.serve)
    system.loops.start("supervisor", system.supervisor.serve)
    try:
        yield
    finally:
        await system.loops.close()
