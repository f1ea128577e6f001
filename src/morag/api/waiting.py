"""Waiting for a conversion on behalf of a client: as long as it prefers, and no longer than it is there."""

import asyncio
import re
from collections.abc import Sequence

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from morag.api.access import decide
from morag.control.tasks.manager import TaskManager
from morag.domain.errors import Unavailable
from morag.domain.task import Task

DEFAULT_WAIT_S = 300.0
MAX_WAIT_S = 3600.0
ASK_AGAIN_S = 0.5
"""How often it is asked whether the key of who waits is still good."""

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;\s])", re.IGNORECASE)
_ASYNC = re.compile(r"(?:^|[,;\s])respond-async\s*(?=$|[,;\s])", re.IGNORECASE)


def preferred_wait_s(prefer: str | None) -> float:
    """Seconds a `Prefer` header (RFC 7240) asks to wait; `respond-async` alone is 0. What is malformed is ignored."""
    if found := _WAIT.search(prefer or ""):
        return min(float(found[1]), MAX_WAIT_S)
    return 0.0 if _ASYNC.search(prefer or "") else DEFAULT_WAIT_S


async def ended_or_late(
    request: Request, manager: TaskManager, tasks: Sequence[Task], *, timeout_s: float, is_abandoned_cancelled: bool
) -> list[Task]:
    """The records when all have ended, or as they stand after `timeout_s`.

    A client that hangs up can never ask for a result whose id it was not told, so its tasks are cancelled, unless it
    gave an idempotency key to come back with; the same goes for one whose key is revoked meanwhile. Raises
    ClientDisconnect, HTTPException 401.
    """
    waits = [asyncio.create_task(manager.wait(task.user_id, task.id, timeout_s=timeout_s)) for task in tasks]
    ended = asyncio.gather(*waits)
    gone, refused = asyncio.create_task(hung_up(request)), asyncio.create_task(_refused(request))
    try:
        await asyncio.wait([ended, gone, refused], return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            await decide(request)
            return ended.result()
        reason = refused.result() if refused.done() else ClientDisconnect()
    finally:
        ended.cancel()
        gone.cancel()
        refused.cancel()
    if is_abandoned_cancelled:
        for task in tasks:
            await manager.cancel(task.user_id, task.id)
    raise reason


async def hung_up(request: Request) -> None:
    """Return when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _refused(request: Request) -> HTTPException:
    """Return, with what would be answered, when who waits could not ask again."""
    while True:
        await asyncio.sleep(ASK_AGAIN_S)
        try:
            await decide(request)
        except HTTPException as refusal:
            return refusal
        except Unavailable:
            continue  # nobody can tell now; it is asked again before anything is handed out
