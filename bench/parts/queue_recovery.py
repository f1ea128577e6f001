"""How long until a task runs elsewhere, for queues.py: ours however its process goes, and any system's workers killed.

BENCH_REDIS=… BENCH_FOLDER=… BENCH_LEDGER=… python -m parts.queue_recovery MODULE CAP_SECONDS
"""

import asyncio
import importlib
import importlib.metadata
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from parts.ledger import Ledger, Line
from parts.processes import Group
from queue_systems import contract

NAP_S = 30.0
PATIENCE_S = 60.0
UNDER_WAY_S = 3.0
"""How long a task has run when its worker is killed."""
DRAIN_S = 1.0
"""How long our process waits for what runs when it is told to stop (its `drain_s`, 10 by default)."""
LONG = range(1_000_000, 1_000_001)
SHORT = range(1_000_001, 1_000_002)
WARM = range(40)
OURS = (sys.executable, "-m", "queue_systems.morag_embedded")


class Scene:
    """Processes of ours on one fresh file, and the ledger of what they run."""

    def __init__(self, folder: Path, ending: ExitStack) -> None:
        folder.mkdir()
        self._folder = folder
        self._ending = ending
        self.ledger = Ledger(folder / "ledger")

    def process(self, *arguments: str) -> Group:
        """One more process on the file; with a task of its own if the arguments say so."""
        told = {"BENCH_FOLDER": str(self._folder), "BENCH_LEDGER": str(self._folder / "ledger")}
        return self._ending.enter_context(Group([[*OURS, *arguments]], self._folder / "log", told))

    async def napping(self, name: str = "nap") -> tuple[Group, Line]:
        """A process whose long task has started."""
        group = self.process(name, str(LONG.start), str(NAP_S))
        return group, await self.start(1)

    async def idle(self) -> Group:
        """A process that is up: a short task of its own has ended."""
        group = self.process("nap", str(SHORT.start), "0")
        await self.ledger.until("end", SHORT, lines=1, timeout_s=PATIENCE_S)
        return group

    async def start(self, n: int) -> Line:
        """The `n`th start of the long task."""
        return (await self.ledger.until("start", LONG, lines=n, timeout_s=PATIENCE_S))[n - 1]


async def child_killed(scene: Scene) -> float:
    _, line = await scene.napping("heavy_nap")
    began = time.monotonic()
    os.kill(line.pid, signal.SIGKILL)
    return (await scene.start(2)).at - began


async def process_killed(scene: Scene) -> float:
    group, _ = await scene.napping()
    began = time.monotonic()
    group.kill()
    scene.process()
    return (await scene.start(2)).at - began


async def sibling_takes_over(scene: Scene) -> float:
    group, _ = await scene.napping()
    await scene.idle()
    began = time.monotonic()
    group.kill()
    return (await scene.start(2)).at - began


async def drained_to_sibling(scene: Scene) -> float:
    group, _ = await scene.napping()
    await scene.idle()
    began = time.monotonic()
    group.processes[0].terminate()
    return (await scene.start(2)).at - began - DRAIN_S


async def drained_idle(scene: Scene) -> float:
    group = await scene.idle()
    began = time.monotonic()
    group.processes[0].terminate()
    await asyncio.to_thread(group.processes[0].wait, PATIENCE_S)
    return time.monotonic() - began


OUR_CASES = (
    ("child of a heavy task killed → it runs again", "≤ 0.2", child_killed),
    ("process killed, started again at once → running", "≤ 2", process_killed),
    ("process killed → running in a sibling on the file", "≤ 3", sibling_takes_over),
    (f"SIGTERM → running in a sibling, beyond drain_s={DRAIN_S:g}", "≤ 1", drained_to_sibling),
    ("SIGTERM of an idle process → gone", "≤ 1", drained_idle),
)


async def our_recovery(folder: Path) -> list[tuple[str, str, float | None]]:
    """Each case, its target and its seconds; None if it did not happen within a minute."""
    found: list[tuple[str, str, float | None]] = []
    for number, (what, target, case) in enumerate(OUR_CASES):
        seconds = None
        with ExitStack() as ending, suppress(TimeoutError):
            seconds = await case(Scene(folder / f"recovery-{number}", ending))
        found.append((what, target, seconds))
    return found


async def recovery(system: contract.System, cap_s: float) -> float | None:
    """Seconds from the SIGKILL of the workers that run a long task to its start in others; None after `cap_s`."""
    ledger = Ledger(contract.LEDGER)
    await system.open(is_running=False)
    commands: Sequence[Sequence[str]] = system.naps_in_workers()
    with Group(commands, contract.FOLDER / "one.log") as one, Group(commands, contract.FOLDER / "other.log") as other:
        await system.flood(WARM, 4)
        await ledger.every(WARM, timeout_s=PATIENCE_S)
        await asyncio.sleep(UNDER_WAY_S)
        await system.nap(LONG.start, NAP_S)
        (line,) = await ledger.until("start", LONG, lines=1, timeout_s=PATIENCE_S)
        await asyncio.sleep(UNDER_WAY_S)
        began = time.monotonic()
        (one if one.holds(line.pid) else other).kill()
        with suppress(TimeoutError):
            return (await ledger.until("start", LONG, lines=2, timeout_s=cap_s))[1].at - began
    return None


def main() -> None:
    module, cap_s = sys.argv[1:]
    system: contract.System = importlib.import_module(f"queue_systems.{module}").SYSTEM
    seconds = asyncio.run(recovery(system, float(cap_s)))
    print(json.dumps({"version": importlib.metadata.version(system.package), "recover_s": seconds}))


if __name__ == "__main__":
    main()
