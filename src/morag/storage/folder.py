"""The data folder: one server at a time, on a disk of this machine, for nobody else to read.

The lock is the operating system's (`flock` on `server.lock`), so it ends with the process, however that ends. What the
file says about its holder is for people.
"""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import psutil

from morag.domain.errors import StartupError

LOCK_NAME = "server.lock"

_NETWORK = frozenset(
    {
        "9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs",
        "nfs3", "nfs4", "ocfs2", "orangefs", "prl_fs", "pvfs2", "smb", "smb2", "smb3", "smbfs", "vboxsf", "webdav",
    }
)  # fmt: skip
_NETWORK_FUSE = frozenset(
    {"sshfs", "glusterfs", "ceph", "ceph-fuse", "s3fs", "rclone", "davfs", "davfs2", "gcsfuse", "goofys", "mfs"}
    | {"blobfuse", "blobfuse2", "juicefs", "seaweedfs", "vmhgfs-fuse", "gvfsd-fuse", "curlftpfs", "smbnetfs"}
)  # fmt: skip

Mounts = Sequence[tuple[str, str]]
"""Mount point and file system type, in the order they were mounted."""


class DataFolder:
    """A locked data folder; closing it, or the death of the process, lets go."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    @classmethod
    def lock(cls, path: Path, *, boot_id: str, mounts: Mounts | None = None) -> Self:
        """Make the folder if need be, private to this user (0700), and take it.

        `boot_id` goes into the lock file beside the process id. Raises StartupError with code `network_file_system`,
        `data_folder_in_use` or `data_folder_unusable`.
        """
        prepare(path, mounts)
        try:
            descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _unusable(error) from None
        _take(descriptor, boot_id)
        return cls(path, descriptor)

    def close(self) -> None:
        """Let go of the folder; a second call does nothing."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def prepare(path: Path, mounts: Mounts | None = None) -> None:
    """Make the folder if need be, private to this user (0700).

    Raises StartupError with code `network_file_system` or `data_folder_unusable`.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_local(path.resolve(), mounts)
        path.chmod(0o700)
    except OSError as error:
        raise _unusable(error) from None


def file_system_of(path: Path, mounts: Mounts) -> str:
    """The type of the file system an absolute path lies on; of mounts over each other the last one counts."""
    above = [(len(Path(point).parts), i, kind) for i, (point, kind) in enumerate(mounts) if path.is_relative_to(point)]
    return max(above, default=(0, 0, "unknown"))[2]


def is_network(kind: str) -> bool:
    """Whether files of this type lie on another machine, where locks and mapped memory cannot be relied on."""
    name = kind.lower()
    return name in _NETWORK or (name.startswith("fuse.") and name.removeprefix("fuse.") in _NETWORK_FUSE)


def _check_local(path: Path, mounts: Mounts | None) -> None:
    if mounts is None:
        mounts = [(mount.mountpoint, mount.fstype) for mount in psutil.disk_partitions(all=True)]
    kind = file_system_of(path, mounts)
    if is_network(kind):
        raise StartupError(
            f"The data folder is on a network file system ({kind}), where a database is not safe.",
            code="network_file_system",
            hint="Set MORAG_DATA_DIR to a folder on a disk of this machine.",
        )


def _unusable(error: OSError) -> StartupError:
    return StartupError(
        f"The data folder cannot be used: {error.strerror}.",
        code="data_folder_unusable",
        hint="Set MORAG_DATA_DIR to a folder that this user owns, or may make.",
    )


def _take(descriptor: int, boot_id: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).split()
        os.close(descriptor)
        raise _in_use(int(holder[0]) if holder and holder[0].isdigit() else None) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()} {boot_id}\n".encode(), 0)


def _in_use(pid: int | None) -> StartupError:
    who = "another MoRAG server" if pid is None else f"the MoRAG server with process id {pid}"
    stop = "Stop it" if pid is None else f"Stop it (kill {pid})"
    return StartupError(
        f"The data folder is in use by {who}.",
        code="data_folder_in_use",
        hint=f"{stop}, or give this one a folder of its own with MORAG_DATA_DIR.",
    )
