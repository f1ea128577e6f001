"""A task's log with the progress of the conversion it waits for, merged into one order.

A conversion that a URL or an ingest asks for is a task of its own. All it does lies between two lines of its parent's
log: `waiting`, and what its end brings about in the same transaction. So the order is fixed, and a line has an id that
stays: SPAN for each line of the task's own, and between two of those the place in the conversion's log.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

from morag.control.fleet.gateway import is_machine
from morag.control.tasks.manager import TaskManager
from morag.domain.errors import NotFound
from morag.domain.history import Event
from morag.domain.identity import LOCAL_LANE
from morag.domain.json import JsonObject
from morag.domain.task import Progress, Task, TaskState
from morag.pipeline.handlers import conversion_share

SPAN = 1_000_000
"""More lines than a conversion can write: four a second for its longest running time make 86,400."""
CREATING, AWAITING = "creating_remote_job", "waiting_for_remote_completion"
"""Stages while the conversion stands in a lane of the user's, and while a machine of theirs runs it."""
STANDS = "It waits for a machine of yours."


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line and its id in the merged log; ids grow."""

    id: int
    event: Event


def progress_of(conversion: Task) -> Progress | None:
    """How far a conversion that has not ended is, as who waits for it is told; None: nothing is known yet.

    On a machine of the user's, what it does at the moment is the message: the stage says who is waited for.
    """
    if conversion.lane == LOCAL_LANE:
        return conversion.progress
    if conversion.state is not TaskState.RUNNING:
        return Progress(fraction=0.0, stage=CREATING, message=STANDS)
    known = conversion.progress or Progress(fraction=0.0, stage="")
    return Progress(fraction=known.fraction, stage=AWAITING, message=known.message or known.stage)


async def whole(manager: TaskManager, user_id: str, task_id: str) -> list[Line]:
    """The log so far. Raises NotFound."""
    task = await manager.get(user_id, task_id)
    lines: list[Line] = []
    for event in await manager.history(user_id, task_id):
        lines.append(Line(id=event.seq * SPAN, event=event))
        for child_id in _children(event):
            retold = _Retold(task=task, waiting=event)
            lines += [line for each in await _past(manager, user_id, child_id) if (line := retold.line(each))]
    return lines


async def growing(manager: TaskManager, user_id: str, task_id: str, *, after: int) -> AsyncGenerator[Line | None]:
    """The log after an id as it grows, None at each pause; ends after the terminal event. Raises NotFound."""
    task = await manager.get(user_id, task_id)
    own = after // SPAN
    async with aclosing(manager.follow(user_id, task_id, after=max(own - 1, 0))) as log:
        async for event in log:
            if event is None:
                yield None
                continue
            if event.seq > own:
                yield Line(id=event.seq * SPAN, event=event)
            for child_id in _children(event):
                retold = _Retold(task=task, waiting=event)
                async with aclosing(_child(manager, task, child_id)) as lines:
                    async for each in lines:
                        line = each and retold.line(each)
                        if each is None or (line and line.id > after):
                            yield line


async def _child(manager: TaskManager, parent: Task, child_id: str) -> AsyncGenerator[Event | None]:
    """The child's log until it ends, or until nobody waits for it any more."""
    try:
        async with aclosing(manager.follow(parent.user_id, child_id)) as log:
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


@dataclass(slots=True, kw_only=True)
class _Retold:
    """A conversion's log, read in order, as progress of the task that waits for it; the rest is its own business."""

    task: Task
    waiting: Event
    is_remote: bool = False
    """Whether the conversion stands in a lane of the user's, or a machine of theirs runs it, so far in the log."""

    def line(self, event: Event) -> Line | None:
        """What a line of the conversion's tells of the task."""
        self.is_remote = _is_remote(event, before=self.is_remote)
        progress = _remote_progress(event) if self.is_remote else event.data if event.kind == "progress" else None
        fraction = progress.get("fraction") if progress else None
        if not progress or not isinstance(fraction, int | float) or event.seq >= SPAN:
            return None
        start, end = conversion_share(self.task.name)
        data: JsonObject = {**progress, "fraction": round(start + (end - start) * fraction, 4)}
        return Line(id=self.waiting.seq * SPAN + event.seq, event=replace(event, kind="progress", data=data))


def _is_remote(event: Event, *, before: bool) -> bool:
    if event.kind != "state":
        return before
    if event.data.get("state") == TaskState.RUNNING:
        return is_machine(str(event.data.get("worker_id")))
    lane = event.data.get("lane")
    return before if lane is None else lane != LOCAL_LANE


def _remote_progress(event: Event) -> JsonObject | None:
    """The same as `progress_of` tells, from a line of the log."""
    stage, message = event.data.get("stage"), event.data.get("message")
    if event.kind == "progress":
        return {**event.data, "stage": AWAITING, "message": message or stage}
    match event.data.get("state"):
        case TaskState.PENDING:
            return {"fraction": 0.0, "stage": CREATING, "message": STANDS}
        case TaskState.RUNNING:
            return {"fraction": 0.0, "stage": AWAITING, "message": ""}
        case _:
            return None
