"""A server's answers as values or errors: JSON objects in, problem documents (RFC 9457) raised."""

from typing import cast

import httpx2

from morag.domain.errors import MoragError, Unavailable
from morag.domain.json import JsonObject

_BUSY = frozenset({429, 503})
_HINTS: dict[int, str] = {
    401: "Set MORAG_API_KEY to a key of this server; `morag keys create` on its machine makes one.",
    403: "Set MORAG_API_KEY to a key with that scope; `morag keys create --scope` on the server's machine makes one.",
}
"""What to do about keys, in the words of this command."""


class ServerError(MoragError):
    """The server answered with a problem; `status` is that of HTTP."""

    def __init__(self, status: int, message: str, *, code: str, hint: str | None) -> None:
        super().__init__(message, code=code, hint=hint)
        self.status = status


class Busy(ServerError):
    """The server asks to come back after `retry_after_s` seconds."""

    retry_after_s: float = 1.0


def read(response: httpx2.Response) -> JsonObject:
    """The object answered. Raises ServerError, Busy."""
    if not response.is_success:
        raise problem(response)
    value = _object(response)
    if value is None:
        raise ServerError(
            response.status_code,
            "The server answered with something that is not an object.",
            code="bad_answer",
            hint="Is this address that of a MoRAG server?",
        )
    return value


def problem(response: httpx2.Response) -> ServerError:
    """The error a problem answer tells of; other answers are told by their status."""
    body = _object(response) or {}
    detail = body.get("detail") or body.get("title") or f"The server answered {response.status_code}."
    message = " ".join([str(detail), *[told for told in _fields(body) if told not in str(detail)]])
    hint = body.get("hint") or _HINTS.get(response.status_code)
    if response.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR and body.get("request_id"):
        message += f" Request {body['request_id']}."
    code = str(body.get("code") or f"http_{response.status_code}")
    told = str(hint) if hint else None
    retry_after = response.headers.get("retry-after", "")
    if response.status_code in _BUSY and retry_after.isdigit():
        busy = Busy(response.status_code, message, code=code, hint=told)
        busy.retry_after_s = float(retry_after)
        return busy
    return ServerError(response.status_code, message, code=code, hint=told)


def unreachable(base_url: str, error: httpx2.TransportError) -> Unavailable:
    """The error of a server that is not there, or went away."""
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return Unavailable(
            f"There is no server at {base_url}.",
            code="server_unreachable",
            hint="Start one with `morag serve`, or say where it is with MORAG_SERVER_URL.",
        )
    return Unavailable(
        f"The connection to {base_url} broke: {type(error).__name__}.",
        code="connection_lost",
        hint="Try again; what was taken goes on, `morag status` lists it.",
    )


def _object(response: httpx2.Response) -> JsonObject | None:
    try:
        value: object = response.json()
    except ValueError:
        return None
    return cast("JsonObject", value) if isinstance(value, dict) else None


def _fields(body: JsonObject) -> list[str]:
    """What is wrong with which field, of an answer to malformed input."""
    errors = body.get("errors")
    told = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    return [
        f"{error.get('field')}: {error.get('message')}" for error in told if error.get("message") != body.get("detail")
    ]
