"""The calls of `morag.protocol` over HTTP: each once, as a value or an error; who retries is `patience`."""

import base64
import hashlib
import ipaddress
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

import httpx2
from pydantic import BaseModel

from morag.domain.errors import MoragError
from morag.protocol import (
    Claimed,
    ClaimWork,
    Committed,
    CompleteAttempt,
    FailAttempt,
    FailureDecided,
    Heartbeat,
    HeartbeatAnswer,
    LeaseMessage,
    Registered,
    RegisterWorker,
    ReleaseAttempt,
    Released,
)
from morag.worker.remote.answers import Away, Refused, check, read, unreachable

CONNECT_S = 5.0
ANSWER_S = 30.0
HEARTBEAT_S = 5.0
"""A heartbeat that hangs is given up so early that another one gets through within the lease."""
SILENCE_S = 10.0
"""A download that brings nothing for so long goes on over another connection."""
GRACE_S = 10.0
"""Of a claim, beyond the time it asked to wait."""
TUS = {"Tus-Resumable": "1.0.0"}
KEPT = httpx2.Limits(max_keepalive_connections=4, keepalive_expiry=15.0)
"""Heartbeats find the connection of the one before; few are kept, for each that died unnoticed costs one heartbeat."""
CHECKSUM_MISMATCH = 460
"""As the checksum extension of tus 1.0 has it."""
_ADDRESS_HINT = "Give an address such as https://morag.example.org; http:// is for this machine only."
_KEY_HINT = "It is one word, as `morag keys create` printed it: mrg_…"


class Client:
    """One server, with one key. Use as an async context manager. Every call raises Away or Refused."""

    def __init__(self, server: str, api_key: str, *, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        """Talk to `server`. Raises MoragError: `bad_setting`; `insecure_url` rather than send a key in the clear."""
        self.server = server.rstrip("/")
        is_near = _check_address(self.server)
        if not (api_key.isascii() and api_key.isprintable() and api_key and " " not in api_key):
            raise MoragError("The API key is not written as a key is.", code="bad_setting", hint=_KEY_HINT)
        self._http = httpx2.AsyncClient(
            base_url=self.server,
            headers={"Authorization": f"Bearer {api_key}", "User-Agent": f"morag-worker/{version('morag')}"},
            timeout=httpx2.Timeout(ANSWER_S, connect=CONNECT_S),
            follow_redirects=False,
            trust_env=not is_near,  # no proxy on the way to this machine itself; SSL_CERT_FILE counts everywhere
            verify=transport is not None or httpx2.create_ssl_context(),
            limits=KEPT,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def register(self, body: RegisterWorker) -> Registered:
        """Say who this machine is; sessions of it before are over."""
        return read(await self._post("/api/v1/workers", body), Registered)

    async def claim(self, worker_id: str, body: ClaimWork) -> list[LeaseMessage]:
        """Leases, or none after the time asked for."""
        answer = await self._post(f"{_worker(worker_id)}/claim", body, answer_s=body.wait_s + GRACE_S)
        return [] if answer.status_code == HTTPStatus.NO_CONTENT else read(answer, Claimed).leases

    async def heartbeat(self, worker_id: str, body: Heartbeat) -> HeartbeatAnswer:
        """Renew what is held, and hear what is wanted."""
        return read(await self._post(f"{_worker(worker_id)}/heartbeat", body, answer_s=HEARTBEAT_S), HeartbeatAnswer)

    async def leave(self, worker_id: str) -> None:
        """Be forgotten."""
        check(await self._ask("DELETE", _worker(worker_id)))

    async def complete(self, attempt_id: str, body: CompleteAttempt) -> Committed:
        """Deliver a document."""
        return read(await self._post(f"{_attempt(attempt_id)}/complete", body, is_slim=True), Committed)

    async def fail(self, attempt_id: str, body: FailAttempt) -> FailureDecided:
        """Tell that it did not work."""
        return read(await self._post(f"{_attempt(attempt_id)}/fail", body), FailureDecided)

    async def release(self, attempt_id: str, body: ReleaseAttempt) -> Released:
        """Give a task back."""
        return read(await self._post(f"{_attempt(attempt_id)}/release", body), Released)

    @asynccontextmanager
    async def source(self, attempt_id: str, sha256: str, offset: int) -> AsyncGenerator[httpx2.Response]:
        """The bytes from `offset` on, to be streamed; all of them (status 200) if the server cannot go on there."""
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": f'"{sha256}"'}
        place, timeout = f"{_attempt(attempt_id)}/source", httpx2.Timeout(SILENCE_S, connect=CONNECT_S)
        try:
            async with self._http.stream("GET", place, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    await response.aread()
                    check(response)
                yield response
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise unreachable(error) from None

    async def begin_upload(self, attempt_id: str, size_bytes: int) -> str:
        """Begin to upload a document; the upload's id."""
        headers = {**TUS, "Upload-Length": str(size_bytes)}
        answer = await self._ask("POST", f"{_attempt(attempt_id)}/uploads", headers=headers)
        check(answer)
        upload_id = answer.headers.get("location", "").rstrip("/").rpartition("/")[2]
        if not upload_id:
            raise Away("The server did not say where to upload.", code="bad_answer")
        return upload_id

    async def upload_offset(self, attempt_id: str, upload_id: str) -> int:
        """How many bytes of it the server has."""
        answer = await self._ask("HEAD", _upload(attempt_id, upload_id), headers=TUS)
        if answer.status_code == HTTPStatus.NOT_FOUND:  # an answer to HEAD has no body that would say more
            raise Refused(answer.status_code, "There is no such upload.", code="not_found")
        check(answer)
        return _offset(answer)

    async def upload_piece(self, attempt_id: str, upload_id: str, offset: int, piece: bytes) -> int:
        """Add a piece; where the upload ends now, which is elsewhere than expected if it did not begin at `offset`."""
        digest = base64.b64encode(hashlib.sha256(piece).digest()).decode()
        headers = {
            **TUS,
            "Content-Type": "application/offset+octet-stream",
            "Upload-Offset": str(offset),
            "Upload-Checksum": f"sha256 {digest}",
        }
        answer = await self._ask("PATCH", _upload(attempt_id, upload_id), headers=headers, content=piece)
        if answer.status_code == CHECKSUM_MISMATCH:
            raise Away("A piece was damaged on the way.", code="damaged")
        if answer.status_code == HTTPStatus.CONFLICT and "upload-offset" in answer.headers:
            return _offset(answer)
        check(answer)
        return _offset(answer)

    async def _post(
        self, path: str, body: BaseModel, *, answer_s: float = ANSWER_S, is_slim: bool = False
    ) -> httpx2.Response:
        content = body.model_dump_json(exclude_defaults=is_slim).encode()
        return await self._ask(
            "POST", path, content=content, headers={"Content-Type": "application/json"}, answer_s=answer_s
        )

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        answer_s: float = ANSWER_S,
    ) -> httpx2.Response:
        timeout = httpx2.Timeout(answer_s, connect=CONNECT_S)
        try:
            return await self._http.request(method, path, headers=headers, content=content, timeout=timeout)
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise unreachable(error) from None


def _check_address(server: str) -> bool:
    """Whether the server is on this machine. Raises MoragError for an address that a key must not go to."""
    try:
        parts = urlsplit(server)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not host or parts.username or parts.query or parts.fragment:
        raise MoragError(f"{server} is no address of a server.", code="bad_setting", hint=_ADDRESS_HINT)
    is_near = _is_loopback(host)
    if parts.scheme == "http" and not is_near:
        raise MoragError("The key is not sent over plain HTTP.", code="insecure_url", hint=_ADDRESS_HINT)
    return is_near


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _offset(response: httpx2.Response) -> int:
    told = response.headers.get("upload-offset", "")
    if not (told.isascii() and told.isdecimal()):
        raise Away("The server did not say how much of the upload it has.", code="bad_answer")
    return int(told)


def _worker(worker_id: str) -> str:
    return f"/api/v1/workers/{quote(worker_id, safe='')}"


def _attempt(attempt_id: str) -> str:
    return f"/api/v1/attempts/{quote(attempt_id, safe='')}"


def _upload(attempt_id: str, upload_id: str) -> str:
    return f"{_attempt(attempt_id)}/uploads/{quote(upload_id, safe='')}"
