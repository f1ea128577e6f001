"""The server as a command sees it: HTTP by the documented routes.

Every client command goes through here. The key is sent over plain HTTP to this machine only; a busy server is asked
again when it says so; a broken event stream is taken up where it broke.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import BinaryIO, Self, cast
from urllib.parse import urlsplit

import httpx2

from morag.cli.addresses import is_loopback, without_credentials
from morag.cli.answers import Busy, problem, read, unreachable
from morag.domain.errors import MoragError
from morag.domain.json import Json, JsonObject
from morag.settings import Settings

_TIMEOUT = httpx2.Timeout(60.0, connect=5.0, read=120.0)
_QUIET_S = 60.0
"""An event stream that says nothing for so long is taken up again."""
_TRIES = 5
"""How often a busy server is asked, and a lost event stream taken up, before giving up."""
_LONGEST_PAUSE_S = 30.0
_ADDRESS_HINT = "MORAG_SERVER_URL must be https://…, or http:// on this machine."

_KEY_HINT = "It is one word, as `morag keys create` printed it: mrg_…"


def client_of(settings: Settings) -> "Client":
    """The client of the server that the settings name. Raises MoragError."""
    return Client(settings.server_url, settings.api_key)


class Client:
    """One server. Use as an async context manager."""

    def __init__(
        self, base_url: str, api_key: str | None, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        """Talk to `base_url`. Raises MoragError: `bad_setting`; `insecure_url` rather than send a key in the clear."""
        self.base_url = without_credentials(base_url.rstrip("/"))
        parts = urlsplit(base_url)
        is_near = is_loopback(parts.hostname or "")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise MoragError(f"{self.base_url} is no address of a server.", code="bad_setting", hint=_ADDRESS_HINT)
        if api_key and not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
            raise MoragError("MORAG_API_KEY is not written as a key is.", code="bad_setting", hint=_KEY_HINT)
        if api_key and parts.scheme == "http" and not is_near:
            raise MoragError("The key is not sent over plain HTTP.", code="insecure_url", hint=_ADDRESS_HINT)
        self._http = httpx2.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=_TIMEOUT,
            trust_env=not is_near,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> JsonObject:
        """GET an object. Raises ServerError, Unavailable."""
        async with self._reaching():
            return read(await self._http.get(path, params=params))

    async def post(self, path: str, body: Json = None, *, key: str | None = None) -> JsonObject:
        """POST JSON; `key` makes it safe to ask twice. Raises ServerError, Unavailable."""

        async def ask() -> JsonObject:
            return read(await self._http.post(path, json=body, headers=_idempotent(key)))

        return await self._patiently(ask)

    async def upload(self, path: str, data: Mapping[str, str], name: str, file: BinaryIO, *, key: str) -> JsonObject:
        """POST a form with a file, streamed from disk. Raises ServerError, Unavailable."""

        async def ask() -> JsonObject:
            file.seek(0)
            return read(await self._http.post(path, data=data, files={"file": (name, file)}, headers=_idempotent(key)))

        return await self._patiently(ask)

    async def events(self, task_id: str) -> AsyncIterator[JsonObject]:
        """The log of a task as it grows, to its end. Raises ServerError; Unavailable when the server stays away."""
        last_id, tries = "", 0
        while True:
            try:
                async with self._stream(task_id, last_id) as stream:
                    async for event in stream:
                        last_id, tries = event.id or last_id, 0
                        if event.data:
                            yield cast("JsonObject", json.loads(event.data))
            except httpx2.TransportError as error:
                tries += 1
                if tries >= _TRIES:
                    raise unreachable(self.base_url, error) from None
                await asyncio.sleep(min(0.1 * 2**tries, 2.0))
            else:
                return

    @asynccontextmanager
    async def _stream(self, task_id: str, last_id: str) -> AsyncGenerator[httpx2.EventSource]:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        timeout = httpx2.Timeout(60.0, connect=5.0, read=_QUIET_S)
        async with self._http.sse(f"/api/v1/status/{task_id}/events", headers=headers, timeout=timeout) as source:
            if not source.response.is_success:
                await source.response.aread()
                raise problem(source.response)
            yield source

    @asynccontextmanager
    async def _reaching(self) -> AsyncGenerator[None]:
        try:
            yield
        except httpx2.TransportError as error:
            raise unreachable(self.base_url, error) from None

    async def _patiently(self, ask: Callable[[], Awaitable[JsonObject]]) -> JsonObject:
        """Ask again while the server says that it is busy, for as long as it says."""
        async with self._reaching():
            for _ in range(_TRIES - 1):
                try:
                    return await ask()
                except Busy as busy:
                    await asyncio.sleep(min(busy.retry_after_s, _LONGEST_PAUSE_S))
            return await ask()


def _idempotent(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key} if key else {}
