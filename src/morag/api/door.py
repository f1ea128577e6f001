"""The door: what every request passes before a route sees it. Pure ASGI, so that streams stay streams.

Trace: an id for the request, bound to the log and returned; the last catch for bugs.
Door:  whether the request is meant for this server (Host), comes from a page that may send it (Origin), who asks, and
       whether they ask too often. A trusted proxy's word is taken first, so that all this is asked of its client.
"""

import re
import uuid
from collections.abc import Collection, Mapping
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from morag.api import access, errors
from morag.api.dependencies import limits_of
from morag.api.metrics import Measures
from morag.api.proxies import Proxies
from morag.api.rates import Rates
from morag.domain.errors import MoragError
from morag.telemetry import log

MAX_BODY_BYTES = 4 * 1024**2
"""Largest request body that is not an upload."""

_SAFE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN_PATHS = ("/docs", "/openapi.json", "/metrics")  # metrics look for themselves who asks
_NOTHING: Mapping[str, str] = {}
_UPLOADS = re.compile(r"/process/file|/api/v1/ingest/file|/api/v1/uploads/?|/api/v1/attempts/[^/]+/uploads/[^/]+")
"""Where files come in, streamed and bounded by the routes themselves."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Trace:
    """Gives each request an id, and turns an exception nobody foresaw into a 500 without details."""

    def __init__(self, app: ASGIApp, *, measures: Measures) -> None:
        self._app = app
        self._measures = measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = perf_counter(), errors.CLIENT_GONE
        ids = _ids(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = ids["x-request-id"]
        has_begun = False

        async def send_with_ids(message: Message) -> None:
            nonlocal has_begun, status
            if message["type"] == "http.response.start":
                has_begun, status = True, message["status"]
                MutableHeaders(scope=message).update(ids)
            await send(message)

        bound = {"request_id": ids["x-request-id"], **({"traceparent": ids["traceparent"]} if len(ids) > 1 else {})}
        with structlog.contextvars.bound_contextvars(**bound):
            try:
                await self._app(scope, receive, send_with_ids)
            except Exception as error:
                log.exception("request_broke", path=scope["path"], error=type(error).__name__)
                if has_begun:
                    raise
                await errors.answer_bug(scope)(scope, receive, send_with_ids)
            finally:
                self._measures.answered(_method(scope), _pattern(scope), status, perf_counter() - began)


class Door:
    """Lets in what is meant for this server and comes from somebody; everything else is told why not."""

    def __init__(
        self, app: ASGIApp, *, bound_to: str, allowed_hosts: Collection[str], trusted_proxies: tuple[str, ...] = ()
    ) -> None:
        """Answer to `allowed_hosts`; if none are named, to any, or to this machine only where bound to it."""
        self._app = app
        self._proxies = Proxies(trusted_proxies)
        self._hosts = frozenset(host.lower() for host in allowed_hosts) or (
            access.LOOPBACK_HOSTS if access.is_loopback(bound_to) else None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._proxies.unfold(scope)
        request, standing = Request(scope), _NOTHING
        try:
            self._check_host(request)
            _check_origin(request)
            if not is_open(scope["path"]):
                standing = await _count(request)
        except HTTPException as refused:
            await errors.answer_http(scope, refused)(scope, receive, send)
            return
        except MoragError as error:  # nobody can tell now whose key it is
            await errors.answer_error(scope, error)(scope, receive, send)
            return
        await self._app(scope, _bounded(request, receive), _telling(send, standing))

    def _check_host(self, request: Request) -> None:
        if self._hosts is not None and access.host_name(request) not in self._hosts:
            raise HTTPException(
                421, "This server does not answer to that Host name; MORAG_ALLOWED_HOSTS lists those it does."
            )


async def _count(request: Request) -> Mapping[str, str]:
    """Who asks, and how they stand with their limit. Raises HTTPException 401, LimitReached, Unavailable."""
    asking = await access.caller(request)
    peer = request.client.host if request.client else ""
    rates = cast("Rates", request.app.state.rates)
    return rates.take(asking, peer, await limits_of(request, asking.user_id))


def _telling(send: Send, headers: Mapping[str, str]) -> Send:
    """Add the headers to the answer, beside those of the same name."""
    if not headers:
        return send

    async def send_telling(message: Message) -> None:
        if message["type"] == "http.response.start":
            answered = MutableHeaders(scope=message)
            for name, value in headers.items():
                answered.append(name, value)
        await send(message)

    return send_telling


def _method(scope: Scope) -> str:
    """The method; a made-up one is not given a row of its own."""
    return scope["method"] if scope["method"] in _METHODS else "other"


def _pattern(scope: Scope) -> str:
    """The route's pattern; requests that met none are one row."""
    return str(getattr(scope.get("route"), "path", "none"))


def _ids(headers: Headers) -> dict[str, str]:
    """What is returned as it came, if it is well-formed; a request without an id is given one."""
    asked = headers.get("x-request-id", "")
    ids = {"x-request-id": asked if _SAFE_ID.fullmatch(asked) else uuid.uuid4().hex}
    trace = headers.get("traceparent", "")
    return {**ids, "traceparent": trace} if _TRACEPARENT.fullmatch(trace) else ids


def is_open(path: str) -> bool:
    """Whether a path answers without a key."""
    return path in _OPEN_PATHS or path.startswith(("/health/", "/docs/"))


def _check_origin(request: Request) -> None:
    """Refuse writes that a foreign web page makes somebody's browser send."""
    if request.method in _READS:
        return
    origin = request.headers.get("origin")
    if origin is not None and not _is_same(origin, request.headers.get("host", "")):
        raise HTTPException(403, "Writes from another origin are refused.")
    if request.headers.get("sec-fetch-site", "").lower() == "cross-site":
        raise HTTPException(403, "Writes from another site are refused.")


def _is_same(origin: str, host: str) -> bool:
    """Whether a page of `origin` is one of this server's own, as the client names the server."""
    default = _DEFAULT_PORTS.get(origin.partition("://")[0])
    try:
        ours, theirs = urlsplit(f"//{host}"), urlsplit(origin)
        names, ports = (ours.hostname, theirs.hostname), (ours.port or default, theirs.port or default)
    except ValueError:
        return False
    return default is not None and names[0] == names[1] and ports[0] == ports[1]


def _bounded(request: Request, receive: Receive) -> Receive:
    """A body that is not an upload may be no longer than MAX_BODY_BYTES, whatever its Content-Length says."""
    if _UPLOADS.fullmatch(request.scope["path"]):
        return receive
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(
                413, f"A request may be {MAX_BODY_BYTES} bytes long; send files to POST /api/v1/uploads."
            )
        return message

    return receive_bounded
