"""How often one may ask: a bucket of requests per user, filled again evenly over a minute.

Kept in memory by each server for itself, so that it costs a request nothing: with N servers a user may ask N times as
often. Limits are read from the store at most once a second for each user. The headers are those of the IETF's
`draft-ietf-httpapi-ratelimit-headers`.
"""

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from morag.api.proxies import neighbourhood
from morag.domain.errors import LimitReached
from morag.domain.identity import ANONYMOUS, Caller, Scope
from morag.domain.limits import Limits

WINDOW_S = 60.0
REMEMBERED_S = 1.0
"""How long limits that were read count; what an operator sets works after that everywhere."""
MOST_BUCKETS = 10_000
POLICY = "requests"
FIELD, FIELD_POLICY = "RateLimit", "RateLimit-Policy"


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class Rates:
    """What each user may still ask of this server, and the limits they have."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Fill the buckets by the clock `monotonic`, in seconds."""
        self._monotonic = monotonic
        self._buckets: dict[tuple[str, ...], _Bucket] = {}
        self._limits: dict[str, tuple[float, Limits]] = {}

    async def limits(self, user_id: str, read: Callable[[str], Awaitable[Limits]]) -> Limits:
        """The user's limits, as `read` told them no longer than a second ago."""
        now = self._monotonic()
        known = self._limits.get(user_id)
        if known and now < known[0]:
            return known[1]
        if len(self._limits) >= MOST_BUCKETS:
            self._limits.clear()
        found = await read(user_id)
        self._limits[user_id] = (now + REMEMBERED_S, found)
        return found

    def take(self, caller: Caller, peer: str, limits: Limits) -> Mapping[str, str]:
        """Count a request: the headers of its answer, none for who is not limited. Raises LimitReached."""
        most = limits.requests_per_minute
        if most is None:
            return {}
        now, per_s = self._monotonic(), most / WINDOW_S
        bucket = self._bucket(_whose(caller, peer), most, now)
        bucket.tokens = min(float(most), bucket.tokens + max(0.0, now - bucket.filled_at) * per_s)
        bucket.filled_at = now
        if bucket.tokens < 1:
            raise _too_many(most, math.ceil((1 - bucket.tokens) / per_s) if per_s else int(WINDOW_S))
        bucket.tokens -= 1
        left = int(bucket.tokens)
        return told(most, left, math.ceil((most - bucket.tokens) / per_s))

    def _bucket(self, key: tuple[str, ...], most: int, now: float) -> _Bucket:
        if key not in self._buckets and len(self._buckets) >= MOST_BUCKETS:
            # one that was not asked for a minute is full again, and a full one need not be remembered
            self._buckets = {k: b for k, b in self._buckets.items() if now - b.filled_at < WINDOW_S}
        return self._buckets.setdefault(key, _Bucket(most, now))


def told(most: int, left: int, reset_s: int) -> dict[str, str]:
    """The headers that say how many requests are left, and in how many seconds all will be."""
    return {FIELD_POLICY: f'"{POLICY}";q={most};w={WINDOW_S:.0f}', FIELD: f'"{POLICY}";r={left};t={reset_s}'}


def _whose(caller: Caller, peer: str) -> tuple[str, ...]:
    """Strangers have a bucket by address; machines one of their own, so that their owner cannot starve heartbeats."""
    if caller.user_id == ANONYMOUS:
        return (ANONYMOUS, neighbourhood(peer))
    return (caller.user_id, "machines") if caller.scopes == frozenset({Scope.WORKER}) else (caller.user_id,)


def _too_many(most: int, retry_after_s: int) -> LimitReached:
    return LimitReached(
        f"{most} requests a minute are what you may send to this server.",
        code="too_many_requests",
        hint="Wait as long as Retry-After says.",
        retry_after_s=retry_after_s,
    )
