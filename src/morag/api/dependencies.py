"""What routes are handed beside who asks (`access.py`): the system behind them, limits, and the Idempotency-Key."""

from typing import Annotated, cast

from fastapi import Depends, Header, Request

from morag.api.access import caller
from morag.api.rates import Rates
from morag.bootstrap.system import System
from morag.domain.errors import InvalidRequest
from morag.domain.limits import Limits


def system(request: Request) -> System:
    """The opened system of the application."""
    return cast("System", request.app.state.system)


async def limits_of(request: Request, user_id: str) -> Limits:
    """What the user may use, as of the last second. Raises Unavailable."""
    return await cast("Rates", request.app.state.rates).limits(user_id, system(request).store.limits)


async def max_upload_bytes(request: Request) -> int:
    """The largest file that who asks may send. Raises HTTPException 401, Unavailable."""
    most = cast("int", request.app.state.settings.max_upload_bytes)
    own = (await limits_of(request, (await caller(request)).user_id)).upload_bytes
    return most if own is None else min(most, own)


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


MaxUploadBytes = Annotated[int, Depends(max_upload_bytes)]
CurrentSystem = Annotated[System, Depends(system)]
IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]
