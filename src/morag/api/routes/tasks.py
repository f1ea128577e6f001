"""Tasks in the words of TaskManager."""

from fastapi import APIRouter

from morag.api import answers
from morag.api.access import Submitter
from morag.api.dependencies import CurrentSystem
from morag.api.schemas.tasks import Cancelled, LegacyStatus

router = APIRouter(prefix="/api/tasks", tags=["tasks"])


@router.get("/{task_id}/status")
async def task_status(task_id: str, caller: Submitter, system: CurrentSystem) -> LegacyStatus:
    """How a task stands: pending, retry, running, success, failure or cancelled."""
    task = await system.manager.get(caller.user_id, task_id)
    return answers.legacy(task, await answers.result_of(task, system.blobs))


@router.post("/{task_id}/cancel")
async def cancel_task(task_id: str, caller: Submitter, system: CurrentSystem) -> Cancelled:
    """Stop a task; one that has ended stays as it is."""
    task = await system.manager.cancel(caller.user_id, task_id)
    return Cancelled(task_id=task.id, status=answers.legacy_state(task))
