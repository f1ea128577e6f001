"""Intake: a user's request becomes task records.

    process a file ─▶ convert
    process a URL  ─▶ process ─(child)─▶ convert        process and ingest fetch a URL themselves
    ingest         ─▶ ingest  ─(child)─▶ convert
    a remote job   ─▶ convert, in a lane of the user's own

The same content again (same user, bytes and options) is recognised here and completed at once.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

import uuid_utils

from morag.control.ports import DocumentStore
from morag.control.tasks.manager import TaskManager
from morag.domain.content import ContentType, Source, StoredDocument, ingest_result
from morag.domain.errors import Conflict
from morag.domain.identity import LOCAL_LANE
from morag.domain.json import Json, JsonObject
from morag.domain.task import Budget, NewTask, Priority, Reservation, Routing, Task
from morag.domain.worker import Wish

NAMESPACE = "morag"
"""Namespace of the server's own tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to convert: a source that is already in the blob store, or a URL to fetch."""

    source: Source | None = None
    url: str | None = None
    content_type: ContentType | None = None
    """Known for a source; for a URL only if the caller said so."""
    media_type: str | None = None
    options: JsonObject = field(default_factory=dict)
    """The converter's options, already checked."""
    timeout_s: float | None = None
    metadata: JsonObject = field(default_factory=dict)
    webhook_url: str | None = None
    """Who is told when the task has ended; checked like any URL."""
    wish: Wish = field(default_factory=Wish)
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestRequest:
    """A conversion whose result is to be found by search."""

    conversion: Request
    document_id: str | None = None
    replace_existing: bool = False
    chunking: JsonObject = field(default_factory=dict)
    priority: Priority = Priority.NORMAL
    batch_id: str | None = None


ON_OWN_MACHINES = Wish(remote=True, fallback_to_local=False)
"""What is asked for by name: on a machine of the user's, now or when one comes."""

Route = Callable[[str, Wish, ContentType], Routing]
"""The lane for a user's conversion."""


def new_id() -> str:
    """A fresh UUIDv7, so that ids sort by time."""
    return str(uuid_utils.uuid7())


def digest(value: Json) -> str:
    """SHA-256 over the canonical JSON of a value, hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Intake:
    """Turns checked requests into submitted tasks."""

    def __init__(self, manager: TaskManager, documents: DocumentStore, route: Route, *, deadline_s: float) -> None:
        """Submit through `manager`, conversions to the lanes of `route`; look up what is stored in `documents`."""
        self._route = route
        self._manager = manager
        self._documents = documents
        self._budget = Budget(deadline_s=deadline_s)

    async def process(self, user_id: str, requests: Sequence[Request]) -> list[Task]:
        """Submit conversions whose result is only returned. Raises IdempotencyConflict."""
        return await self._manager.submit([self._process_task(request, user_id) for request in requests])

    async def remote_job(self, user_id: str, request: Request, *, belongs_to: str | None = None) -> Task:
        """Submit a conversion to the user's own machines; it waits in their GPU lane while none is there.

        `belongs_to` is a task of the user that it is for. Raises NotFound for another's, IdempotencyConflict.
        """
        if belongs_to:
            await self._manager.get(user_id, belongs_to)
        new = self._process_task(replace(request, wish=ON_OWN_MACHINES), user_id)
        args: JsonObject = {**new.args, "ingestion_task_id": belongs_to}
        told = digest(["remote_job", args, request.options, request.timeout_s])
        (task,) = await self._manager.submit([replace(new, args=args, idempotency_digest=told)])
        return task

    async def retry(self, job: Task, idempotency_key: str | None) -> Task:
        """Submit anew, to the user's machines, what an ended conversion was to do. Raises Conflict if it goes on."""
        if not job.state.is_terminal:
            raise Conflict("This job has not ended.", code="job_open", hint="Wait for its end, or cancel it first.")
        given = job.args.get("source")
        new = NewTask(
            id=new_id(),
            namespace=NAMESPACE,
            name=job.name,
            user_id=job.user_id,
            args={**job.args, "wish": ON_OWN_MACHINES.as_json()},
            options=job.options,
            routing=self._route(job.user_id, ON_OWN_MACHINES, ContentType(str(job.args["content_type"]))),
            priority=job.priority,
            timeout_s=job.timeout_s,
            budget=self._budget,
            retry_of=job.id,
            blobs=(str(given["sha256"]),) if isinstance(given, dict) else (),
            idempotency_key=idempotency_key,
            idempotency_digest=digest(["retry", job.id]),
        )
        (task,) = await self._manager.submit([new])
        return task

    async def ingest(self, user_id: str, requests: Sequence[IngestRequest]) -> list[Task]:
        """Submit ingests, all or none. Raises DocumentExists, IdempotencyConflict."""
        return await self._manager.submit([await self._ingest_task(request, user_id) for request in requests])

    def _process_task(self, request: Request, user_id: str) -> NewTask:
        is_conversion = request.source is not None or request.content_type is ContentType.YOUTUBE
        return NewTask(
            id=new_id(),
            namespace=NAMESPACE,
            name="convert" if is_conversion else "process",
            user_id=user_id,
            args=_args(request),
            options=request.options,
            routing=self._route(user_id, request.wish, request.content_type)
            if is_conversion and request.content_type
            else Routing(),
            timeout_s=request.timeout_s,
            budget=self._budget,
            blobs=(request.source.sha256,) if request.source else (),
            webhook_url=request.webhook_url,
            idempotency_key=request.idempotency_key,
            idempotency_digest=digest(["process", _args(request), request.options, request.webhook_url]),
        )

    async def _ingest_task(self, request: IngestRequest, user_id: str) -> NewTask:
        conversion = request.conversion
        options_digest = digest([conversion.options, request.chunking, conversion.metadata])
        args: JsonObject = {
            **_args(conversion),
            "document_id": request.document_id,
            "replace_existing": request.replace_existing,
            "chunking": request.chunking,
            "options_digest": options_digest,
        }
        known = await self._recognise(request, options_digest, user_id)
        return NewTask(
            id=new_id(),
            namespace=NAMESPACE,
            name="ingest",
            user_id=user_id,
            args=args,
            options=conversion.options,
            timeout_s=conversion.timeout_s,
            budget=self._budget,
            priority=request.priority,
            batch_id=request.batch_id,
            blobs=(conversion.source.sha256,) if conversion.source else (),
            reservation=Reservation(document_id=request.document_id, replace_existing=request.replace_existing)
            if request.document_id
            else None,
            webhook_url=conversion.webhook_url,
            idempotency_key=conversion.idempotency_key,
            idempotency_digest=digest(
                ["ingest", args, conversion.options, int(request.priority), conversion.webhook_url]
            ),
            completed_with=_recognised(known) if known else None,
        )

    async def _recognise(self, request: IngestRequest, options_digest: str, user_id: str) -> StoredDocument | None:
        if request.document_id or request.conversion.source is None:
            return None
        found = await self._documents.recognise(user_id, request.conversion.source.sha256, options_digest)
        return await self._documents.document(user_id, found) if found else None


def _recognised(known: StoredDocument) -> JsonObject:
    return ingest_result(
        known.publication,
        processing_time=0.0,
        processing_method="local",
        worker=None,
        routing={"lane": LOCAL_LANE, "reason": "the same content was stored already"},
        duplicate_of=known.publication.document_id,
    )


def _args(request: Request) -> JsonObject:
    return {
        "source": asdict(request.source) if request.source else None,
        "url": request.url,
        "content_type": request.content_type.value if request.content_type else None,
        "media_type": request.media_type,
        "metadata": request.metadata,
        "wish": request.wish.as_json(),
    }
