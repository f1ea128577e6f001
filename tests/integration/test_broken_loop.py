"""A loop of the server that a bug ends: health says so, it is started again, and its work is done."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from morag.control.ports import SweepReport
from morag.settings import load
from morag.worker.host import open_system


async def test_server_whose_supervisor_breaks_is_not_ready_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MORAG_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("MORAG_WORKERS", "0")
    with capture_logs() as told:
        await break_and_mend(monkeypatch)
    assert [(each["loop"], each["log_level"]) for each in told if each["event"] == "loop_broken"] == [
        ("supervisor", "critical")
    ]


async def break_and_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_system(load()) as system, asyncio.timeout(30):
        assert (await system.health()).is_ready
        sound, swept = system.store.sweep, asyncio.Event()

        async def broken() -> SweepReport:
            monkeypatch.setattr(system.store, "sweep", mended)
            raise KeyError("a bug")

        async def mended() -> SweepReport:
            swept.set()
            return await sound()

        monkeypatch.setattr(system.store, "sweep", broken)
        await swept.wait()
        health = await system.health()
        assert not health.is_ready
        assert health.checks["loops"].startswith("supervisor: broke")
        assert health.checks["database"] == "ok"
