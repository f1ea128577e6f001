"""A task's log with the progress of the conversion it waits for, merged into one order.

A conversion that a URL or an ingest asks for is a task of its own. All it does lies between two lines of its parent's
log: `waiting`, and what its end brings about in the same transaction. So the order is fixed, and a line has an id that
stays: SPAN for each line of the task's own, and between two of those the place in the conversion's log.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from morag.control.tasks.manager import TaskManager
from morag.domain.errors import NotFound
from morag.domain.history import Event
from morag.domain.task import Task, TaskState
from morag.pipeline.handlers import conversion_share

SPAN = 1_000_000
"""More lines than a conversion can write: four a second for its longest running time make 86,400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line and its id in the merged log; ids grow."""

    id: int
    event: Event


async def whole(manager: TaskManager, user_id: str, task_id: str) -> list[Line]:
    """The log so far. Raises NotFound."""
    task = await manager.get(user_id, task_id)
    lines: list[Line] = []
    for event in await manager.history(user_id, task_id):
        lines.append(Line(id=event.seq * SPAN, event=event))
        for child_id in _children(event):
            lines += [line for each in await _past(manager, user_id, child_id) if (line := _told(task, event, each))]
    return lines


async def growing(manager: TaskManager, user_id: str, task_id: str, *, after: int) -> AsyncGenerator[Line | None]:
    """The log after an id as it grows, None at each pause; ends after the terminal event. Raises NotFound."""
    task = await manager.get(user_id, task_id)
    own, inner = divmod(after, SPAN)
    async with aclosing(manager.follow(user_id, task_id, after=max(own - 1, 0))) as log:
        async for event in log:
            if event is None:
                yield None
                continue
            if event.seq > own:
                yield Line(id=event.seq * SPAN, event=event)
            for child_id in _children(event):
                async with aclosing(_child(manager, task, child_id, inner if event.seq == own else 0)) as lines:
                    async for each in lines:
                        line = each and _told(task, event, each)
                        if line or each is None:
                            yield line


async def _child(manager: TaskManager, parent: Task, child_id: str, after: int) -> AsyncGenerator[Event | None]:
    """The child's log until it ends, or until nobody waits for it any more."""
    try:
        async with aclosing(manager.follow(parent.user_id, child_id, after=after)) as log:
            async for event in log:
                yield event
                if event is None and (await manager.get(parent.user_id, parent.id)).state.is_terminal:
                    return
    except NotFound:
        return  # its record was retired, and the parent's with it


async def _past(manager: TaskManager, user_id: str, task_id: str) -> list[Event]:
    try:
        return await manager.history(user_id, task_id)
    except NotFound:
        return []


def _children(event: Event) -> list[str]:
    """The tasks that are waited for from this line on."""
    children = event.data.get("children") if event.data.get("state") == TaskState.WAITING else None
    return [str(each) for each in children] if isinstance(children, list) else []


def _told(task: Task, waiting: Event, event: Event) -> Line | None:
    """Progress of the conversion as progress of the task; its other lines are its own business."""
    fraction = event.data.get("fraction")
    if event.kind != "progress" or not isinstance(fraction, int | float) or event.seq >= SPAN:
        return None
    start, end = conversion_share(task.name)
    data = {**event.data, "fraction": round(start + (end - start) * fraction, 4)}
    return Line(id=waiting.seq * SPAN + event.seq, event=replace(event, data=data))
