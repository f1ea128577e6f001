"""Who asks, and which lanes are theirs. Every record below carries a user id."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

ANONYMOUS = "anonymous"
"""The user of requests without a key, where those are allowed; reserved."""

LOCAL_LANE = "celery"
"""The lane the server's own workers serve, in process or by Celery."""

_USER_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Scope(StrEnum):
    """What a caller may do."""

    SUBMIT = "submit"
    WORKER = "worker"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who is on the other side of a request."""

    user_id: str
    scopes: frozenset[Scope]
    key_id: str | None = None
    """The key that says so; None for who has none."""


def is_user_id(text: str) -> bool:
    """Whether `text` can name a user: 1 to 64 of letters, digits, dot, underscore, hyphen."""
    return _USER_ID.fullmatch(text) is not None


def user_lane(user_id: str, kind: Literal["gpu", "cpu"]) -> str:
    """The lane that only this user's own machines serve."""
    return f"{kind}-tasks-{user_id}"
