"""What the way through the server costs (P6): `POST /process/file` beside the bare converter on the same file.

    .venv/bin/python bench/process.py [files…]

Without files it takes those in examples/samples. The bare converter runs in this process, its libraries loaded and its
model warm; the server is a real one on a fresh data folder, each file sent once before it is measured. Medians.
"""

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from morag.pipeline.conversion.detect import detect
from morag.pipeline.conversion.registry import convert
from morag.pipeline.ports import ConversionInput

RUNS = 7
SLOW_S = 1.0
"""Seconds from which a conversion counts as a long one, and is measured as a ratio and fewer times."""
SLOW_RUNS = 3
SAMPLES = Path(__file__).parents[1] / "examples/samples"


def bare(path: Path) -> None:
    """Detect and convert, as the server does, without it."""
    with tempfile.TemporaryDirectory() as folder:
        given = ConversionInput(
            path=path,
            filename=path.name,
            detected=detect(path, filename=path.name),
            url=None,
            options={},
            work_dir=Path(folder),
        )
        convert(given, lambda _fraction, _stage, _message: None)


def posted(base: str, path: Path) -> None:
    """Send the file and wait for its Markdown. Raises HTTPError."""
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
    body = head.encode() + path.read_bytes() + f"\r\n--{mark}--\r\n".encode()
    headers = {"content-type": f"multipart/form-data; boundary={mark}", "prefer": "wait=300", "accept": "text/markdown"}
    with urlopen(Request(f"{base}/process/file", body, headers), timeout=600) as response:  # noqa: S310 - loopback
        response.read()


def median_s(work: Callable[[], None]) -> float:
    """Seconds of one run, the first of them not counted."""
    began = time.perf_counter()
    work()
    runs = SLOW_RUNS if time.perf_counter() - began > SLOW_S else RUNS
    taken: list[float] = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


@contextmanager
def server() -> Generator[str]:
    """The address of a server on a fresh data folder."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        environment = {**os.environ, "MORAG_DATA_DIR": folder, "MORAG_PORT": str(port), "MORAG_LOG_LEVEL": "WARNING"}
        running = subprocess.Popen([sys.executable, "-m", "morag", "serve"], env=environment, stdout=subprocess.DEVNULL)
        base = f"http://127.0.0.1:{port}"
        try:
            until_ready(base)
            yield base
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(30)


def until_ready(base: str) -> None:
    while True:
        try:
            urlopen(f"{base}/health/ready", timeout=5).close()  # noqa: S310 - loopback
        except (URLError, ConnectionError):
            time.sleep(0.02)
        else:
            return


def main() -> None:
    files = [Path(name) for name in sys.argv[1:]] or sorted(path for path in SAMPLES.iterdir() if path.is_file())
    print(
        f"{'file':24} {'bare':>9} {'server':>9} {'more':>9} {'ratio':>6}   target: ≤ 1.05 over 1 s, else ≤ 30 ms more"
    )
    with server() as base:
        for path in files:
            alone = median_s(lambda path=path: bare(path))
            whole = median_s(lambda path=path: posted(base, path))
            more = (whole - alone) * 1000
            is_met = whole <= 1.05 * alone if alone > SLOW_S else more <= 30
            figures = f"{alone * 1000:7.1f}ms {whole * 1000:7.1f}ms {more:+7.1f}ms {whole / alone:6.2f}"
            print(f"{path.name[:24]:24} {figures}   {'met' if is_met else 'missed'}")


if __name__ == "__main__":
    main()
