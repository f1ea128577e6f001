"""Who asks, and whether they may: the one place that decides it.

Door  ─▶ `decide`: a key, or anonymity where that is allowed ─▶ Caller, else 401
route ─▶ its declaration: `Allows` some scopes (else 403), `OPEN` to all, or for the `OPERATOR`. Each has exactly one.
wait  ─▶ `decide` again, so that who waits loses a key that is revoked meanwhile
"""

import re
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Annotated, cast

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from morag.bootstrap.system import System
from morag.domain.errors import Unavailable
from morag.domain.identity import ANONYMOUS, Caller, Scope

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="morag"'}

_ANYBODY = Caller(user_id=ANONYMOUS, scopes=frozenset({Scope.SUBMIT}))
_SCHEMES = frozenset({"bearer", "apikey"})
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^\[\]:/@\s]+?)\.?)(?::\d{1,5})?")
_FORWARDED = ("forwarded", "x-forwarded-", "x-real-ip", "via")
"""How the headers begin by which proxies give themselves away."""
_OLD_HTTP = "1.0"
"""What browsers and programs speak no more, and a reverse proxy that says nothing of itself may."""


@dataclass(frozen=True, slots=True)
class Allows:
    """A route's declaration: callers with one of these scopes. The caller is what the route is handed."""

    scopes: frozenset[Scope]

    async def __call__(self, request: Request) -> Caller:
        """Who asks. Raises HTTPException 401, 403."""
        asking = await caller(request)
        if asking.scopes.isdisjoint(self.scopes):
            raise _forbidden(*sorted(self.scopes))
        return asking


async def open_to_all() -> None:
    """A route's declaration: anybody, with any key or none."""


async def operator(request: Request) -> None:
    """A route's declaration: who is on this machine without a key, or an `admin`. Raises HTTPException 401, 403."""
    if not _presented(request) and comes_from_here(request):
        return
    if Scope.ADMIN not in (await caller(request)).scopes:
        raise _forbidden(Scope.ADMIN)


Submitter = Annotated[Caller, Depends(Allows(frozenset({Scope.SUBMIT})))]
Administrator = Annotated[Caller, Depends(Allows(frozenset({Scope.ADMIN})))]
SubmitterOrAdministrator = Annotated[Caller, Depends(Allows(frozenset({Scope.SUBMIT, Scope.ADMIN})))]
Machine = Annotated[Caller, Depends(Allows(frozenset({Scope.WORKER})))]
OwnerOrMachine = Annotated[Caller, Depends(Allows(frozenset({Scope.SUBMIT, Scope.WORKER})))]
AnyCaller = Annotated[Caller, Depends(Allows(frozenset(Scope)))]
OPEN = Depends(open_to_all)
OPERATOR = Depends(operator)


async def caller(request: Request) -> Caller:
    """Who asks, decided once a request. Raises HTTPException 401, Unavailable."""
    state = request.scope.setdefault("state", {})
    if "caller" not in state:
        state["caller"] = await decide(request)
    return cast("Caller", state["caller"])


async def decide(request: Request) -> Caller:
    """Who asks, as it stands now. Raises HTTPException 401, Unavailable.

    A key that is presented counts, right or wrong: it is never passed over in favour of anonymity.
    """
    presented = _presented(request)
    if presented:
        return await _holder(request, presented)
    if await _may_be_anonymous(request):
        return _ANYBODY
    raise _unauthorised("A key is needed. Present one as `Authorization: Bearer KEY`.")


async def is_still_welcome(request: Request) -> bool:
    """Whether who asked could ask again now; who had a key that is revoked or expired since, cannot."""
    try:
        await decide(request)
    except (HTTPException, Unavailable):
        return False
    return True


def is_local(request: Request) -> bool:
    """Whether nobody but this machine can reach the server, and the request comes from here."""
    return is_loopback(str(request.app.state.settings.host)) and comes_from_here(request)


def comes_from_here(request: Request) -> bool:
    """Whether nobody but this machine can be behind the request: no other address, no proxy, no foreign name."""
    server = request.scope.get("server")
    addresses = (server[0] if server else "", request.client.host if request.client else "")
    return all(map(is_loopback, addresses)) and not _is_forwarded(request) and host_name(request) in LOOPBACK_HOSTS


def _is_forwarded(request: Request) -> bool:
    """Whether the request came through a proxy, trusted or not."""
    if getattr(request.state, "is_forwarded", False) or request.scope.get("http_version") == _OLD_HTTP:
        return True
    return any(name.startswith(_FORWARDED) for name in request.headers)


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


def _presented(request: Request) -> set[str]:
    """Every key that the request carries; what is not written as a key is the empty one."""
    found = set(request.headers.getlist("x-api-key"))
    for value in request.headers.getlist("authorization"):
        scheme, _, key = value.partition(" ")
        found.add(key.strip() if scheme.lower() in _SCHEMES else "")
    return found


async def _holder(request: Request, presented: set[str]) -> Caller:
    """Whose key it is. Raises HTTPException 401, the same for whatever is wrong with it."""
    key = await _system(request).keys.validate_api_key(presented.pop()) if len(presented) == 1 else None
    if key is None:
        raise _unauthorised("This key is not valid. Present one that is, or none.")
    return Caller(user_id=key.user_id, scopes=key.scopes, key_id=key.id)


async def _may_be_anonymous(request: Request) -> bool:
    allowed = cast("bool | None", request.app.state.settings.allow_anonymous)
    if allowed is None:
        return is_local(request) and not await _system(request).keys.has_keys()
    return allowed


def _system(request: Request) -> System:
    return cast("System", request.app.state.system)


def _unauthorised(message: str) -> HTTPException:
    return HTTPException(HTTPStatus.UNAUTHORIZED, message, CHALLENGE)


def _forbidden(*scopes: Scope) -> HTTPException:
    return HTTPException(HTTPStatus.FORBIDDEN, f"This needs a key with the scope {' or '.join(scopes)}.")
