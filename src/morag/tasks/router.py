"""The routes of an application's tasks, for its own FastAPI application. FastAPI is imported here, and nowhere else.

GET  /api/tasks/{task_id}/status     POST /api/tasks/{task_id}/cancel     POST /api/tasks/{trigger}
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from fastapi import APIRouter, HTTPException
from fastapi.params import Depends

from morag.control.tasks.results import TaskResult, as_json
from morag.domain.json import JsonObject


class Tasks(Protocol):
    """The part of TaskManager that routes use."""

    @property
    def get_result(self) -> Callable[[str], Awaitable[TaskResult | None]]:
        """How a task stands."""
        ...

    @property
    def cancel(self) -> Callable[[str], Awaitable[bool]]:
        """Stop a task."""
        ...

    async def trigger(self, trigger: str) -> str | None:
        """Submit the task of that trigger: its id, None if there is none."""
        ...


def router_of(tasks: Tasks, dependencies: Sequence[Any]) -> APIRouter:
    """The routes. Each call passes `dependencies` (`Depends(...)`) first; without any, anybody may call."""
    router = APIRouter(prefix="/api/tasks", tags=["tasks"], dependencies=_checked(dependencies))

    @router.get("/{task_id}/status")
    async def task_status(task_id: str) -> dict[str, Any]:
        """How a task stands: pending, retry, running, success, failure or cancelled."""
        return _or_404(await tasks.get_result(task_id))

    @router.post("/{task_id}/cancel")
    async def cancel_task(task_id: str) -> dict[str, Any]:
        """Stop a task; `cancelled` is true only if it will not complete."""
        is_cancelled = await tasks.cancel(task_id)
        return {**_or_404(await tasks.get_result(task_id)), "cancelled": is_cancelled}

    @router.post("/{trigger:path}", status_code=202)
    async def trigger_task(trigger: str) -> dict[str, Any]:
        """Start the task registered with this trigger."""
        task_id = await tasks.trigger(trigger)
        if task_id is None:
            raise HTTPException(404, f"There is no task with the trigger {trigger}.")
        return {"task_id": task_id, "status": "pending"}

    # fmt: skip - the order above matters: a trigger may be any path, and only what the others leave
    return router


def _or_404(result: TaskResult | None) -> JsonObject:
    if result is None:
        raise HTTPException(404, "There is no such task.")
    return as_json(result)


def _checked(dependencies: Sequence[Any]) -> list[Depends]:
    for each in dependencies:
        if not isinstance(each, Depends):
            raise TypeError(f"{each!r} is no dependency; write Depends({getattr(each, '__name__', '...')}).")
    return list(dependencies)
