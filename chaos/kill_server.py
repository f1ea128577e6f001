"""Kill -9 of the server and its children at random moments of its work, again and again; then count.

    .venv/bin/python chaos/kill_server.py [--files 60] [--kills 12] [--seed 1]

Every file holds a word nothing else contains, so that the index itself is the witness: each word has to be found
exactly once. Exits 1 if an acknowledged ingest was lost, ended otherwise than completed, or is visible twice.
"""

import argparse
import contextlib
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2
import psutil

ENDED = {"completed", "failed", "timeout", "cancelled"}
READY = re.compile(r"ready at (http://\S+)")
END_S = 600.0


class Server:
    """`morag serve` on one data folder, started as often as it is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.starts_s: list[float] = []
        self.process, self.http = self._start()

    def _start(self) -> tuple["subprocess.Popen[str]", httpx2.Client]:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "morag", "serve", "--port", "0"],
            env={**os.environ, "MORAG_DATA_DIR": str(self._folder), "MORAG_LOG_LEVEL": "ERROR"},
            stdout=subprocess.PIPE,
            text=True,
        )
        if process.stdout is None:
            raise RuntimeError("no output to read")
        line = next(line for line in process.stdout if READY.search(line))
        found = READY.search(line)
        self.starts_s.append(time.monotonic() - began)
        return process, httpx2.Client(base_url=found[1] if found else "", timeout=60, trust_env=False)

    def kill_and_restart(self) -> None:
        self.process.kill()
        self.end()
        self.process, self.http = self._start()

    def kill_a_child(self, chance: random.Random) -> None:
        children = psutil.Process(self.process.pid).children(recursive=True)
        with contextlib.suppress(psutil.NoSuchProcess):
            if children:
                chance.choice(children).kill()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        if self.process.stdout:
            self.process.stdout.close()
        self.http.close()


def text(word: str, chance: random.Random) -> bytes:
    sections = [f"## Day {n}\n\n" + "Wind and rain over the harbour. " * 20 for n in range(chance.randint(1, 12))]
    return "\n\n".join([f"# Log of {word[-4:]}", *sections, f"Only here stands {word}."]).encode()


def states(http: httpx2.Client, tasks: Sequence[str]) -> list[str]:
    return [http.get(f"/api/v1/status/{task}").json()["status"] for task in tasks]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chance = random.Random(given.seed)  # noqa: S311 - picks moments, no secret
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            return storm(server, [f"quoll{given.seed}x{n:05d}" for n in range(given.files)], given.kills, chance)
        finally:
            server.end()


def storm(server: Server, words: Sequence[str], kills: int, chance: random.Random) -> int:
    tasks: list[str] = []
    shares = [words[start::kills] for start in range(kills)]
    for share in shares:
        for word in share:
            file = (f"{word}.md", text(word, chance))
            tasks.append(server.http.post("/api/v1/ingest/file", files={"file": file}).json()["task_id"])
        time.sleep(chance.uniform(0.05, 2.0))
        server.kill_a_child(chance)
        time.sleep(chance.uniform(0.0, 0.5))
        server.kill_and_restart()
    until = time.monotonic() + END_S
    while set(states(server.http, tasks)) - ENDED and time.monotonic() < until:
        time.sleep(0.5)
    return count(server, words, tasks)


def count(server: Server, words: Sequence[str], tasks: Sequence[str]) -> int:
    ended = states(server.http, tasks)
    found = [
        [hit for hit in search(server.http, word) if word in hit]  # a hit of another word does not contain this one
        for word in words
    ]
    lost = sum(not hits for hits in found)
    twice = sum(len(hits) > 1 for hits in found)
    others = {state: ended.count(state) for state in set(ended) if state != "completed"}
    print(f"{len(tasks)} ingests acknowledged, {len(server.starts_s) - 1} kills of the server and as many of children")
    print(f"completed {ended.count('completed')}, ended otherwise {others or 'none'}")
    print(f"found exactly once {sum(len(hits) == 1 for hits in found)}, lost {lost}, twice {twice}")
    starts = sorted(server.starts_s)
    print(f"start to ready after a kill: median {starts[len(starts) // 2]:.2f} s, longest {starts[-1]:.2f} s")
    return int(bool(lost or twice or others))


def search(http: httpx2.Client, word: str) -> list[str]:
    answer = http.post("/search", json={"query": word, "mode": "keyword", "limit": 20})
    return [hit["text"] for hit in answer.json()["hits"]]


if __name__ == "__main__":
    sys.exit(main())
