"""What one user may use of what all share. None is no limit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from morag.domain.errors import InvalidRequest, LimitReached
from morag.domain.json import Json

LIGHTEST, HEAVIEST = 0.001, 1000.0
"""Beyond these a grant's charge would be lost in the digits of the sum, and a user be served for nothing."""
MOST = 2**53
"""The largest number that every client and store keeps as it is."""
CAPS = ("running", "queued", "stored_bytes", "upload_bytes", "requests_per_minute")
"""Those that are whole numbers."""
QUEUE_RETRY_S = 5.0
STORAGE_RETRY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Terms of one user, or of everybody who has none of their own."""

    weight: float = 1.0
    """Share of the grants beside other waiting users: twice the weight is granted twice as often. 0.001 to 1000."""
    running: int | None = None
    """Tasks that may run at once, in all lanes; one whose lease expired runs until somebody else is granted it."""
    queued: int | None = None
    """Tasks that may wait at once: in lanes, ready or later, or for the first children they asked for. Not counted, and
    never refused: children, resumed parents, and tasks whose lease expired, which count as running."""
    stored_bytes: int | None = None
    """Bytes of stored documents and of the sources of open tasks."""
    upload_bytes: int | None = None
    """Bytes of one file. Kept by whoever takes the file in, as the next."""
    requests_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a user uses now."""

    running: int
    queued: int
    stored_bytes: int
    documents: int


def check(limits: Limits) -> None:
    """Raise InvalidRequest for limits that cannot be."""
    if not (math.isfinite(limits.weight) and LIGHTEST <= limits.weight <= HEAVIEST):
        raise InvalidRequest(
            f"A weight is a number from {LIGHTEST:g} to {HEAVIEST:g}, not {limits.weight:g}.",
            field="weight",
            hint="1 is everybody's; 2 is granted twice as often.",
        )
    for name in CAPS:
        cap = getattr(limits, name)
        if cap is not None and not 0 <= cap <= MOST:
            raise InvalidRequest(
                f"The limit {name} is a whole number from 0, not {cap}.",
                field=name,
                hint="Leave it out for no limit; 0 lets nothing through.",
            )


def source_bytes(args: Mapping[str, Json]) -> int | None:
    """The size of the source that a task with these arguments brings; 0 for a URL, None if it brings none."""
    source = args.get("source")
    if isinstance(source, Mapping):
        size = cast("Mapping[str, Json]", source).get("size_bytes")
        return size if isinstance(size, int) and size > 0 else 0
    return 0 if args.get("url") else None


@dataclass(slots=True, kw_only=True)
class Allowance:
    """What one user may still bring in one submit."""

    limits: Limits
    queued: int
    """Tasks that count, so far; no more of them need to be counted than the limit."""
    stored_bytes: int
    """Bytes that count, so far."""

    def take(self, args: Mapping[str, Json]) -> None:
        """Count one task more that will stand in a lane. Raises LimitReached."""
        if self.limits.queued is not None:
            self._take_place(self.limits.queued)
        size = source_bytes(args)
        if self.limits.stored_bytes is not None and size is not None:
            self._take_bytes(self.limits.stored_bytes, size)

    def _take_place(self, most: int) -> None:
        if self.queued >= most:
            raise LimitReached(
                f"{self.queued} tasks stand in line and {most} may at once: one more has no place.",
                hint="Send fewer at once, or again when some of them have started.",
                retry_after_s=QUEUE_RETRY_S,
            )
        self.queued += 1

    def _take_bytes(self, most: int, size: int) -> None:
        # what a URL brings is known later: it needs room for something
        if self.stored_bytes + max(size, 1) > most:
            raise LimitReached(
                f"{self.stored_bytes} bytes are stored or on their way in and {most} may be: {size} more do not fit.",
                code="storage_limit",
                hint="Delete documents that are not needed any more, or have the limit raised.",
                retry_after_s=STORAGE_RETRY_S,
            )
        self.stored_bytes += size
