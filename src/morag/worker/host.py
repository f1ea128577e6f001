"""A running server's inside: data folder, sandbox, runner, executor and supervisor, opened and closed together."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from morag.bootstrap.parts import opened
from morag.bootstrap.system import System, assemble
from morag.settings import Settings
from morag.telemetry import log
from morag.worker.runner import Runner
from morag.worker.sandbox.configured import sandbox_for


@asynccontextmanager
async def open_system(settings: Settings) -> AsyncGenerator[System]:
    """Open everything and run tasks until the context ends; then give back what still runs, and close.

    Raises StartupError with what to change.
    """
    async with opened(settings) as parts:
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
            system = assemble(parts, run=runner.run, names=runner.names)
            for note in system.notes:
                log.warning("note", note=note)
            async with _serving(system):
                yield system
        finally:
            await sandbox.close()


@asynccontextmanager
async def _serving(system: System) -> AsyncGenerator[None]:
    system.loops.start("executor", system.executor.serve)
    system.loops.start("supervisor", system.supervisor.serve)
    try:
        yield
    finally:
        await system.loops.close()
        await system.webhooks.close()
