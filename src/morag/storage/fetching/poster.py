"""The guarded poster: how webhooks leave the server (`control.ports.Poster`), by the same rules as the fetcher.

URL → checked target → POST to a checked address (`pinned`). No redirect is followed, no body read.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence

from morag.control.ports import Posted
from morag.domain.errors import FetchFailed
from morag.storage.fetching.addresses import AddressPolicy, Patience, Resolve
from morag.storage.fetching.naming import Headers

PATIENCE = Patience(connect_s=5.0, read_s=15.0, total_s=30.0)
"""A receiver should answer first and work later."""
LONGEST_PAUSE_S = 3600.0
"""What of a Retry-After is honoured."""


class GuardedPoster:
    """Posts to what is public, and to what the operator named in `allow` (the entries of MORAG_FETCH_ALLOW)."""

    def __init__(
        self,
        *,
        allow: Sequence[str] = (),
        patience: Patience = PATIENCE,
        resolver: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Raises StartupError for an entry of `allow` that cannot be read."""
        self._policy = AddressPolicy(allow)
        self._patience = patience
        self._resolver = resolver
        self._tls = tls

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        """What the receiver answered. Raises FetchRefused, FetchFailed."""
        from morag.storage.fetching import pinned  # noqa: PLC0415 - httpcore2 and anyio take 60 ms to import

        target = self._policy.target(url)
        if self._tls is None:
            self._tls = await asyncio.to_thread(pinned.tls_context)
        try:
            async with (
                asyncio.timeout(self._patience.total_s),
                pinned.post(
                    target,
                    self._policy,
                    self._patience,
                    resolver=self._resolver or pinned.resolve,
                    tls=self._tls,
                    body=body,
                    headers=headers,
                ) as response,
            ):
                return Posted(status=response.status, retry_after_s=_retry_after(Headers(response.headers)))
        except TimeoutError:
            raise FetchFailed(f"{target.host} did not answer in time.", code="fetch_timeout") from None


def _retry_after(headers: Headers) -> float | None:
    text = headers.get("retry-after") or ""
    return min(float(text), LONGEST_PAUSE_S) if text.isascii() and text.isdecimal() else None
