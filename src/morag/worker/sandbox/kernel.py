"""The few Linux system calls Python has no function for, as functions that raise OSError; under the confinement."""

import ctypes
import os
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
CAPABILITY_VERSION_3 = 0x20080522


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


def call(name: str, *arguments: Any) -> int:
    """Call a function of the C library. Raises OSError where it returns less than zero, or where it is not there."""
    library = ctypes.CDLL(None, use_errno=True)
    function = getattr(library, name, None)
    if function is None:
        raise OSError(f"{name} is not there")
    result = int(function(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def prctl(option: int, first: int, second: Any = 0) -> None:
    """Set a property of this process. Raises OSError."""
    call("prctl", option, ctypes.c_ulong(first), second, 0, 0)


def die_with_parent(signal_number: int, parent_pid: int) -> None:
    """Have the kernel send this process a signal when its parent is gone; end here if it already is."""
    prctl(PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent_pid:
        os._exit(1)


def drop_capabilities() -> None:
    """Give up every privilege, for good once no_new_privs is set: root becomes a plain user who owns root's files."""
    header = _CapabilityHeader(version=CAPABILITY_VERSION_3, pid=0)
    nothing = (ctypes.c_uint32 * 6)()
    call("capset", ctypes.byref(header), ctypes.byref(nothing))
