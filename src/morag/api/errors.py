"""Errors as answers: one table from what went wrong to a status, and problem+json (RFC 9457) around it.

Everything a caller may be told goes through `problem`; nothing of a traceback, a path or a secret gets there.
"""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TypedDict

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from morag.domain.errors import (
    Conflict,
    ConversionError,
    FetchError,
    FetchRefused,
    InvalidRequest,
    LimitReached,
    MoragError,
    NotFound,
    StorageFull,
    TooLarge,
    Unavailable,
)
from morag.domain.failure import Failure, FailureType
from morag.domain.json import Json, JsonObject
from morag.domain.task import Task, TaskState
from morag.telemetry import log

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "5"
"""What 429 and 503 tell a client to wait: a sweep and a lease's quarter are shorter."""
CLIENT_GONE = 499
"""Never seen by anybody: the client hung up. For the log only."""

STATUS: Mapping[str | type[MoragError], int] = {
    # by code, where it says more than its kind
    "unknown_option": 400,
    "bad_option": 400,
    "empty_file": 400,
    "too_large": 413,
    "zip_bomb": 413,
    "decompression_bomb": 413,
    "child_not_started": 503,
    "cancelled": 410,
    "checksum_differs": 460,
    "disk_full": 507,
    "disk_low": 507,
    "internal_error": 500,
    # by kind, of which the first that fits counts
    InvalidRequest: 400,
    FetchRefused: 400,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    LimitReached: 429,
    ConversionError: 415,
    FetchError: 415,
    StorageFull: 507,
    Unavailable: 503,
}
"""The one table: code or kind of error → status. What is in neither is a bug, 500."""

_FAILED: Mapping[FailureType, int] = {
    FailureType.PROCESSING_ERROR: 415,
    FailureType.NETWORK_FAILURE: 415,
    FailureType.TASK_TIMEOUT: 504,
    FailureType.RESOURCE_EXHAUSTION: 413,
}
"""Kind of failure of a conversion → status; the code goes first, a kind that is not here is 503."""

_FIELDS = {
    "unknown_option": "options",
    "bad_option": "options",
    "source_type_mismatch": "source_type",
    FetchRefused.default_code: "url",
}
"""Which part of the request some errors are about that do not say so themselves."""

_ROUTER_CODES = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    421: "misdirected",
}


class _Found(TypedDict):
    """What pydantic says of a field."""

    loc: tuple[int | str, ...]
    msg: str


class TaskEnded(Exception):
    """A conversion that was waited for ended without a result."""

    def __init__(self, task: Task) -> None:
        super().__init__(task.id)
        self.task = task


def status_of(error: MoragError) -> int:
    """The status an error is answered with."""
    return next((STATUS[key] for key in (error.code, *type(error).__mro__) if key in STATUS), 500)


def status_of_failure(failure: Failure) -> int:
    """The status a failed conversion is answered with."""
    return STATUS.get(failure.code) or (
        400 if failure.code == FetchRefused.default_code else _FAILED.get(failure.type, 503)
    )


def request_id_of(scope: Scope) -> str | None:
    """The id the request was given at the door."""
    return scope.get("state", {}).get("request_id")


def hang_up(scope: Scope) -> None:
    """Close the connection after the problem answer: its client may go on sending for ever."""
    scope.setdefault("state", {})["hangs_up"] = True


def problem(
    scope: Scope,
    *,
    status: int,
    code: str,
    detail: str,
    hint: str | None = None,
    errors: Sequence[JsonObject] = (),
    headers: Mapping[str, str] | None = None,
    **members: Json,
) -> Response:
    """A problem answer; `members` join the standard ones."""
    body: JsonObject = {
        "type": f"urn:morag:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id_of(scope),
    }
    body |= {"hint": hint} if hint else {}
    body |= {"errors": list(errors)} if errors else {}
    more = {"Retry-After": RETRY_AFTER_S} if status in {429, 503} else {}
    more |= {"Connection": "close"} if scope.get("state", {}).get("hangs_up") else {}
    return JSONResponse({**body, **members}, status, {**more, **(headers or {})}, MEDIA_TYPE)


def answer_error(scope: Scope, error: MoragError) -> Response:
    """The problem answer of a domain error."""
    field = (error.field if isinstance(error, InvalidRequest) else None) or _FIELDS.get(error.code)
    errors: list[JsonObject] = [{"field": field, "message": error.message}] if field else []
    status = status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("unexpected_error", code=error.code, exc_info=error)
    wait = _wait(error) if isinstance(error, LimitReached) else None
    return problem(
        scope, status=status, code=error.code, detail=error.message, hint=error.hint, errors=errors, headers=wait
    )


def _wait(error: LimitReached) -> dict[str, str]:
    """When to ask again; and that until then nothing is left of that limit."""
    wait_s = math.ceil(error.retry_after_s)
    return {"Retry-After": str(wait_s), "RateLimit": f'"{error.code}";r=0;t={wait_s}'}


def answer_bug(scope: Scope) -> Response:
    """What is said when something went wrong that nobody foresaw."""
    return problem(
        scope,
        status=500,
        code="internal_error",
        detail="Something went wrong in the server.",
        hint="This is a bug: report it with the request id.",
    )


def answer_ended(scope: Scope, task: Task) -> Response:
    """The problem answer of a conversion that was waited for and did not complete."""
    if task.state is TaskState.CANCELLED:
        return problem(
            scope,
            status=410,
            code="cancelled",
            detail="The task was cancelled.",
            hint="Send it again.",
            task_id=task.id,
        )
    failure = task.failure
    if failure is None:
        return problem(
            scope, status=503, code=str(task.state), detail=f"The task ended as {task.state}.", task_id=task.id
        )
    return problem(
        scope,
        status=504 if task.state is TaskState.TIMEOUT else status_of_failure(failure),
        code=failure.code,
        detail=failure.message,
        hint=failure.hint or ("Raise remote_timeout." if task.state is TaskState.TIMEOUT else None),
        task_id=task.id,
    )


def install(app: FastAPI) -> None:
    """Answer every error of the application with a problem."""
    app.add_exception_handler(MoragError, _domain)
    app.add_exception_handler(TaskEnded, _ended)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _router)
    app.add_exception_handler(ClientDisconnect, _gone)


async def _domain(request: Request, error: Exception) -> Response:
    return answer_error(request.scope, error) if isinstance(error, MoragError) else answer_bug(request.scope)


async def _ended(request: Request, error: Exception) -> Response:
    return answer_ended(request.scope, error.task) if isinstance(error, TaskEnded) else answer_bug(request.scope)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _malformed(request: Request, error: Exception) -> Response:
    found: Sequence[_Found] = error.errors() if isinstance(error, RequestValidationError) else ()
    return answer_malformed(request.scope, found)


def answer_malformed(scope: Scope, found: Sequence[_Found]) -> Response:
    """The problem answer of a request whose fields are not what they must be."""
    errors: list[JsonObject] = [
        {"field": _field(each["loc"]), "message": each["msg"].removeprefix("Value error, ")} for each in found[:20]
    ]
    detail = "; ".join(f"{each['field']}: {each['message']}" for each in errors)
    hint = "`/openapi.json` says what each field may be."
    return problem(scope, status=422, code="malformed", detail=detail, hint=hint, errors=errors)


def _field(loc: tuple[int | str, ...]) -> str:
    """`body.items.0.url` → `items.0.url`; the body itself is `body`."""
    inner = loc[1:] if loc and loc[0] in {"body", "query", "path", "header"} else loc
    if not inner or (len(inner) == 1 and isinstance(inner[0], int)):
        return str(loc[0]) if loc else "body"
    return ".".join(str(part)[:100] for part in inner)


async def _router(request: Request, error: Exception) -> Response:
    return answer_http(request.scope, error) if isinstance(error, HTTPException) else answer_bug(request.scope)


def answer_http(scope: Scope, error: HTTPException) -> Response:
    """The problem answer of what the door or the router refuses."""
    status = error.status_code
    code = _ROUTER_CODES.get(status, "invalid_request" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "unavailable")
    return problem(scope, status=status, code=code, detail=str(error.detail), headers=dict(error.headers or {}))
