"""Keys as answers."""

import time

from fastapi import Response

from morag.api.answers import rfc3339
from morag.api.schemas.keys import KeyIssued, KeyShown
from morag.control.auth import IssuedKey
from morag.domain.keys import ApiKey


def issued(made: IssuedKey, response: Response) -> KeyIssued:
    """A new key with its text, which nothing on the way may keep."""
    response.headers["Cache-Control"] = "no-store"
    return KeyIssued(**shown(made.key).model_dump(), key=made.text)


def shown(key: ApiKey) -> KeyShown:
    """A key without its text."""
    return KeyShown(
        key_id=key.id,
        user_id=key.user_id,
        description=key.description,
        scopes=sorted(key.scopes),
        status=key.standing(time.time()),
        created_at=rfc3339(key.created_at),
        expires_at=_maybe(key.expires_at),
        revoked_at=_maybe(key.revoked_at),
        last_used_at=_maybe(key.last_used_at),
    )


def _maybe(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)
