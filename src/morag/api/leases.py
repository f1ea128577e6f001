"""What users' machines are told of the leases they were granted, and how their results are read."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from morag.api.waiting import hung_up
from morag.control.fleet.gateway import attempt_id
from morag.domain.content import ContentType
from morag.domain.task import Answer, Lease
from morag.pipeline.handlers import source_of
from morag.protocol import LeaseMessage, SourceMessage

T = TypeVar("T")

ANSWERS: Mapping[Answer, Literal["ok", "cancel", "lost"]] = {
    Answer.OK: "ok",
    Answer.CANCELLED: "cancel",
    Answer.LOST: "lost",
    Answer.DUPLICATE: "lost",
}


def message(lease: Lease, timeout_s: Callable[[ContentType], float]) -> LeaseMessage:
    """A granted conversion as the wire tells it."""
    task = lease.task
    content_type = ContentType(str(task.args["content_type"]))
    given, url = task.args.get("source"), task.args.get("url")
    source = source_of(given) if isinstance(given, dict) else None
    return LeaseMessage(
        attempt_id=attempt_id(task.id, lease.fence),
        task_id=task.id,
        fence=lease.fence,
        name=task.name,
        content_type=content_type,
        media_type=str(task.args.get("media_type")),
        options=task.options,
        source=SourceMessage(size=source.size_bytes, sha256=source.sha256, filename=source.filename)
        if source
        else None,
        url=url if isinstance(url, str) else None,
        timeout_s=task.timeout_s or timeout_s(content_type),
        lease_s=lease.lease_s,
    )


async def unless_gone(request: Request, asked: Awaitable[T]) -> T:
    """What was asked for, unless the client hangs up first. Raises ClientDisconnect then."""
    waiting, left = asyncio.ensure_future(asked), asyncio.create_task(hung_up(request))
    try:
        await asyncio.wait({waiting, left}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
    finally:
        waiting.cancel()
        left.cancel()
    raise ClientDisconnect
