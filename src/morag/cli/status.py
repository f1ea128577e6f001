"""`morag status` and `morag cancel`: what tasks do, by the server's word."""

import asyncio

from morag.cli.client import Client, client_of
from morag.cli.following import ended, error_of, watch
from morag.cli.output import answer, answer_json, answer_json_line, say, say_error, shown, table
from morag.cli.progress import board
from morag.domain.json import Json, JsonObject
from morag.settings import load


def run(task_id: str | None, *, limit: int, follow: bool, as_json: bool) -> int:
    """Tell of one task or list the latest; the exit status: 1 if a followed task did not complete."""
    if task_id is None:
        return asyncio.run(_list(limit, as_json=as_json))
    return asyncio.run(_follow(task_id, as_json=as_json) if follow else _tell(task_id, as_json=as_json))


def cancel(task_id: str, *, as_json: bool) -> int:
    """Cancel a task and say how it stands; the exit status."""
    answered = asyncio.run(_cancel(task_id))
    if as_json:
        answer_json(answered)
    elif answered.get("status") == "cancelled":
        answer(f"{task_id} is cancelled.")
    else:
        answer(f"{task_id} had ended before: {answered.get('status')}.")
    return 0


async def _cancel(task_id: str) -> JsonObject:
    async with client_of(load()) as client:
        await client.post(f"/api/tasks/{task_id}/cancel")
        status = await client.get(f"/api/v1/status/{task_id}")
    return {"task_id": task_id, "status": status.get("status")}


async def _list(limit: int, *, as_json: bool) -> int:
    async with client_of(load()) as client:
        found = await client.get("/api/v1/status/", {"limit": limit})
    if as_json:
        answer_json(found)
        return 0
    tasks = found.get("tasks")
    rows = [_row(task) for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
    if rows:
        answer("\n".join(table(("TASK", "NAME", "STATUS", "PROGRESS", "CREATED", "ABOUT"), rows)))
    else:
        say("There are no tasks.")
    return 0


def _row(task: JsonObject) -> tuple[str, ...]:
    created = str(task.get("created_at") or "").replace("T", " ")[:19]
    about = task.get("error") or _doing(task) or ""
    told = str(about.get("message") if isinstance(about, dict) else about)
    return (str(task.get("task_id")), str(task.get("name")), str(task.get("status")), _percent(task), created, told)


def _doing(task: JsonObject) -> Json:
    """What is being done; nothing once it has ended."""
    return None if task.get("completed_at") else task.get("message") or task.get("stage")


def _percent(task: JsonObject) -> str:
    progress = task.get("progress")
    return f"{progress:.0%}" if isinstance(progress, int | float) else ""


async def _tell(task_id: str, *, as_json: bool) -> int:
    async with client_of(load()) as client:
        status = await client.get(f"/api/v1/status/{task_id}")
    if as_json:
        answer_json(status)
    else:
        answer("\n".join(lines_of(status)))
    return 0


def lines_of(status: JsonObject) -> list[str]:
    """A task as a person reads it."""
    lines = [f"task      {status.get('task_id')} ({status.get('name')})"]
    lines.append(f"status    {status.get('status')} {_percent(status)}".rstrip())
    lines += _line("doing", _doing(status))
    queue = status.get("queue")
    if isinstance(queue, dict) and queue.get("position") is not None:
        lines += _line("queue", f"{queue.get('position')} before it in {queue.get('lane')}")
    for name in ("created", "started", "completed"):
        lines += _line(name, status.get(f"{name}_at"))
    attempts = status.get("attempts")
    lines += [_attempt(each) for each in attempts if isinstance(each, dict)] if isinstance(attempts, list) else []
    result = status.get("result")
    if isinstance(result, dict):
        lines += _line("document", result.get("document_id"))
        lines += _line("chunks", result.get("chunks_stored"))
    return lines + _why(status)


def _line(name: str, value: object) -> list[str]:
    return [f"{name:<10}{shown(str(value))}"] if value not in {None, ""} else []


def _attempt(attempt: JsonObject) -> str:
    decision = attempt.get("decision")
    reason = f": {decision.get('reason')}" if isinstance(decision, dict) and decision.get("reason") else ""
    told = f"{attempt.get('n')} on {attempt.get('worker')}, {attempt.get('outcome') or 'running'}{reason}"
    return f"attempt   {shown(told)}"


def _why(status: JsonObject) -> list[str]:
    if not status.get("error"):
        return []
    error = error_of(status)
    return [*_line("error", f"{error.message} ({error.code})"), *_line("hint", error.hint)]


async def _follow(task_id: str, *, as_json: bool) -> int:
    async with client_of(load()) as client:
        if as_json:
            async for event in client.events(task_id):
                answer_json_line(event)
        else:
            await _watch(client, task_id)
        end = ended(await client.get(f"/api/v1/status/{task_id}"))
    if end.error and not as_json:
        say_error(end.error)
    return 1 if end.error else 0


async def _watch(client: Client, task_id: str) -> None:
    with board() as lines:
        line = lines.line(task_id)
        await watch(client, task_id, line)
        status = await client.get(f"/api/v1/status/{task_id}")
        (line.done if status.get("status") == "completed" else line.failed)(str(status.get("status")))
