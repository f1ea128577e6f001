"""How soon work goes on after a death (P5), by default settings: from the blow to the function running again.

    .venv/bin/python bench/recover.py [--rounds 10]

A process of the task library runs one long task and is hit; whoever runs it next notes the time, on the clock that all
processes share. Medians and the longest of all rounds.
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROGRAM = Path(__file__).parent / "parts" / "recovering.py"
LIMIT_S = 60.0
TICK_S = 0.002


class Scene:
    """A fresh folder, its processes, and the runs they noted: (process, when on the shared clock)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        told = {"MORAG_DATA_DIR": str(self._folder), "WITNESS": str(self._folder / "witness")}
        command = [sys.executable, str(PROGRAM), *arguments]
        process = subprocess.Popen(command, env={**os.environ, **told}, stderr=subprocess.DEVNULL)
        self._started.append(process)
        return process

    def runs(self) -> list[tuple[int, float]]:
        path = self._folder / "witness"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(pid), float(at)) for pid, at in map(str.split, lines)]

    def run(self, n: int) -> tuple[int, float]:
        """The n-th run, waited for. Raises TimeoutError."""
        until = time.monotonic() + LIMIT_S
        while len(self.runs()) < n:
            if time.monotonic() > until:
                raise TimeoutError(f"no run {n} within {LIMIT_S:.0f} s")
            time.sleep(TICK_S)
        return self.runs()[n - 1]

    def serving(self) -> "subprocess.Popen[bytes]":
        """One more process, open."""
        process = self.start("serve")
        while not (self._folder / f"open-{process.pid}").exists():
            time.sleep(TICK_S)
        return process

    def end(self) -> None:
        for process in self._started:
            process.kill()
            process.wait()


def child(scene: Scene) -> float:
    scene.start("submit", "heavy")
    pid, _ = scene.run(1)
    return _hit(pid, signal.SIGKILL, scene)


def sibling(scene: Scene) -> float:
    return _beside(scene, signal.SIGKILL)


def drain(scene: Scene) -> float:
    return _beside(scene, signal.SIGTERM)


def restart(scene: Scene) -> float:
    doomed = scene.start("submit", "light")
    scene.run(1)
    doomed.kill()
    doomed.wait()
    began = time.monotonic()
    scene.start("serve")
    return scene.run(2)[1] - began


def hung(scene: Scene) -> float:
    return _beside(scene, signal.SIGSTOP)


def _beside(scene: Scene, blow: signal.Signals) -> float:
    doomed = scene.start("submit", "light")
    scene.run(1)
    scene.serving()
    return _hit(doomed.pid, blow, scene)


def _hit(pid: int, blow: signal.Signals, scene: Scene) -> float:
    time.sleep(random.uniform(0.0, 1.0))  # noqa: S311 - nobody's turn to look is nearer than another's
    began = time.monotonic()
    os.kill(pid, blow)
    return scene.run(2)[1] - began


CASES: dict[str, tuple[Callable[[Scene], float], str]] = {
    "child killed": (child, "≤ 0.2"),
    "process killed, a sibling lives": (sibling, "≤ 3"),
    "process killed, started again": (restart, "≤ 2"),
    "process told to end, a sibling lives": (drain, "≤ 1"),
    "process hangs, a sibling lives (once)": (hung, "lease 30"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    print(f"{'seconds until it runs again':<40}{'median':>8}{'longest':>9}  target")
    for name, (case, target) in CASES.items():
        took = [_measured(case) for _ in range(1 if case is hung else given.rounds)]
        print(f"{name:<40}{statistics.median(took):>8.2f}{max(took):>9.2f}  {target}", flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


def _measured(case: Callable[[Scene], float]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder))
        try:
            return case(scene)
        finally:
            scene.end()


if __name__ == "__main__":
    main()
