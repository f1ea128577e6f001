"""From task records to what callers are shown. Pure, but for reading a converted document out of the blob store."""

from datetime import UTC, datetime

from fastapi import Response
from pydantic import JsonValue

from morag.api import task_log
from morag.api.schemas.conversions import IngestAccepted, ItemResult
from morag.api.schemas.tasks import (
    AlternativeShown,
    AttemptShown,
    ConsideredLane,
    DecisionShown,
    EventShown,
    LegacyStatus,
    QueuePlace,
    RoutingShown,
    TaskError,
    TaskShown,
    TaskSummary,
)
from morag.api.schemas.webhooks import DeliveryShown
from morag.api.task_log import Line
from morag.control.fleet.gateway import machine_of
from morag.control.tasks.manager import Story
from morag.domain.failure import Decision, Failure
from morag.domain.history import Attempt
from morag.domain.json import JsonObject
from morag.domain.task import Progress, Routing, Task, TaskState
from morag.domain.webhook import Delivery
from morag.pipeline.conversion.result import unpack
from morag.pipeline.handlers import conversion_share
from morag.pipeline.ports import BlobStore
from morag.protocol import SegmentMessage

CONVERSIONS = frozenset({"convert", "process"})
"""Names of the tasks whose result is a document."""

_LEGACY = {
    TaskState.WAITING: "running",
    TaskState.COMPLETED: "success",
    TaskState.FAILED: "failure",
    TaskState.TIMEOUT: "failure",
}


def rfc3339(at: float) -> str:
    """Seconds since the epoch as a date and time, UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _maybe(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)


async def conversion(task: Task, blobs: BlobStore) -> JsonObject:
    """What a completed conversion delivers, as `ConversionResult` describes it; what does not apply is left out."""
    document, about = await unpack(task.result, task.result_blob, blobs)
    asked = task.args.get("metadata")
    metadata: JsonObject = {**document.metadata, **(asked if isinstance(asked, dict) else {})}
    if document.title:
        metadata.setdefault("title", document.title)
    return {
        "success": True,
        "task_id": task.id,
        "content": document.markdown,
        "content_type": document.content_type.value,
        "media_type": document.media_type,
        "metadata": metadata,
        "segments": [
            SegmentMessage.of(segment).model_dump(mode="json", exclude_defaults=True) for segment in document.segments
        ],
        "processing_time": about.get("processing_time", 0.0),
        "processing_method": about.get("processing_method", "local"),
        "worker": about.get("worker"),
        "error_message": None,
    }


async def item(task: Task, blobs: BlobStore) -> JsonObject:
    """What became of one item of a batch."""
    if task.state is TaskState.COMPLETED:
        return {**await conversion(task, blobs), "status": task.state.value}
    failure = task.failure
    message = failure.message if failure else f"The task is {task.state}."
    return ItemResult(
        success=False,
        task_id=task.id,
        status=task.state,
        error_message=message if task.state.is_terminal else None,
        code=failure.code if failure else None,
        hint=failure.hint if failure else None,
    ).model_dump(mode="json", exclude_none=True)


def summary(task: Task) -> TaskSummary:
    """A task in a list."""
    progress = task.progress or Progress(fraction=0.0, stage="initializing")
    is_done = task.state is TaskState.COMPLETED
    return TaskSummary(
        task_id=task.id,
        name=task.name,
        status=task.state,
        stage="completed" if is_done else progress.stage,
        progress=1.0 if is_done else progress.fraction,
        message=task.failure.message if task.failure and task.state.is_terminal else progress.message,
        created_at=rfc3339(task.created_at),
        started_at=_maybe(task.started_at),
        completed_at=_maybe(task.finished_at),
        batch_id=task.batch_id,
        needs_attention=task.needs_attention,
        error=_error(task.failure) if task.state.is_terminal else None,
    )


def shown(story: Story, result: JsonValue) -> TaskShown:
    """A task with all that happened to it. A waiting one shows how far the child is that it waits for."""
    task = story.task
    running = next((child for child in story.children if not child.state.is_terminal), None)
    told = summary(task)
    if task.state is TaskState.WAITING and running and (progress := task_log.progress_of(running)):
        start, end = conversion_share(task.name)
        fraction = round(start + (end - start) * progress.fraction, 4)
        told = told.model_copy(update={"stage": progress.stage, "message": progress.message, "progress": fraction})
    return TaskShown(
        **told.model_dump(),
        queue=QueuePlace(lane=task.lane, position=story.position),
        # where a URL or an ingest is converted is what its caller asked about
        routing=_routing(story.children[-1].routing if story.children else task.routing),
        attempts=[_attempt(attempt) for attempt in story.attempts],
        remote_job_id=story.children[-1].id if story.children else None,
        retry_of=task.retry_of,
        result=result,
    )


async def result_of(task: Task, blobs: BlobStore) -> JsonValue:
    """A task's result as callers see it."""
    is_conversion = task.name in CONVERSIONS and task.state is TaskState.COMPLETED
    return await conversion(task, blobs) if is_conversion else task.result


def event(line: Line) -> EventShown:
    """One line of a task's log."""
    return EventShown(id=line.id, event=line.event.kind, at=rfc3339(line.event.at), data=line.event.data)


def legacy(task: Task, result: JsonValue) -> LegacyStatus:
    """A task in the words of TaskManager."""
    told = summary(task)
    error = told.error
    return LegacyStatus(
        task_id=task.id,
        status=legacy_state(task),
        result=result,
        error=error.model_copy(update={"code": "timeout"}) if error and task.state is TaskState.TIMEOUT else error,
        progress=told.progress,
        attempts=task.attempt,
    )


def legacy_state(task: Task) -> str:
    """The state in the words of TaskManager."""
    if task.state is TaskState.PENDING and task.attempt:
        return "retry"
    return _LEGACY.get(task.state, task.state.value)


def _error(failure: Failure | None) -> TaskError | None:
    if failure is None:
        return None
    return TaskError(
        code=failure.code,
        message=failure.message,
        hint=failure.hint,
        failure_type=failure.type,
        stage=failure.stage,
    )


def _routing(routing: Routing) -> RoutingShown:
    considered = [ConsideredLane(lane=each.lane, verdict=each.verdict) for each in routing.considered]
    return RoutingShown(lane=routing.lane, reason=routing.reason, considered=considered)


def _attempt(attempt: Attempt) -> AttemptShown:
    return AttemptShown(
        n=attempt.n,
        worker=machine_of(attempt.worker_id),
        lane=attempt.lane,
        started_at=rfc3339(attempt.started_at),
        ended_at=_maybe(attempt.ended_at),
        outcome=attempt.outcome,
        failure_type=attempt.failure.type if attempt.failure else None,
        error=attempt.failure.message if attempt.failure else None,
        decision=_decision(attempt.decision) if attempt.decision else None,
    )


def _decision(decision: Decision) -> DecisionShown:
    return DecisionShown(
        strategy=decision.strategy.value,
        reason=decision.reason,
        target_worker_id=decision.target_worker_id,
        target_queue=decision.target_queue,
        delay_s=decision.delay_s,
        options_changed=decision.options_changed,
        alternatives=[
            AlternativeShown(strategy=each.strategy.value, why_not=each.why_not) for each in decision.alternatives
        ],
    )


def accepted_ingest(task: Task, response: Response) -> IngestAccepted:
    """An ingest that was taken on, and in `response` where to follow it."""
    response.headers["Location"] = f"/api/v1/status/{task.id}"
    is_known = task.state is TaskState.COMPLETED
    message = "The same content is stored already." if is_known else "It is taken; `Location` says where to follow it."
    return IngestAccepted(task_id=task.id, status=task.state, message=message)


def delivery(found: Delivery) -> DeliveryShown:
    """A webhook's message as its user sees it."""
    return DeliveryShown(
        webhook_id=found.id,
        task_id=found.task_id,
        event=found.event,
        url=found.url,
        created_at=rfc3339(found.created_at),
        tries=found.tries,
        last_status=found.status,
        last_error=found.error,
        delivered_at=_maybe(found.delivered_at),
        next_try_at=_maybe(found.due_at),
    )
