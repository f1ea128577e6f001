"""What `make demo` starts: MoRAG in a process group of its own, and a web server for the sample page."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import TextIO

START_S = 60.0
"""A first start on a slow disk compiles every module; later ones take two seconds."""
STOP_S = 15.0
READY = "MoRAG is ready at "


class NotStarted(Exception):
    """The server did not come up; the message is what it said."""


@contextmanager
def pages(folder: Path) -> Generator[str]:
    """Serve a folder on a free port of this machine; its address as host:port."""
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def morag(folder: Path, *, fetch_allow: str) -> Generator[str]:
    """Run `morag serve` on a data folder inside `folder` and a free port; its URL. Raises NotStarted."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MORAG_")}
    environment |= {"MORAG_DATA_DIR": str(folder / "data"), "MORAG_FETCH_ALLOW": fetch_allow}
    with (folder / "server.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "morag", "serve", "--port", "0"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        try:
            yield _url(process, folder / "server.log")
        finally:
            _stop(process)


def _url(process: subprocess.Popen[str], log: Path) -> str:
    """Where it listens, from the line it prints when it is ready."""
    lines: Queue[str] = Queue()
    assert process.stdout is not None  # noqa: S101 - it was opened as a pipe
    threading.Thread(target=_pass_on, args=(process.stdout, lines), daemon=True).start()
    try:
        line = lines.get(timeout=START_S)
    except Empty:
        raise NotStarted(f"the server was not ready within {START_S:.0f} seconds") from None
    if not line.startswith(READY):
        raise NotStarted(log.read_text(encoding="utf-8")[-2000:] or "the server ended without a word")
    return line.removeprefix(READY).split()[0]


def _pass_on(stream: TextIO, lines: "Queue[str]") -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def _stop(process: subprocess.Popen[str]) -> None:
    """Ask it to drain; what is left of its group after that is killed."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: the demo tells what happens."""
