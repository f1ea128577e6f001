"""Namespaces of the kernel: a network with nobody in it, a process table that dies as a whole with its first process.

Needs no root where the system lets users make namespaces; many containers and some distributions do not.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from morag.worker.sandbox import kernel

NEW_USER, NEW_PROCESSES, NEW_IPC, NEW_NETWORK = 0x10000000, 0x20000000, 0x08000000, 0x40000000
DESCRIPTORS = 1024


def enter(*, network: bool) -> bool:
    """Move into new namespaces; False where this is not permitted, and nothing has changed then.

    The process table applies to what is forked from now on. Only for a process with one thread.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        kernel.call("unshare", NEW_USER | NEW_PROCESSES | NEW_IPC | (0 if network else NEW_NETWORK))
    except OSError:
        return False
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path("/proc/self", name).write_text(line, encoding="ascii")
    with suppress(OSError):  # read-only in some containers
        # privileges in a namespace of its own are what most holes of the kernel need
        Path("/proc/sys/user/max_user_namespaces").write_text("0", encoding="ascii")
    return True


def become_first() -> None:
    """Go on as the first process of the new table, with which all others in it die; the caller stays as its guard.

    The guard ends as its ward ended, so that whoever waits for it learns how. Returns in the ward only.
    """
    ward = os.fork()
    if ward:
        _guard(ward)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)


def _guard(ward: int) -> NoReturn:
    os.closerange(0, DESCRIPTORS)
    status = os.waitstatus_to_exitcode(os.waitpid(ward, 0)[1])
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)
