"""The guarded fetcher: the one way from a URL to bytes in the blob store.

URL → checked target → GET to a checked address (`pinned`) → at most three redirects, each checked the same way → body,
unpacked within bounds (`decompression`) and streamed into the blob store → Source. No proxy, cookie or password of the
environment takes part.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import Protocol

from morag.domain.content import Source
from morag.domain.errors import FetchFailed, InvalidRequest
from morag.pipeline.ports import ReportProgress
from morag.storage.fetching.addresses import AddressPolicy, Patience, Resolve, Target
from morag.storage.fetching.decompression import CODINGS, decoded
from morag.storage.fetching.naming import Headers, filename
from morag.storage.sizes import in_words, too_large

MAX_REDIRECTS = 3
STAGE = "downloading_file"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TEMPORARY = frozenset({408, 425, 429})


class Intake(Protocol):
    """Where a body goes."""

    async def receive(self, chunks: AsyncIterator[bytes], *, max_bytes: int) -> tuple[str, int]:
        """Store what comes: digest and size. Raises TooLarge, StorageFull, InvalidRequest with code `empty_file`."""
        ...


class GuardedFetcher:
    """Fetches what is public, and what the operator named in `allow` (the entries of MORAG_FETCH_ALLOW)."""

    def __init__(
        self,
        blobs: Intake,
        *,
        allow: Sequence[str] = (),
        max_bytes: int,
        patience: Patience | None = None,
        resolver: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Raises StartupError for an entry of `allow` that cannot be read."""
        self._blobs = blobs
        self._policy = AddressPolicy(allow)
        self._max_bytes = max_bytes
        self._patience = patience or Patience()
        self._resolver = resolver
        self._tls = tls

    def check_url(self, url: str) -> None:
        """Refuse by the text alone, at submit. Raises FetchRefused."""
        self._policy.target(url)

    async def fetch(self, url: str, report: ReportProgress) -> Source:
        """The body of a GET, kept in the blob store. Raises FetchRefused, FetchFailed, TooLarge, StorageFull."""
        target = self._policy.target(url)
        total_s = self._patience.total_s
        deadline = asyncio.timeout(total_s)
        try:
            async with deadline:
                return await self._follow(target, report)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise FetchFailed(
                f"{target.host} did not deliver within {total_s:.0f} seconds.", code="fetch_timeout", is_temporary=True
            ) from None

    async def _follow(self, target: Target, report: ReportProgress) -> Source:
        from morag.storage.fetching import pinned  # noqa: PLC0415 - httpcore2 and anyio take 60 ms to import

        if self._tls is None:
            self._tls = await asyncio.to_thread(pinned.tls_context)
        for _ in range(1 + MAX_REDIRECTS):
            async with pinned.get(
                target, self._policy, self._patience, resolver=self._resolver or pinned.resolve, tls=self._tls
            ) as response:
                headers = Headers(response.headers)
                if response.status not in _REDIRECTS:
                    _check_status(response.status, target)
                    return await self._keep(target, headers, response.aiter_stream(), report)
            target = self._policy.redirect(target, _location(headers, target))
        raise FetchFailed(f"It redirects more than {MAX_REDIRECTS} times.", code="too_many_redirects")

    async def _keep(
        self, target: Target, headers: Headers, body: AsyncGenerator[bytes], report: ReportProgress
    ) -> Source:
        if headers.coding not in CODINGS | {"identity"}:
            raise FetchFailed(f"{target.host} compresses in a way that is not read here.", code="bad_encoding")
        if headers.coding == "identity" and (headers.length or 0) > self._max_bytes:
            raise too_large(self._max_bytes)
        try:
            async with (
                aclosing(body),
                aclosing(_reporting(body, headers.length, report)) as counted,
                aclosing(decoded(counted, headers.coding)) as chunks,
            ):
                sha256, size_bytes = await self._blobs.receive(chunks, max_bytes=self._max_bytes)
        except InvalidRequest as error:
            if error.code != "empty_file":
                raise
            raise FetchFailed(f"{target.host} answered with an empty file.", code="empty_file") from None
        return Source(
            sha256=sha256,
            size_bytes=size_bytes,
            filename=filename(headers, target.path),
            media_type=headers.media_type,
            url=target.url,
        )


async def _reporting(body: AsyncIterator[bytes], length: int | None, report: ReportProgress) -> AsyncGenerator[bytes]:
    received = 0
    async for chunk in body:
        received += len(chunk)
        of = f" of {in_words(length)}" if length else ""
        report(min(1.0, received / length) if length else 0.0, STAGE, in_words(received) + of)
        yield chunk


def _location(headers: Headers, target: Target) -> str:
    location = headers.get("location")
    if not location:
        raise FetchFailed(f"{target.host} redirects without saying where to.", code="bad_response")
    return location


def _check_status(status: int, target: Target) -> None:
    if 200 <= status < 300 and status != HTTPStatus.PARTIAL_CONTENT:
        return
    words = HTTPStatus(status).phrase if status in _KNOWN else "an unknown status"
    raise FetchFailed(
        f"{target.host} answered {status} ({words}).",
        code=f"http_{status}",
        hint="Open the URL in a browser to see whether it is right and public." if status < 500 else "Try again later.",
        is_temporary=status >= 500 or status in _TEMPORARY,
    )


_KNOWN = frozenset(int(status) for status in HTTPStatus)
