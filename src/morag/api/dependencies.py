"""What routes are handed beside who asks (`access.py`): the system behind them, and the Idempotency-Key."""

from typing import Annotated, cast

from fastapi import Depends, Header, Request

from morag.bootstrap import System
from morag.domain.errors import InvalidRequest


def system(request: Request) -> System:
    """The opened system of the application."""
    return cast("System", request.app.state.system)


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


CurrentSystem = Annotated[System, Depends(system)]
IdempotencyKey = Annotated[str | None, Depends(idempotency_key)]
