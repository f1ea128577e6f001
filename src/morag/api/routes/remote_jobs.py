"""Conversions asked for by name on a machine of the caller's: made, followed, cancelled, tried again.

A job is a `convert` task, so `/api/v1/status/{job_id}` tells all about it, and the conversion that an ingest asked for
(its `remote_job_id`) is one too.
"""

import asyncio
from collections.abc import Mapping

from fastapi import APIRouter

from morag.api import answers
from morag.api.access import Submitter
from morag.api.dependencies import CurrentSystem, IdempotencyKey
from morag.api.routes.uploads import uploaded
from morag.api.schemas.remote_jobs import (
    JobStatus,
    RemoteJobCancelled,
    RemoteJobCreated,
    RemoteJobCreationRequest,
    RemoteJobResult,
    RemoteJobRetried,
    RemoteJobStatus,
)
from morag.bootstrap.system import System
from morag.control.fleet.gateway import machine_of
from morag.control.tasks.intake import Request
from morag.domain.errors import NotFound
from morag.domain.task import Task, TaskState
from morag.pipeline.conversion.detect import check_source_type, detect
from morag.pipeline.conversion.registry import validate_options
from morag.pipeline.handlers import CONVERT

router = APIRouter(prefix="/api/v1/remote-jobs", tags=["remote jobs"])

_STATUS: Mapping[TaskState, JobStatus] = {
    TaskState.PENDING: "pending",
    TaskState.RUNNING: "processing",
    TaskState.WAITING: "processing",
    TaskState.COMPLETED: "completed",
    TaskState.FAILED: "failed",
    TaskState.TIMEOUT: "timeout",
    TaskState.CANCELLED: "cancelled",
}


@router.post("", include_in_schema=False)
@router.post("/")
async def create_remote_job(
    body: RemoteJobCreationRequest, caller: Submitter, system: CurrentSystem, key: IdempotencyKey
) -> RemoteJobCreated:
    """Have an uploaded file converted by a machine of yours; while none is there it waits."""
    source = await uploaded(system, caller.user_id, body.upload_id)
    path = system.blobs.path(source.sha256)
    found = await asyncio.to_thread(detect, path, filename=source.filename, media_type=source.media_type)
    detected = check_source_type(found, body.content_type)
    validate_options(detected.content_type, body.task_options)
    request = Request(
        source=source,
        content_type=detected.content_type,
        media_type=detected.media_type,
        options=body.task_options,
        timeout_s=body.timeout_seconds,
        idempotency_key=key,
    )
    task = await system.intake.remote_job(caller.user_id, request, belongs_to=body.ingestion_task_id)
    return RemoteJobCreated(job_id=task.id, status=_STATUS[task.state], created_at=answers.rfc3339(task.created_at))


@router.get("/{job_id}/status")
async def remote_job_status(job_id: str, caller: Submitter, system: CurrentSystem) -> RemoteJobStatus:
    """How a job stands, and what it delivered."""
    task = await _job(system, caller.user_id, job_id)
    told = answers.summary(task)
    attempts = await system.store.attempts(task.id)
    return RemoteJobStatus(
        job_id=task.id,
        status=_STATUS[task.state],
        worker_id=machine_of(attempts[-1].worker_id) if attempts else None,
        created_at=told.created_at,
        started_at=told.started_at,
        completed_at=told.completed_at,
        error_message=told.error.message if told.error else None,
        retry_count=max(len(attempts) - 1, 0),
        result=await _result(system, task),
    )


@router.post("/{job_id}/cancel")
async def cancel_remote_job(job_id: str, caller: Submitter, system: CurrentSystem) -> RemoteJobCancelled:
    """Stop a job; one that has ended stays as it is."""
    job = await _job(system, caller.user_id, job_id)
    task = await system.manager.cancel(caller.user_id, job.id)
    return RemoteJobCancelled(job_id=task.id, status=_STATUS[task.state])


@router.post("/{job_id}/retry")
async def retry_remote_job(
    job_id: str, caller: Submitter, system: CurrentSystem, key: IdempotencyKey
) -> RemoteJobRetried:
    """A new job for what an ended one was to do; 409 while that one goes on."""
    task = await system.intake.retry(await _job(system, caller.user_id, job_id), key)
    return RemoteJobRetried(
        job_id=task.id,
        status=_STATUS[task.state],
        created_at=answers.rfc3339(task.created_at),
        retry_of=str(task.retry_of),
    )


async def _job(system: System, user_id: str, job_id: str) -> Task:
    """The user's conversion. Raises NotFound, also for a task of another kind."""
    task = await system.manager.get(user_id, job_id)
    if task.name != CONVERT:
        raise NotFound(f"There is no task {job_id}.", hint="`GET /api/v1/status/` lists your tasks.")
    return task


async def _result(system: System, task: Task) -> RemoteJobResult | None:
    if task.state is not TaskState.COMPLETED:
        return None
    result = await answers.conversion(task, system.blobs)
    return RemoteJobResult.model_validate({name: result[name] for name in RemoteJobResult.model_fields})
