"""The task engine beside five task queues (P2, P3, P5): tasks a second, idle latency, recovery, in one run.

    .venv/bin/python bench/queues.py [--n 10000] [--reps 2] [--systems morag_embedded,…] [--recover] [--json FILE]

Each system is measured in a process of its own with workers of its own and a fresh Redis; repetitions are interleaved,
every other one backwards; ratios are taken within one repetition, and medians of all are shown. What was executed is
read from a ledger that task bodies write; ours counts only when the record says settled. Synchronous clients submit in
one loop, so 64 and 256 in flight are the same for them. The Redis is Valkey from the lock file, append-only, synced
each second.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from parts.processes import Group, redis_server, redis_version
from parts.queue_recovery import our_recovery
from parts.timing import table

OURS = "morag_embedded"
CELERY = "celery_redis"
SYSTEMS = (OURS, CELERY, "saq_redis", "taskiq_streams", "dramatiq_redis", "huey_sqlite")
RATES = ("tasks_64_per_s", "tasks_256_per_s", "drain_per_s")
FLOODS = RATES[:2]
SECONDS = 1.2
"""How long one flood is to take: fast queues get more tasks."""
RECOVERY_CAP_S = 120.0
LIMIT_S = 180.0
BUSY = 1.0

Figures = dict[str, float | str | None]
Repetition = dict[str, Figures]


class Run:
    """One system in a process of its own, with a Redis of its own."""

    def __init__(self, system: str, folder: Path, ending: ExitStack, *module_and_rest: str) -> None:
        module, *rest = module_and_rest
        folder.mkdir(parents=True)
        (folder / "files").mkdir()
        url = ending.enter_context(redis_server(folder / "redis", free_port()))
        told = {"BENCH_REDIS": url, "BENCH_FOLDER": str(folder / "files"), "BENCH_LEDGER": str(folder / "ledger")}
        self._log = folder / "log"
        command = [sys.executable, "-m", module, system, *rest]
        (self._process,) = ending.enter_context(Group([command], self._log, told)).processes

    def figures(self, *, timeout_s: float) -> Figures:
        """What it found. Raises RuntimeError with the end of its log, and TimeoutExpired."""
        code = self._process.wait(timeout_s)
        said = self._log.read_text().strip()
        if code:
            raise RuntimeError(said[-2000:])
        return json.loads(said.splitlines()[-1])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measured(systems: Sequence[str], reps: int, n: int, folder: Path) -> list[Repetition]:
    """Each repetition's figures by system."""
    found: list[Repetition] = []
    for rep in range(reps):
        one: Repetition = {}
        for system in systems if rep % 2 == 0 else reversed(systems):
            print(f"{rep + 1}/{reps} {system}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
            with ExitStack() as ending:
                run = Run(system, folder / f"{rep}-{system}", ending, "parts.queue_measures", str(n), str(SECONDS))
                one[system] = run.figures(timeout_s=LIMIT_S)
        found.append(one)
    return found


def recovered(systems: Sequence[str], folder: Path) -> Repetition:
    """Seconds until another worker runs a killed worker's task; all at once, for they mostly wait."""
    with ExitStack() as ending:
        runs = {
            system: Run(system, folder / f"recover-{system}", ending, "parts.queue_recovery", str(RECOVERY_CAP_S))
            for system in systems
        }
        return {system: run.figures(timeout_s=RECOVERY_CAP_S + LIMIT_S) for system, run in runs.items()}


def figure(rep: Repetition, system: str, key: str) -> float:
    return float(rep[system][key] or 0)


def median(reps: Iterable[Repetition], system: str, key: str) -> float:
    return statistics.median(figure(rep, system, key) for rep in reps)


def ratio(reps: Iterable[Repetition], upper: str, lower: str, key: str) -> float:
    """The median of the ratios of each repetition."""
    return statistics.median(figure(rep, upper, key) / figure(rep, lower, key) for rep in reps)


def ratios(reps: Sequence[Repetition], upper: str, lower: str) -> str:
    """At 64 and at 256 in flight, if both were measured."""
    if upper not in reps[0] or lower not in reps[0]:
        return "-"
    return " / ".join(f"{ratio(reps, upper, lower, key):.2f}" for key in FLOODS)


def row(reps: Sequence[Repetition], system: str) -> list[str]:
    rates = [f"{median(reps, system, key):,.0f}" for key in RATES]
    latency = " / ".join(f"{median(reps, system, f'{p}_ms'):.1f}" for p in ("p50", "p95", "p99"))
    beside = [ratios(reps, system, CELERY), ratios(reps, OURS, system)]
    return [system, str(reps[0][system]["version"]), *rates, latency, *beside]


def told(reps: Sequence[Repetition], systems: Sequence[str]) -> None:
    """The table, what was set, and how far the targets are."""
    heads = ("system", "version", "tasks/s, 64", "256 in flight", "preloaded drain/s", "p50 / p95 / p99 ms")
    table([*heads, "÷ Celery, 64 / 256", "ours ÷ it"], [row(reps, system) for system in systems])
    print()
    for system in systems:
        sizes = " and ".join(f"{figure(rep, system, 'n'):g}" for rep in reps)
        print(f"{system}: {reps[0][system]['settings']}; {sizes} tasks a flood")
    if OURS not in systems:
        return
    print(f"\nP3  p50 {median(reps, OURS, 'p50_ms'):.2f} ms (≤ 1), p99 {median(reps, OURS, 'p99_ms'):.2f} ms (≤ 5)")
    peers = [system for system in systems if system != OURS]
    for key in FLOODS if CELERY in peers else ():
        fastest = max(peers, key=lambda peer: median(reps, peer, key))
        beside = f"{ratio(reps, OURS, CELERY, key):.2f} x Celery + Redis (≥ 10)"
        print(f"P2  {key.split('_')[1]} in flight: {beside}, {ratio(reps, OURS, fastest, key):.2f} x {fastest} (≥ 2)")


def loaded(when: str) -> float:
    load = os.getloadavg()[0]
    print(f"load average at the {when}: {load:.2f}, {time.strftime('%Y-%m-%d %H:%M')}")
    if when == "start" and load > BUSY:
        print("WARNING: the machine is busy with something else: the figures are not what it can do.")
    return load


def stop(number: int, _: object) -> None:
    """As Ctrl-C: what was started is ended on the way out."""
    sys.exit(128 + number)


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=10_000, help="tasks of one flood at most")
    parser.add_argument("--reps", type=int, default=2, help="interleaved repetitions")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="separated by commas")
    parser.add_argument("--json", type=Path, help="write every figure of every repetition to this file")
    parser.add_argument("--recover", action="store_true", help="kill the workers of every system, too: 3 minutes more")
    parser.add_argument("--speed-only", action="store_true", help="leave out how ours recovers")
    arguments = parser.parse_args()
    if unknown := set(arguments.systems.split(",")) - set(SYSTEMS):
        parser.error(f"no such system: {', '.join(sorted(unknown))}; there are {', '.join(SYSTEMS)}")
    return arguments


def main() -> None:
    arguments = asked()
    signal.signal(signal.SIGTERM, stop)
    systems: list[str] = arguments.systems.split(",")
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {redis_version()}"
    print(f"{machine}; {arguments.reps} repetitions, medians")
    loads = [loaded("start")]
    with tempfile.TemporaryDirectory(prefix="bench-queues-") as name:
        reps = measured(systems, arguments.reps, arguments.n, Path(name))
        told(reps, systems)
        ours = [] if arguments.speed_only or OURS not in systems else asyncio.run(our_recovery(Path(name)))
        others = recovered(systems, Path(name)) if arguments.recover else {}
    print()
    for what, target, seconds in ours:
        print(f"P5  {what:55} {'not within 60' if seconds is None else f'{seconds:.2f}'} s ({target})")
    for system, figures in others.items():
        seconds = figures["recover_s"]
        shown = f"not within {RECOVERY_CAP_S:.0f}" if seconds is None else f"{float(seconds):.1f}"
        print(f"P5  workers killed, others are there: {system:20} {shown} s")
    loads.append(loaded("end"))
    if arguments.json:
        kept = {
            "machine": machine,
            "loads": loads,
            "repetitions": reps,
            "ours_recovers": ours,
            "others_recover": others,
        }
        arguments.json.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
