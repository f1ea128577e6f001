"""A server's answers to a worker, as values or errors.

MoragError
├── Away            it did not answer, or not as a server does: the same again later may succeed
└── Refused         it answered no, and asking again will not change that
    ├── KeyRefused      the key is not known, or not one of a worker
    ├── VersionRefused  it speaks another version of the protocol
    └── Redirected      it names another address, which is never given the key

A problem document (RFC 9457) is a server's word; an error page of something between is no word at all.
"""

import ssl
from http import HTTPStatus
from typing import TypeVar, cast
from urllib.parse import urlsplit

import httpx2
from pydantic import BaseModel, ValidationError

from morag.domain.errors import MoragError
from morag.domain.json import JsonObject

M = TypeVar("M", bound=BaseModel)

SESSION_OVER = "session_over"
"""Code of the answer to a session that a later one of the same machine ended."""
_PASSING = frozenset({408, 425, 429})
_PASSING_CODES = frozenset({"upload_busy"})
"""Of a piece that the server still takes from a line that was cut: it finds out a little later."""
_KEY_HINT = "On the server `morag keys create --user NAME --scope worker` makes a key for a worker."


class Away(MoragError):
    """The server cannot be reached, or is not itself; `retry_after_s` if it said when to come back."""

    default_code = "server_away"
    retry_after_s: float | None = None


class Refused(MoragError):
    """The server said no; `status` is that of HTTP."""

    def __init__(self, status: int, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint)
        self.status = status


class KeyRefused(Refused):
    """The key is unknown, ended, or not one of a worker."""


class VersionRefused(Refused):
    """Worker and server speak different versions of the protocol."""


class Redirected(Refused):
    """The server sent the worker elsewhere."""


ABOUT_THE_WORKER = (KeyRefused, VersionRefused, Redirected)
"""Refusals that are no word on a job: the worker itself must stop, and what it made stays in its spool."""


def read(response: httpx2.Response, kind: type[M]) -> M:
    """The message answered. Raises Away, Refused."""
    check(response)
    try:
        return kind.model_validate_json(response.content)
    except ValidationError:
        raise Away("The server's answer cannot be understood.", code="bad_answer") from None


def check(response: httpx2.Response) -> None:
    """Raise what an answer other than a success means: Away, Refused."""
    if not response.is_success:
        raise _error(response)


def unreachable(error: httpx2.HTTPError) -> Away:
    """The error of a server that is not there, went away, or cannot show who it is."""
    if untrusted := _untrusted(error):
        return Away(
            f"The server's certificate is not trusted here: {untrusted.verify_message}.",
            code="untrusted_certificate",
            hint="If it is your own, name the file of who signed it: SSL_CERT_FILE=ca.pem.",
        )
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return Away("The server cannot be reached.")
    return Away(f"The connection to the server broke ({type(error).__name__}).")


def _untrusted(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _error(response: httpx2.Response) -> Away | Refused:
    status, body = response.status_code, _problem(response)
    message = str(body.get("detail") or body.get("title") or f"The server answered {status}.")
    code, hint = str(body.get("code") or f"http_{status}"), body.get("hint")
    told = str(hint) if hint else None
    if response.has_redirect_location or response.is_redirect:
        return _redirected(response)
    if status in {401, 403}:
        return KeyRefused(status, message, code=code, hint=told or _KEY_HINT)
    if status == HTTPStatus.UPGRADE_REQUIRED:
        return VersionRefused(status, message, code=code, hint=told or "Install the morag of the server's version.")
    if status in _PASSING or code in _PASSING_CODES or status >= HTTPStatus.INTERNAL_SERVER_ERROR or "code" not in body:
        return _away(response, message, code)
    return Refused(status, message, code=code, hint=told)


def _away(response: httpx2.Response, message: str, code: str) -> Away:
    away = Away(message, code=code)
    retry_after = response.headers.get("retry-after", "")
    if retry_after.isascii() and retry_after.isdecimal() and len(retry_after) < 7:
        away.retry_after_s = float(retry_after)
    return away


def _redirected(response: httpx2.Response) -> Redirected:
    parts = urlsplit(response.headers.get("location", ""))
    place = f"{parts.scheme}://{parts.hostname}" if parts.hostname else "another place"
    return Redirected(
        response.status_code,
        f"The server sends on to {place}, and a key goes nowhere but where it was told to.",
        code="redirected",
        hint="Give --server the address that answers itself.",
    )


def _problem(response: httpx2.Response) -> JsonObject:
    try:
        value: object = response.json()
    except ValueError:
        return {}
    return cast("JsonObject", value) if isinstance(value, dict) else {}
