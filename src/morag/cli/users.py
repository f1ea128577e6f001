"""`morag users`: who uses how much, and who may; acts on the store itself, beside a server that runs.

A server reads limits anew within a second.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from morag.bootstrap.users import Users, opened_users
from morag.cli.logs import settings_with_quiet_log
from morag.cli.output import answer, answer_json, table
from morag.domain.errors import InvalidRequest
from morag.domain.identity import is_user_id
from morag.domain.json import Json, JsonObject
from morag.domain.limits import CAPS, Limits, Usage

T = TypeVar("T")

NONE = "none"
"""What takes one limit back."""
_HEAD = ("USER", "KEYS", "RUNNING", "QUEUED", "DOCUMENTS", "BYTES STORED", "REQUESTS/MIN", "UPLOAD BYTES", "WEIGHT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One user: live keys, what is used, what may be."""

    user_id: str
    keys: int
    usage: Usage
    limits: Limits


def list_(*, as_json: bool) -> int:
    """All users known by a key, a limit, a task or a document; the exit status. Raises StartupError."""
    rows = _with_users(_rows)
    if as_json:
        shown: list[Json] = [_json(row) for row in rows]
        answer_json({"users": shown})
    else:
        answer("\n".join(table(_HEAD, map(_cells, rows))))
    return 0


def limit(user_id: str, *, changes: Mapping[str, str], weight: float | None, as_json: bool) -> int:
    """Set some limits of a user, by name; the others stay as they are now. The exit status. Raises InvalidRequest."""
    _check_user(user_id)
    caps = {name: _cap(name, text) for name, text in changes.items()}

    async def act(users: Users) -> Limits:
        found = replace(await users.tasks.limits(user_id), **caps)
        found = found if weight is None else replace(found, weight=weight)
        await users.tasks.set_limits(user_id, found)
        return found

    _tell(user_id, _with_users(act), as_json=as_json)
    return 0


def unlimit(user_id: str, *, as_json: bool) -> int:
    """Take a user's own limits back, so that everybody's count; the exit status. Raises InvalidRequest."""
    _check_user(user_id)

    async def act(users: Users) -> Limits:
        await users.tasks.set_limits(user_id, None)
        return await users.tasks.limits(user_id)

    _tell(user_id, _with_users(act), as_json=as_json)
    return 0


async def _rows(users: Users) -> list[Row]:
    owners = [key.user_id for key in await users.keys.list_api_keys(None) if key.standing(time.time()) == "live"]
    known = sorted({*owners, *await users.tasks.users()})
    return [
        Row(
            user_id=user_id,
            keys=owners.count(user_id),
            usage=await users.tasks.usage(user_id),
            limits=await users.tasks.limits(user_id),
        )
        for user_id in known
    ]


def _with_users(act: Callable[[Users], Awaitable[T]]) -> T:
    settings = settings_with_quiet_log()

    async def run() -> T:
        async with opened_users(settings) as users:
            return await act(users)

    return asyncio.run(run())


def _check_user(user_id: str) -> None:
    if not is_user_id(user_id):
        raise InvalidRequest(
            f"{user_id[:70]!r} is no user id.",
            code="bad_user_id",
            hint="It is 1 to 64 of letters, digits, dot, underscore and hyphen; `anonymous` is who has no key.",
            field="user_id",
        )


def _cap(name: str, text: str) -> int | None:
    if text == NONE:
        return None
    if not (text.isascii() and text.isdecimal()):
        option = name.replace("_", "-")
        raise InvalidRequest(
            f"--{option} takes a whole number, or `{NONE}`.", hint=f"Such as --{option} 4.", field=name
        )
    return int(text)


def _tell(user_id: str, limits: Limits, *, as_json: bool) -> None:
    if as_json:
        answer_json({"user_id": user_id, "limits": _limits_json(limits)})
        return
    told = [f"{name} {cap}" for name in CAPS if (cap := getattr(limits, name)) is not None]
    answer(
        f"{user_id}: {', '.join(told) or 'no limits'}; weight {limits.weight:g}. Servers keep to it within a second."
    )


def _json(row: Row) -> JsonObject:
    usage: JsonObject = {
        "running": row.usage.running,
        "queued": row.usage.queued,
        "documents": row.usage.documents,
        "stored_bytes": row.usage.stored_bytes,
    }
    return {"user_id": row.user_id, "keys": row.keys, **usage, "limits": _limits_json(row.limits)}


def _limits_json(limits: Limits) -> JsonObject:
    return {**asdict(limits)}


def _cells(row: Row) -> tuple[str, ...]:
    usage, limits = row.usage, row.limits
    return (
        row.user_id,
        str(row.keys),
        _of(usage.running, limits.running),
        _of(usage.queued, limits.queued),
        str(usage.documents),
        _of(usage.stored_bytes, limits.stored_bytes),
        _shown(limits.requests_per_minute),
        _shown(limits.upload_bytes),
        f"{limits.weight:g}",
    )


def _of(used: int, cap: int | None) -> str:
    return str(used) if cap is None else f"{used} of {cap}"


def _shown(cap: int | None) -> str:
    return "any" if cap is None else str(cap)
