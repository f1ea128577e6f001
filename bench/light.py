"""How light it is (P11): time to import, start to first answer, memory idle and after the first search.

    .venv/bin/python bench/light.py

Starts the real server on a fresh data folder five times; medians. Memory is that of the server process alone, then
with its children.
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil

RUNS = 5
MIB = 1024**2
SAMPLE = Path(__file__).parents[1] / "examples/samples/people.csv"


def imported_s(module: str) -> float:
    """Seconds a fresh interpreter takes to import `module`, the interpreter's own start taken off."""

    def run(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    return statistics.median(run(f"import {module}") for _ in range(RUNS)) - statistics.median(
        run("pass") for _ in range(RUNS)
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answer(url: str, body: object = None) -> object:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"content-type": "application/json"}), timeout=60) as response:  # noqa: S310 - loopback
        return json.load(response)


def until_ready(base: str) -> None:
    while True:
        try:
            answer(f"{base}/health/ready")
        except (URLError, ConnectionError):
            time.sleep(0.01)
        else:
            return


def memory(process: psutil.Process) -> tuple[float, float]:
    """Resident MiB of the process, and of it with all its children."""
    own = process.memory_info().rss
    children = sum(child.memory_info().rss for child in process.children(recursive=True))
    return own / MIB, (own + children) / MIB


def one_run() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        environment = {**os.environ, "MORAG_DATA_DIR": folder, "MORAG_PORT": str(port), "MORAG_LOG_LEVEL": "WARNING"}
        began = time.perf_counter()
        server = subprocess.Popen([sys.executable, "-m", "morag", "serve"], env=environment, stdout=subprocess.DEVNULL)
        try:
            until_ready(base)
            ready_s = time.perf_counter() - began
            time.sleep(2)
            process = psutil.Process(server.pid)
            idle, idle_all = memory(process)
            answer(f"{base}/search", {"query": "who keeps the lens?"})
            searched, _ = memory(process)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    return {"ready_s": ready_s, "idle_mib": idle, "idle_all_mib": idle_all, "searched_mib": searched}


def main() -> None:
    runs = [one_run() for _ in range(RUNS)]

    def median(key: str) -> float:
        return statistics.median(run[key] for run in runs)

    print(f"import morag                      {imported_s('morag'):7.3f} s    target ≤ 0.3")
    print(f"start to first answer             {median('ready_s'):7.2f} s    target ≤ 2")
    print(f"server idle, resident             {median('idle_mib'):7.0f} MiB  target ≤ 180")
    print(f"  with its waiting children       {median('idle_all_mib'):7.0f} MiB")
    print(f"server after the first search     {median('searched_mib'):7.0f} MiB")


if __name__ == "__main__":
    main()
