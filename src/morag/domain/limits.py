"""What one user may use of what all share. None is no limit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Terms of one user, or of everybody who has none of their own."""

    weight: float = 1.0
    """Share of the grants beside other waiting users: twice the weight is granted twice as often. Above 0."""
    running: int | None = None
    """Tasks that may run at once, in all lanes."""
    queued: int | None = None
    """Tasks that may stand in lanes at once; children and resumed parents are not counted."""
    stored_bytes: int | None = None
    """Bytes of stored documents and of the sources of open tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a user uses now."""

    running: int
    queued: int
    stored_bytes: int
    documents: int
