"""Server-sent events of a task's log: resumable, kept alive, ended by the terminal event."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from fastapi.responses import StreamingResponse

from morag.api import answers, task_log
from morag.api.task_log import Line
from morag.control.tasks.manager import TaskManager
from morag.domain.errors import NotFound

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Neither caches nor proxies may hold lines back."""
_LAST_ID = 2**53
"""As far as JSON's numbers are exact."""


async def task_events(
    manager: TaskManager,
    user_id: str,
    task_id: str,
    *,
    last_event_id: str | None,
    is_welcome: Callable[[], Awaitable[bool]],
) -> StreamingResponse:
    """The log from the line after `last_event_id` on, as it grows and while the listener is welcome. Raises NotFound.

    Whether they are is asked before each line and at each pause, which is at most a second long.
    """
    await manager.get(user_id, task_id)
    after = int(last_event_id) if last_event_id and last_event_id.isascii() and last_event_id.isdecimal() else 0
    log = task_log.growing(manager, user_id, task_id, after=min(after, _LAST_ID))
    lines = _lines(log, is_welcome)
    return StreamingResponse(lines, media_type="text/event-stream", headers=HEADERS)


async def _lines(log: AsyncGenerator[Line | None], is_welcome: Callable[[], Awaitable[bool]]) -> AsyncGenerator[str]:
    yield "retry: 1000\n\n"
    try:
        async with aclosing(log):
            async for line in log:
                if not await is_welcome():
                    return
                if line is None:
                    yield ": still here\n\n"
                else:
                    shown = answers.event(line)
                    yield f"id: {shown.id}\nevent: {shown.event}\ndata: {shown.model_dump_json()}\n\n"
    except NotFound:
        return  # its record was retired while somebody looked on
