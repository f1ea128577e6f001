"""Follow tasks: list, state, log, live events, queues."""

import time
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from morag.api import answers, cursors, fleet, streams, task_log
from morag.api.access import Submitter, SubmitterOrAdministrator, is_still_welcome
from morag.api.dependencies import CurrentSystem
from morag.api.schemas.tasks import History, LaneShown, Queues, TaskPage, TaskShown
from morag.api.schemas.workers import WorkersStatus
from morag.domain.identity import LOCAL_LANE, Scope
from morag.domain.task import TaskState

router = APIRouter(prefix="/api/v1/status", tags=["status"])

_LINE = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "For `Last-Event-ID`."},
        "event": {"type": "string"},
        "data": {"type": "string", "contentMediaType": "application/json", "description": "A line of `/history`."},
        "retry": {"type": "integer", "description": "Milliseconds to wait before coming back."},
    },
}
"""A server-sent event as it is described."""


@router.get("", include_in_schema=False)
@router.get("/")
async def list_tasks(
    caller: Submitter,
    system: CurrentSystem,
    state: Annotated[list[TaskState] | None, Query(description="Only those; may stand more than once.")] = None,
    name: Annotated[str | None, Query(max_length=100, examples=["ingest"])] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
) -> TaskPage:
    """Your tasks, newest first."""
    found = await system.manager.find(
        caller.user_id, states=state or (), name=name, limit=limit, before=cursors.decode(cursor)
    )
    more = cursors.encode(found[-1].id) if len(found) == limit else None
    return TaskPage(tasks=[answers.summary(task) for task in found], next_cursor=more)


@router.get("/stats/queues")
async def queues(caller: SubmitterOrAdministrator, system: CurrentSystem) -> Queues:
    """What of yours waits and runs, by lane; for an admin, of everybody's."""
    user_id = None if Scope.ADMIN in caller.scopes else caller.user_id
    lanes = {LOCAL_LANE: fleet.EMPTY, **await system.store.lanes(user_id=user_id)}
    return Queues(
        queues={
            lane: LaneShown(length=load.length, running=load.running, oldest_wait_s=load.oldest_wait_s)
            for lane, load in lanes.items()
        }
    )


@router.get("/workers")
async def workers(caller: SubmitterOrAdministrator, system: CurrentSystem) -> WorkersStatus:
    """Who runs your tasks, and what stands in your lanes; for an admin, everybody's."""
    user_id = None if Scope.ADMIN in caller.scopes else caller.user_id
    loads = await system.store.lanes(user_id=user_id)
    running = loads.get(LOCAL_LANE, fleet.EMPTY).running
    local = {system.worker_id: fleet.local_worker(running=running, slots=system.executor.slots)}
    return fleet.status(local, system.registry.of_user(user_id), loads, user_id=user_id, now=time.time())


@router.get("/{task_id}")
async def task_status(task_id: str, caller: Submitter, system: CurrentSystem) -> TaskShown:
    """How a task stands, all its attempts and decisions, and its result once it has one."""
    story = await system.manager.story(caller.user_id, task_id)
    return answers.shown(story, await answers.result_of(story.task, system.blobs))


@router.get("/{task_id}/history")
async def task_history(task_id: str, caller: Submitter, system: CurrentSystem) -> History:
    """A task's log so far, with the progress of the conversion it asked for."""
    log = await task_log.whole(system.manager, caller.user_id, task_id)
    return History(task_id=task_id, events=[answers.event(line) for line in log])


@router.get(
    "/{task_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"itemSchema": _LINE}}, "description": "The log."}},
)
async def task_events(
    request: Request,
    task_id: str,
    caller: Submitter,
    system: CurrentSystem,
    last_event_id: Annotated[str | None, Header(description="Go on after this `id`.")] = None,
) -> StreamingResponse:
    """A task's log as server-sent events, until it ends; each `data` is a line of `/history`."""
    return await streams.task_events(
        system.manager,
        caller.user_id,
        task_id,
        last_event_id=last_event_id,
        is_welcome=partial(is_still_welcome, request),
    )
