"""`morag keys`: act on the store of the keys itself, so that the first key needs no key. A server may run meanwhile.

The key alone goes to standard output; whatever is said about it goes beside it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from morag.bootstrap.users import opened_keys
from morag.cli.logs import settings_with_quiet_log
from morag.cli.output import answer, answer_json, say, table
from morag.control.auth import GRACE_S, APIKeyService, IssuedKey
from morag.domain.identity import Scope
from morag.domain.json import Json, JsonObject
from morag.domain.keys import ApiKey

T = TypeVar("T")


def create(
    user_id: str, *, scopes: Sequence[Scope], description: str, expires_days: float | None, as_json: bool
) -> int:
    """Make a key and print it, this once; the exit status. Raises InvalidRequest, StartupError."""
    made = _with_keys(
        lambda keys: keys.issue(user_id, description, scopes=frozenset(scopes), expires_days=expires_days)
    )
    _tell_new(made, as_json=as_json)
    return 0


def list_(*, user_id: str | None, as_json: bool) -> int:
    """All keys, or those of a user, without their text; the exit status. Raises StartupError."""
    found = _with_keys(lambda keys: keys.list_api_keys(user_id))
    if as_json:
        shown: list[Json] = [_json(key) for key in found]
        answer_json({"keys": shown})
        return 0
    head = ("KEY ID", "USER", "SCOPES", "STATUS", "CREATED", "EXPIRES", "LAST USED", "DESCRIPTION")
    answer("\n".join(table(head, map(_row, found))))
    return 0


def revoke(key_id: str, *, as_json: bool) -> int:
    """End a key; the exit status. Raises NotFound, StartupError."""
    key = _with_keys(lambda keys: keys.revoke_api_key(key_id))
    if as_json:
        answer_json(_json(key))
    else:
        answer(f"Key {key.id} of {key.user_id} is revoked; every server refuses it within a second.")
    return 0


def rotate(key_id: str, *, as_json: bool) -> int:
    """Make the key that replaces one and print it, this once; the exit status. Raises NotFound, Conflict."""
    made = _with_keys(lambda keys: keys.rotate_api_key(key_id))
    _tell_new(made, as_json=as_json)
    if not as_json:
        say(f"The old key works for {GRACE_S / 3600:.0f} hours more; `morag keys revoke {key_id}` ends it at once.")
    return 0


def _with_keys(act: Callable[[APIKeyService], Awaitable[T]]) -> T:
    settings = settings_with_quiet_log()

    async def run() -> T:
        async with opened_keys(settings) as keys:
            return await act(keys)

    return asyncio.run(run())


def _tell_new(made: IssuedKey, *, as_json: bool) -> None:
    if as_json:
        answer_json({**_json(made.key), "key": made.text})
        return
    key = made.key
    ends = f"expires {_when(key.expires_at)}" if key.expires_at else "does not expire"
    say(f"Key {key.id} for {key.user_id} ({_scopes(key)}) {ends}.")
    say("It is shown this once; clients read it from MORAG_API_KEY.")
    answer(made.text)


def _json(key: ApiKey) -> JsonObject:
    return {
        "key_id": key.id,
        "user_id": key.user_id,
        "description": key.description,
        "scopes": [*sorted(key.scopes)],
        "status": key.standing(time.time()),
        "created_at": _when(key.created_at),
        "expires_at": _when(key.expires_at),
        "revoked_at": _when(key.revoked_at),
        "last_used_at": _when(key.last_used_at),
    }


def _row(key: ApiKey) -> tuple[str, ...]:
    return (
        key.id,
        key.user_id,
        _scopes(key),
        key.standing(time.time()),
        _when(key.created_at) or "",
        _when(key.expires_at) or "never",
        _when(key.last_used_at) or "never",
        key.description,
    )


def _scopes(key: ApiKey) -> str:
    return " ".join(sorted(key.scopes))


def _when(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
