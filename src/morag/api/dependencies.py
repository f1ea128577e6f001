"""What routes are handed: the system behind them, and who asks. `caller` is the one place that decides who that is."""

import re
from http import HTTPStatus
from ipaddress import ip_address
from typing import Annotated, cast

from fastapi import Depends, Header, Request
from starlette.exceptions import HTTPException

from morag.bootstrap import System
from morag.domain.errors import InvalidRequest
from morag.domain.identity import ANONYMOUS, Caller, Scope

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="morag"'}

_ANYBODY = Caller(user_id=ANONYMOUS, scopes=frozenset({Scope.SUBMIT}))
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^\[\]:/@\s]+?)\.?)(?::\d{1,5})?")
_FORWARDED = ("forwarded", "x-forwarded-")


def system(request: Request) -> System:
    """The opened system of the application."""
    return cast("System", request.app.state.system)


async def caller(request: Request) -> Caller:
    """Who asks; every route takes its `user_id` from here. Raises HTTPException 401.

    A key that is presented counts, right or wrong: it is never passed over in favour of anonymity.
    """
    if _presents_key(request):
        raise _unauthorised("This key is not known.", hint="Leave it out, or present a valid one.")
    allowed = cast("bool | None", request.app.state.settings.allow_anonymous)
    if allowed or (allowed is None and is_local(request)):
        return _ANYBODY
    raise _unauthorised("A key is needed.", hint="Present one as `Authorization: Bearer KEY`.")


async def operator(request: Request) -> None:
    """Let in who is on this machine without a key, or has one with the scope `admin`. Raises HTTPException 401, 403."""
    if not _presents_key(request) and comes_from_here(request):
        return
    if Scope.ADMIN not in (await caller(request)).scopes:
        raise HTTPException(HTTPStatus.FORBIDDEN, "This is for the operator: from the server's own machine, or admin.")


def is_local(request: Request) -> bool:
    """Whether nobody but this machine can reach the server, and the request comes from here."""
    return is_loopback(str(request.app.state.settings.host)) and comes_from_here(request)


def comes_from_here(request: Request) -> bool:
    """Whether nobody but this machine can be behind the request: no other address, no proxy, no foreign name."""
    server = request.scope.get("server")
    addresses = (server[0] if server else "", request.client.host if request.client else "")
    is_forwarded = any(name.startswith(_FORWARDED) for name in request.headers)
    return all(map(is_loopback, addresses)) and not is_forwarded and host_name(request) in LOOPBACK_HOSTS


def is_loopback(host: str) -> bool:
    """Whether an address, or the name `localhost`, stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_name(request: Request) -> str:
    """The Host header without its port and brackets, in lower case; empty if it is not there or not one."""
    found = _HOST.fullmatch(request.headers.get("host", "").lower())
    return found["v6"] or found["name"] if found else ""


def idempotency_key(
    value: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="The same key gives the same task for 24 hours; with another body it is 409.",
        ),
    ] = None,
) -> str | None:
    """The Idempotency-Key of a submitting request. Raises InvalidRequest."""
    if value is not None and not (0 < len(value) <= 200 and value.isascii() and value.isprintable()):
        raise InvalidRequest(
            "The Idempotency-Key must be 1 to 200 printable ASCII characters.", field="Idempotency-Key"
        )
    return value


def _presents_key(request: Request) -> bool:
    return "authorization" in request.headers or "x-api-key" in request.headers


def _unauthorised(message: str, *, hint: str) -> HTTPException:
    return HTTPException(HTTPStatus.UNAUTHORIZED, f"{message} {hint}", CHALLENGE)


CurrentCaller = Annotated[Caller, Depends(caller)]
CurrentSystem = Annotated[System, Depends(system)]
IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]
