"""Submits conversions, waits for them, and answers: the whole of `/process/*` behind its routes."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request as HttpRequest
from fastapi import Response
from fastapi.responses import JSONResponse

from morag.api import answers
from morag.api.errors import TaskEnded
from morag.api.schemas.conversions import Accepted, ItemResult
from morag.api.schemas.submissions import UrlConversion
from morag.api.submissions import from_url, item_keys
from morag.api.waiting import ended_or_late
from morag.bootstrap.system import System
from morag.control.tasks.intake import Request
from morag.domain.errors import ConversionError, FetchRefused, InvalidRequest, MoragError
from morag.domain.json import Json, JsonObject
from morag.domain.task import Task, TaskState

_MARKDOWN = "text/markdown"
_REFUSES = re.compile(r"q=0(\.0*)?")


@dataclass(frozen=True, slots=True)
class Asked:
    """Who waits for a conversion, and how."""

    http: HttpRequest
    system: System
    user_id: str
    wait_s: float
    key: str | None


async def answer(asked: Asked, request: Request) -> Response:
    """200 with the result, or 202 if it takes longer than the client waits. Raises TaskEnded for one that failed."""
    tasks = await asked.system.intake.process(asked.user_id, [request])
    (task,) = await _wait(asked, tasks)
    if not task.state.is_terminal:
        return accepted(task)
    if task.state is not TaskState.COMPLETED:
        raise TaskEnded(task)
    result = await answers.conversion(task, asked.system.blobs)
    if prefers_markdown(asked.http.headers.get("accept", "")):
        return Response(str(result["content"]), media_type="text/markdown")
    return await _as_json(result, 200)


async def answer_batch(asked: Asked, items: Sequence[UrlConversion]) -> Response:
    """Each item's own result in order: 200 if all have ended, else 202."""
    requests = [
        _checked(asked.system, each, key) for each, key in zip(items, item_keys(asked.key, len(items)), strict=True)
    ]
    tasks = await asked.system.intake.process(
        asked.user_id, [request for request in requests if isinstance(request, Request)]
    )
    ended = await _wait(asked, tasks)
    left = iter(ended)
    results: list[Json] = []
    for request in requests:
        found = (
            await answers.item(next(left), asked.system.blobs) if isinstance(request, Request) else _refused(request)
        )
        results.append(found)
    is_done = all(task.state.is_terminal for task in ended)
    return await _as_json({"results": results}, 200 if is_done else 202)


def prefers_markdown(accept: str) -> bool:
    """Whether an Accept header names Markdown, and does not name it to refuse it."""
    ranges = (part.split(";") for part in accept.lower().split(","))
    return any(
        name.strip() == _MARKDOWN and not any(_REFUSES.fullmatch(parameter.strip()) for parameter in parameters)
        for name, *parameters in ranges
    )


def accepted(task: Task) -> JSONResponse:
    """A task that goes on, and where to follow it."""
    body = Accepted(task_id=task.id, status=task.state).model_dump(mode="json")
    return JSONResponse(body, 202, {"Location": f"/api/v1/status/{task.id}"})


async def _wait(asked: Asked, tasks: Sequence[Task]) -> list[Task]:
    return await ended_or_late(
        asked.http, asked.system.manager, tasks, timeout_s=asked.wait_s, is_abandoned_cancelled=asked.key is None
    )


def _checked(system: System, each: UrlConversion, key: str | None) -> Request | MoragError:
    """The request of an item, or why it cannot be."""
    try:
        return from_url(system, each.url, each, key)
    except (InvalidRequest, FetchRefused, ConversionError) as refusal:
        return refusal


def _refused(refusal: MoragError) -> JsonObject:
    refused = ItemResult(success=False, error_message=refusal.message, code=refusal.code, hint=refusal.hint)
    return refused.model_dump(mode="json", exclude_none=True)


async def _as_json(body: JsonObject, status: int) -> Response:
    """Long documents are encoded in a thread, so that others are not kept waiting."""
    raw = await asyncio.to_thread(lambda: json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())
    return Response(raw, status, media_type="application/json")
