"""Follows one task at the server, by its event stream, to its end.

An ingest waits for a conversion, which is a task of its own with a log of its own: meanwhile that one is followed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from morag.cli.client import Client
from morag.cli.progress import Line
from morag.domain.errors import MoragError
from morag.domain.json import JsonObject

CONVERTED = 0.8
"""Where the line stands when the conversion is done; indexing takes it from there. Of the samples it takes most."""

Show = Callable[[float, str, str], None]
"""Called with (fraction 0 to 1, stage, message)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a task ended."""

    status: str
    result: JsonObject
    error: MoragError | None
    """Why, unless it completed."""


async def follow(client: Client, task_id: str, line: Line) -> Ended:
    """Show the task's progress on the line until it ends. Raises ServerError, Unavailable."""
    await watch(client, task_id, line)
    return ended(await client.get(f"/api/v1/status/{task_id}"))


async def watch(client: Client, task_id: str, line: Line) -> None:
    """Show the events of the task, and of the conversion it asked for, until it ends."""
    show = line.at
    async for event in client.events(task_id):
        _show(event, show)
        if _is_waiting(event):
            await _watch_conversion(client, task_id, part(line, 0.0, CONVERTED))
            show = part(line, CONVERTED, 1.0)


async def _watch_conversion(client: Client, task_id: str, show: Show) -> None:
    child = (await client.get(f"/api/v1/status/{task_id}")).get("remote_job_id")
    if child:
        async for event in client.events(str(child)):
            _show(event, show)


def part(line: Line, start: float, end: float) -> Show:
    """Shows the whole of something as a stretch of the line."""

    def show(fraction: float, stage: str, message: str) -> None:
        line.at(start + (end - start) * fraction, stage, message)

    return show


def _show(event: JsonObject, show: Show) -> None:
    data = event.get("data")
    fraction = data.get("fraction") if isinstance(data, dict) else None
    if isinstance(data, dict) and isinstance(fraction, int | float):
        show(float(fraction), str(data.get("stage") or ""), str(data.get("message") or ""))


def _is_waiting(event: JsonObject) -> bool:
    data = event.get("data")
    return isinstance(data, dict) and data.get("state") == "waiting"


def ended(status: JsonObject) -> Ended:
    """The end that a status answer tells of."""
    result = status.get("result")
    state = str(status.get("status"))
    return Ended(
        status=state,
        result=result if isinstance(result, dict) else {},
        error=None if state == "completed" else error_of(status),
    )


def error_of(status: JsonObject) -> MoragError:
    """Why a task is not completed."""
    state, told = str(status.get("status")), status.get("error")
    if not isinstance(told, dict):
        return MoragError(str(told or f"The task is {state}."), code=state)
    hint = told.get("hint")
    return MoragError(
        str(told.get("message") or f"The task is {state}."),
        code=str(told.get("code") or state),
        hint=str(hint) if hint else None,
    )
