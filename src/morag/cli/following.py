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
    await watch(client, task_id, line)
    return ended(await client.get(f"/api/v1/status/{task_id}"))


async def watch(client: Client, task_id: str, line: Line) -> None:
    """Show the events of the task until it ends; those of the conversion it asked for are among them."""
    async for event in client.events(task_id):
        _show(event, line)


def _show(event: JsonObject, line: Line) -> None:
    data = event.get("data")
    fraction = data.get("fraction") if isinstance(data, dict) else None
    if isinstance(data, dict) and isinstance(fraction, int | float):
        line.at(float(fraction), str(data.get("stage") or ""), str(data.get("message") or ""))


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
