"""A filter on system calls: what no converter needs is refused by the kernel; part of the confinement.

It works where namespaces are forbidden (most containers), and it covers what Landlock does not: sockets of every kind,
and changing the mode, owner, times or attributes of files, which Landlock lets through on any path.
"""

import ctypes
import errno
import platform

from morag.worker.sandbox import kernel

MODE_FILTER = 2
ALLOW, ANSWER = 0x7FFF0000, 0x00050000
LOAD, IF_EQUAL, IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER_OFFSET, MACHINE_OFFSET = 0, 4
X32_NUMBERS = 0x40000000

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""By `platform.machine()`: the column in the tables below, and the kernel's AUDIT_ARCH number."""

SOCKETS = {"socket": (41, 198), "io_uring_setup": (425, 425)}
"""Refused without network. io_uring opens sockets of its own. socketpair stays: asyncio wakes its loop with it."""

REFUSED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "open_by_handle_at": (304, 265),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}

PRETENDED = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
"""Answered with success and not done: libraries that copy a file's mode go on, and the input's cannot be changed."""


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction))]


def restrict(*, network: bool) -> None:
    """Filter the calls of this thread and all it starts from now on. Needs no_new_privs. Raises OSError."""
    lines = instructions(platform.machine(), network=network)
    array = (_Instruction * len(lines))(*(_Instruction(*each) for each in lines))
    program = _Program(length=len(lines), instructions=array)
    kernel.prctl(kernel.PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program))


def instructions(machine: str, *, network: bool) -> list[tuple[int, int, int, int]]:
    """The filter as the kernel's virtual machine reads it: code, jump if true, jump if false, value."""
    column, architecture = MACHINES[machine]
    refuse, pretend = ANSWER | errno.EPERM, ANSWER
    refused = REFUSED if network else REFUSED | SOCKETS
    answers = [(numbers[column], refuse) for numbers in refused.values()]
    answers += [(numbers[column], pretend) for numbers in PRETENDED.values() if numbers[column] is not None]
    program = [
        (LOAD, 0, 0, MACHINE_OFFSET),
        (IF_EQUAL, 1, 0, architecture),  # 32-bit calls have other numbers: all refused
        (RETURN, 0, 0, refuse),
        (LOAD, 0, 0, NUMBER_OFFSET),
        (IF_AT_LEAST, 0, 1, X32_NUMBERS),
        (RETURN, 0, 0, refuse),
    ]
    for number, answer in answers:
        program += [(IF_EQUAL, 0, 1, number or 0), (RETURN, 0, 0, answer)]
    return [*program, (RETURN, 0, 0, ALLOW)]
