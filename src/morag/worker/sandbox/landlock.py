"""Landlock: the kernel's own list of the files a process may touch, set by the process itself and never taken back.

Numbers and structures are those of linux/landlock.h; a kernel tells by its ABI version which of them it knows.
"""

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from morag.worker.sandbox import kernel

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION_FLAG = 1
RULE_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
FIRST_ABI_RIGHTS = (1 << 13) - 1

READ = READ_FILE | READ_DIR
PROGRAMS = READ | EXECUTE
DEVICES = READ | WRITE_FILE | IOCTL_DEV
NET_BIND_TCP, NET_CONNECT_TCP = 1 << 0, 1 << 1
SCOPE_ABSTRACT_SOCKETS, SCOPE_SIGNALS = 1 << 0, 1 << 1


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def abi() -> int:
    """The kernel's version of Landlock; 0 where there is none or it is switched off."""
    try:
        return kernel.call("syscall", CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG)
    except OSError:
        return 0


def everything(version: int) -> int:
    """All file rights a version knows."""
    added = (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0) | (IOCTL_DEV if version >= 5 else 0)
    return FIRST_ABI_RIGHTS | added


def own_folder(version: int) -> int:
    """Rights in a folder of one's own: all, but to run programs from it and to make devices."""
    return everything(version) & ~(EXECUTE | MAKE_CHAR | MAKE_BLOCK)


def restrict(rules: Iterable[tuple[Path, int]], *, version: int, network: bool) -> None:
    """Allow this thread, and all it starts from now on, these rights beneath these paths and nothing else.

    Paths that do not exist are passed over. Needs no_new_privs. Raises OSError.
    """
    ruleset = _create(version, network=network)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & everything(version))
        kernel.call("syscall", RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _create(version: int, *, network: bool) -> int:
    attributes = _Ruleset(
        files=everything(version),
        network=0 if network or version < 4 else NET_BIND_TCP | NET_CONNECT_TCP,
        scoped=SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS if version >= 6 else 0,
    )
    # an older kernel refuses a structure longer than the one it knows
    size = 8 if version < 4 else 16 if version < 6 else 24
    return kernel.call("syscall", CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), 0)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        parent = os.open(path, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        is_folder = stat.S_ISDIR(os.fstat(parent).st_mode)
        beneath = _PathBeneath(allowed=rights if is_folder else rights & ON_FILES, parent=parent)
        kernel.call("syscall", ADD_RULE, ruleset, RULE_PATH_BENEATH, ctypes.byref(beneath), 0)
    finally:
        os.close(parent)
