"""Follows one task at the server, by its event stream, to its end."""

from dataclasses import dataclass

from morag.cli.client import Client
from morag.cli.progress import Line
from morag.domain.errors import MoragError
from morag.domain.json import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a task ended."""

    status: str
    result: JsonObject
    error: MoragError | None
    """Why, unless it completed."""


async def follow(client: Client, task_id: str, line: Line) -> Ended:
    """Show the task's progress on the line until it ends. Raises ServerError, Unavailable."""
    async for event in client.events(task_id):
        show(event, line)
    return ended(await client.get(f"/api/v1/status/{task_id}"))


def show(event: JsonObject, line: Line) -> None:
    """Put an event of the log on a line."""
    data = event.get("data")
    told = data if isinstance(data, dict) else event
    fraction = told.get("fraction", told.get("progress"))
    if isinstance(fraction, int | float):
        line.at(float(fraction), str(told.get("stage") or ""), str(told.get("message") or ""))


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
