"""Where conversions work on disk: one folder for each server, in it one for each child, emptied between its jobs.

A child may change anything in `work/`, so nothing there is trusted: what it left is opened without following links.
"""

import fcntl
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from morag.protocol import MAX_DOCUMENT_BYTES
from morag.telemetry import log

LOCK = "lock"
CLONE_FILE = 0x40049409
"""FICLONE of linux/fs.h: a copy that shares its blocks, on file systems that can."""
REMOVE_S = 60.0
MAX_FILES = 100_000
BLOCK_BYTES = 512
"""Unit of st_blocks, whatever the file system's own."""
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}")


class ChildFolder:
    """The folder of one child: `in/` with its input, and `work/`, the one place it may write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.inbox = path / "in"
        self.work = path / "work"
        self.job = self.work / "job"
        self.temporary = self.work / "tmp"
        self.inbox.mkdir()
        self.work.mkdir()
        self._lay()

    def empty(self) -> None:
        """Take away all of the last job. The folders stay: the child's rights hang on them."""
        for folder in (self.inbox, self.work):
            for entry in list(folder.iterdir()):
                if entry.is_dir() and not entry.is_symlink():
                    remove(entry)
                else:
                    entry.unlink()
        self._lay()

    def place(self, source: Path, filename: str, *, link: bool) -> Path:
        """Put the input into `in/`, by a second name where `link` allows and the disk can, else by a copy; its path."""
        suffix = Path(filename).suffix
        target = self.inbox / ("input" + (suffix if SUFFIX.fullmatch(suffix) else ""))
        if not (link and _link(source, target)):
            _copy(source, target)
        return target

    def result(self) -> bytes:
        """The document a child left. Raises OSError where there is none, or something that only looks like one."""
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in (self.work.name, self.job.name):
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | NO_LINKS, dir_fd=folder)
                os.close(folder)
                folder = inner
            # not waiting for the writer of a pipe laid there instead of a file
            file = os.open("document.json", os.O_RDONLY | os.O_NONBLOCK | NO_LINKS, dir_fd=folder)
        finally:
            os.close(folder)
        with os.fdopen(file, "rb") as opened:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError("not a file")
            return opened.read(MAX_DOCUMENT_BYTES + 1)

    def uses_more_than(self, limit_bytes: int) -> bool:
        """Whether what the child wrote takes more disk than that, or is more files than any converter makes."""
        used = files = 0
        for folder, _, names in os.walk(self.work):
            for name in names:
                with suppress(FileNotFoundError):  # the child is at work
                    used += Path(folder, name).lstat().st_blocks * BLOCK_BYTES
            files += len(names) + 1
            if used > limit_bytes or files > MAX_FILES:
                return True
        return False

    def remove(self) -> None:
        """Delete the folder with all in it."""
        remove(self._path)

    def _lay(self) -> None:
        self.job.mkdir()
        self.temporary.mkdir()


class WorkRoot:
    """The folder of this server among those of others that may share the place; a lock tells who is alive."""

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(root / LOCK):
            _sweep(root)
            self._path = Path(tempfile.mkdtemp(dir=root, prefix="server-"))
            self._lock = _try_lock(self._path / LOCK)

    def folder(self) -> ChildFolder:
        """A new folder for one child."""
        return ChildFolder(Path(tempfile.mkdtemp(dir=self._path, prefix="child-")))

    def close(self) -> None:
        """Delete everything and let go."""
        remove(self._path)
        if self._lock is not None:
            os.close(self._lock)


def remove(path: Path) -> None:
    """Delete a tree whose maker may have made it hard; what resists is left to the next start, and logged."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except (OSError, RecursionError):
        _insist(path)


def _insist(path: Path) -> None:
    """Delete folders closed to their owner, and those too deep for Python."""
    with suppress(OSError, RecursionError):
        for folder, names, _ in os.walk(path):
            for inner in (Path(folder, name) for name in names):
                if not inner.is_symlink():
                    inner.chmod(0o700)
    try:
        subprocess.run(["/bin/rm", "-rf", "--", path], capture_output=True, timeout=REMOVE_S, check=True)  # noqa: S603 - our path
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("work_folder_left", reason=type(error).__name__)


def _link(source: Path, target: Path) -> bool:
    if source.stat().st_uid != os.geteuid():
        return False  # the child has no privilege to read it by
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as original, target.open("wb") as copy:
        try:
            fcntl.ioctl(copy.fileno(), CLONE_FILE, original.fileno())
        except OSError:
            shutil.copyfileobj(original, copy, 1024**2)


def _sweep(root: Path) -> None:
    for folder in root.glob("server-*"):
        lock = _try_lock(folder / LOCK)
        if lock is not None:
            remove(folder)
            os.close(lock)


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """While another server sets up here, wait: it takes milliseconds."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _try_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
