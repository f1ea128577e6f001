"""Where a list goes on: the last id, wrapped so that clients do not build on what it is."""

import base64
import binascii

from morag.domain.errors import InvalidRequest


def encode(last_id: str) -> str:
    """The cursor behind an id."""
    return base64.urlsafe_b64encode(last_id.encode()).decode().rstrip("=")


def decode(cursor: str | None) -> str | None:
    """The id of a cursor. Raises InvalidRequest for one that was not given out here."""
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidRequest("This cursor is not one of ours.", hint="Take `next_cursor`.", field="cursor") from None
