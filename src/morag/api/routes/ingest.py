"""Convert, chunk, embed and store, so that search finds it."""

from fastapi import APIRouter, Request, Response

from morag.api import uploads
from morag.api.access import Submitter
from morag.api.answers import accepted_ingest
from morag.api.dependencies import CurrentSystem, IdempotencyKey, MaxUploadBytes
from morag.api.description import form_body
from morag.api.schemas.conversions import BatchAccepted, IngestAccepted
from morag.api.schemas.submissions import Ingestion, IngestionBatch, UrlIngestion
from morag.api.schemas.tasks import Cancelled
from morag.api.submissions import fields_of, from_file, from_url, item_keys, to_ingest
from morag.control.tasks.intake import new_id

router = APIRouter(prefix="/api/v1/ingest", tags=["ingest"])


@router.post("/file", status_code=202, openapi_extra=form_body(Ingestion))
async def ingest_file(
    request: Request,
    response: Response,
    caller: Submitter,
    system: CurrentSystem,
    key: IdempotencyKey,
    max_bytes: MaxUploadBytes,
) -> IngestAccepted:
    """Ingest an uploaded file."""
    form = await uploads.receive_form(request, system.blobs, max_bytes=max_bytes)
    fields = fields_of(form, Ingestion)
    asked = to_ingest(await from_file(system, form.file, fields, key), fields)
    (task,) = await system.intake.ingest(caller.user_id, [asked])
    return accepted_ingest(task, response)


@router.post("/url", status_code=202)
async def ingest_url(
    body: UrlIngestion, response: Response, caller: Submitter, system: CurrentSystem, key: IdempotencyKey
) -> IngestAccepted:
    """Ingest what a URL leads to."""
    asked = to_ingest(from_url(system, body.url, body, key), body)
    (task,) = await system.intake.ingest(caller.user_id, [asked])
    return accepted_ingest(task, response)


@router.post("/batch", status_code=202)
async def ingest_batch(
    body: IngestionBatch, caller: Submitter, system: CurrentSystem, key: IdempotencyKey
) -> BatchAccepted:
    """Ingest several URLs: all are taken, or none."""
    batch_id = new_id()
    asked = [
        to_ingest(from_url(system, item.url, item, item_key), item, batch_id=batch_id)
        for item, item_key in zip(body.items, item_keys(key, len(body.items)), strict=True)
    ]
    tasks = await system.intake.ingest(caller.user_id, asked)
    return BatchAccepted(
        batch_id=tasks[0].batch_id or batch_id,
        task_ids=[task.id for task in tasks],
        message=f"{len(tasks)} items are taken; follow each at /api/v1/status/TASK_ID.",
    )


@router.delete("/{task_id}")
async def cancel_ingest(task_id: str, caller: Submitter, system: CurrentSystem) -> Cancelled:
    """Stop an ingest; one that has ended stays as it is."""
    task = await system.manager.cancel(caller.user_id, task_id)
    return Cancelled(task_id=task.id, status=task.state.value)
