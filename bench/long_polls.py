"""P4: how soon a remote worker has what its user submits, while 1,000 of many users wait; and what idle ones cost.

    .venv/bin/python bench/long_polls.py [--workers N] [--users N] [--submits N] [--silent]

The real server on a fresh data folder, real connections from several client processes. Timed from before the submit is
sent (a job over a file that was uploaded before) until a worker has read its lease; one after the other, each by
another user. With `--silent` the workers send no heartbeats, so that the long polls alone are there.
"""

import argparse
import asyncio
import multiprocessing as mp
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import cast

import psutil
from parts import far_machines
from parts.far_machines import CREATED, OK, Wire, expect

from morag.bootstrap.users import opened_keys
from morag.domain.identity import Scope
from morag.settings import Settings
from morag.telemetry import configure

PROCESSES = 4
IDLE_S = 20.0
KIB = 1024
GIVE_UP_S = 60.0
READY = re.compile(r"ready at http://([\d.]+):(\d+)")


@dataclass(frozen=True, slots=True)
class Scene:
    """A server with its users' keys, and the other ends of its workers."""

    server: psutil.Process
    address: tuple[str, int]
    keys: list[str]
    news: list[Connection]


async def keys_of(folder: Path, users: int) -> list[str]:
    """A key a user, for a program that submits and for the machines."""
    async with opened_keys(Settings(data_dir=folder)) as keys:
        scopes = frozenset({Scope.SUBMIT, Scope.WORKER})
        return [(await keys.issue(f"user-{n}", scopes=scopes)).text for n in range(users)]


@contextmanager
def serving(folder: Path) -> Generator[tuple[psutil.Process, tuple[str, int]]]:
    """A real server: its process and its address."""
    environment = {**os.environ, "MORAG_DATA_DIR": str(folder), "MORAG_LOG_LEVEL": "WARNING"}
    words = [sys.executable, "-m", "morag", "serve", "--port", "0"]
    running = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        found = next(match for line in running.stdout or () if (match := READY.search(line)))
        yield psutil.Process(running.pid), (found[1], int(found[2]))
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(60)


@contextmanager
def machines(address: tuple[str, int], keys: list[str], *, is_silent: bool) -> Generator[list[Connection]]:
    """Processes of workers, a worker for each key named; what they tell."""
    context = mp.get_context("spawn")
    ends: list[Connection] = []
    processes: list[SpawnProcess] = []
    for n in range(PROCESSES):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=far_machines.run, args=(address, keys[n::PROCESSES], theirs), kwargs={"is_silent": is_silent}
        )
        process.start()
        theirs.close()
        ends.append(cast("Connection", ours))
        processes.append(process)
    try:
        for end in ends:
            expect(end.recv() is None, "a worker has work before there is any")
        yield ends
    finally:
        for process in processes:
            process.terminate()
            process.join()


async def submitted(scene: Scene, submits: int) -> list[float]:
    """Seconds from each submit to its lease."""
    wires = [Wire(scene.address, key) for key in scene.keys]
    uploads: dict[int, str] = {}
    taken: list[float] = []
    for _ in range(submits):
        user = random.randrange(len(wires))  # noqa: S311 - any
        wire = wires[user]
        if user not in uploads:
            status, told = await wire.post("/api/v1/uploads", b"# A note\n\nIt is short.", "X-Filename: note.md")
            expect(status == CREATED, told)
            uploads[user] = told["upload_id"]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        status, told = await wire.tell("/api/v1/remote-jobs/", {"upload_id": uploads[user], "content_type": "document"})
        expect(status == OK, told)
        task_id, key, at = await asyncio.to_thread(heard, scene.news)
        expect((task_id, key) == (told["job_id"], wire.key), "another worker has it")
        taken.append(at - began)
    return taken


def heard(news: list[Connection]) -> tuple[str, str, float]:
    """What a worker tells next."""
    told = wait(news, timeout=GIVE_UP_S)
    expect(bool(told), "no worker has it")
    return next(each for each in news if each in told).recv()


def cpu_s(process: psutil.Process) -> float:
    """Processor time it used so far."""
    used = process.cpu_times()
    return used.user + used.system


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--submits", type=int, default=400)
    parser.add_argument("--silent", action="store_true")
    asked = parser.parse_args()
    configure(level="WARNING")
    with tempfile.TemporaryDirectory() as name:
        keys = asyncio.run(keys_of(Path(name), asked.users))
        with serving(Path(name)) as (server, address):
            before = server.memory_info().rss
            each: list[str] = [keys[n % int(asked.users)] for n in range(asked.workers)]
            with machines(address, each, is_silent=asked.silent) as news:
                measure(Scene(server, address, keys, news), asked, before)


def measure(scene: Scene, asked: argparse.Namespace, before: int) -> None:
    """What idle workers cost, then how soon one has work."""
    used, began = cpu_s(scene.server), time.monotonic()
    time.sleep(IDLE_S)
    share = (cpu_s(scene.server) - used) / (time.monotonic() - began)
    held = (scene.server.memory_info().rss - before) / KIB / asked.workers
    beats = 0 if asked.silent else 60 / far_machines.HEARTBEAT_S
    print(f"{asked.workers} workers of {asked.users} users, load {os.getloadavg()[0]:.1f}")
    print(f"idle: {held:.1f} KiB of the server's memory a worker, {share:.1%} of a core in all,")
    print(f"      {60 / far_machines.POLL_S + beats:.1f} requests a minute and worker")
    taken = sorted(asyncio.run(submitted(scene, asked.submits)))
    p50, p99 = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
    print(f"submit → a worker has it: p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, worst {taken[-1] * 1e3:.1f} ms")
    print(f"of {len(taken)}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
