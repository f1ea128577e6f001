"""What a process and the child that runs its functions send each other: a kind, a length, so many bytes."""

import struct
from typing import BinaryIO

HEADER = struct.Struct(">cQ")
JOB, STARTED, PROGRESS, RESULT, FAILED = b"J", b"S", b"P", b"R", b"F"
ASK, TOLD, PARKED = b"A", b"T", b"W"
"""Children are asked for; how they ended, or that they have not; the function ended its run to wait for them."""


def frame(kind: bytes, body: bytes) -> bytes:
    """One message."""
    return HEADER.pack(kind, len(body)) + body


def read(stream: BinaryIO) -> tuple[bytes, bytes] | None:
    """The next message, None at the end; blocks."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, size = HEADER.unpack(header)
    body = stream.read(size)
    return (kind, body) if len(body) == size else None
