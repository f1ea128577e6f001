"""Task name → function: the data plane's only front door.

`process` and `ingest` fetch a URL if there is one, ask for a `convert` child and step aside; resumed with its result
they hand it on, or chunk, embed and index it. `convert` itself runs in a child process: that is the worker's business.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import uuid_utils

from morag.domain.content import (
    ContentType,
    Document,
    Generation,
    Publication,
    Source,
    StoredDocument,
    ingest_result,
)
from morag.domain.failure import AttemptFailed, Failure, FailureType
from morag.domain.json import Json, JsonObject
from morag.domain.task import ChildResult, Completed, Lease, NewTask, Parked, Routing, Task, TaskState
from morag.domain.worker import Wish
from morag.pipeline.conversion.detect import check_source_type, detect
from morag.pipeline.conversion.result import unpack
from morag.pipeline.ingestion.chunk import ChunkOptions
from morag.pipeline.ingestion.ingestor import Ingestor
from morag.pipeline.ports import BlobStore, DocumentStore, Fetcher, ReportProgress
from morag.protocol import encode_document

Route = Callable[[str, Wish, ContentType], Routing]
"""The lane for a user's conversion."""
Handler = Callable[[Lease, ReportProgress], Awaitable[Completed | Parked]]

CONVERT = "convert"
_FETCHED, _CONVERTED = 0.1, 0.8
"""How far an ingest is when its URL is fetched, and when it is converted: of the samples that takes most."""


def conversion_share(name: str) -> tuple[float, float]:
    """From where to where the conversion that a task of this name asked for brings that task."""
    return (_FETCHED, _CONVERTED) if name == "ingest" else (_FETCHED, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers:
    """The light tasks: they run on the server's event loop, heavy calls in threads."""

    blobs: BlobStore
    fetcher: Fetcher
    documents: DocumentStore
    ingestor: Ingestor
    route: Route
    keep_originals: bool
    on_indexed: Callable[[], None]
    """Called when points were written, so that those of older generations get swept."""

    def table(self) -> dict[str, Handler]:
        """Every task name the data plane knows, `convert` aside."""
        return {"process": self.process, "ingest": self.ingest}

    async def process(self, lease: Lease, report: ReportProgress) -> Completed | Parked:
        """Convert what a URL leads to; the result is that of the conversion."""
        child = lease.children.get(CONVERT)
        if child is None:
            return await self._ask_for_conversion(lease.task, report)
        _check(child)
        return Completed(result=child.result, result_blob=child.result_blob)

    async def ingest(self, lease: Lease, report: ReportProgress) -> Completed | Parked:
        """Convert, chunk, embed and index; the settlement makes the document visible."""
        child = lease.children.get(CONVERT)
        if child is None:
            return await self._ask_for_conversion(lease.task, report)
        _check(child)
        document, about = await unpack(child.result, child.result_blob, self.blobs)
        known = await self._recognised(lease.task, _source(about))
        if known:
            return Completed(result=_result(lease.task, known.publication, about, duplicate=True))
        return await self._store(lease, document, about, _within(report, _CONVERTED, 1.0))

    async def _ask_for_conversion(self, task: Task, report: ReportProgress) -> Parked:
        report(0.02, "initializing", "")
        source, url, wanted = (task.args.get(key) for key in ("source", "url", "content_type"))
        if isinstance(source, dict):
            return Parked(children=(self._conversion(task, task.args, (source_of(source).sha256,)),))
        if wanted == ContentType.YOUTUBE:
            return Parked(children=(self._conversion(task, task.args, ()),))
        fetched = await self.fetcher.fetch(str(url), _within(report, 0.0, _FETCHED))
        path = self.blobs.path(fetched.sha256)
        detected = await asyncio.to_thread(detect, path, filename=fetched.filename, media_type=fetched.media_type)
        if isinstance(wanted, str):
            detected = check_source_type(detected, ContentType(wanted))
        args: JsonObject = {
            "source": asdict(fetched),
            "url": fetched.url,
            "content_type": detected.content_type.value,
            "media_type": detected.media_type,
        }
        return Parked(children=(self._conversion(task, args, (fetched.sha256,)),))

    def _conversion(self, task: Task, args: JsonObject, blobs: tuple[str, ...]) -> NewTask:
        """The child that converts, in the lane of the user's wish."""
        passed: JsonObject = {key: args.get(key) for key in ("source", "url", "content_type", "media_type")}
        wish = Wish.of(task.args.get("wish"))
        return NewTask(
            id=str(uuid_utils.uuid7()),
            namespace=task.namespace,
            name=CONVERT,
            user_id=task.user_id,
            args={**passed, "wish": wish.as_json()},
            options=task.options,
            routing=self.route(task.user_id, wish, ContentType(str(args["content_type"]))),
            priority=task.priority,
            timeout_s=task.timeout_s,
            step=CONVERT,
            blobs=blobs,
        )

    async def _recognised(self, task: Task, source: Source | None) -> StoredDocument | None:
        if task.args.get("document_id") or source is None:
            return None
        known = await self.documents.recognise(task.user_id, source.sha256, str(task.args["options_digest"]))
        return await self.documents.document(task.user_id, known) if known else None

    async def _store(self, lease: Lease, document: Document, about: JsonObject, report: ReportProgress) -> Completed:
        """Write the generation's points and blobs, and the publication that will make them visible."""
        task, source = lease.task, _source(about)
        content_hash = source.sha256 if source else hashlib.sha256(document.markdown.encode()).hexdigest()
        document_id = await self._document_id(task, content_hash)
        chunking = _object(task.args.get("chunking"))
        metadata: JsonObject = {**document.metadata, **_object(task.args.get("metadata"))}
        self.on_indexed()
        chunks = await self.ingestor.index_document(
            task.user_id,
            Generation(document_id=document_id, task_id=task.id, fence=lease.fence),
            document,
            ChunkOptions.of(chunking),
            metadata,
            report,
        )
        publication = Publication(
            document_id=document_id,
            title=document.title or (source.filename if source else document_id),
            source=(source.url or source.filename) if source else str(task.args.get("url")),
            content_type=document.content_type,
            media_type=document.media_type,
            content_hash=content_hash,
            options_digest=str(task.args["options_digest"]),
            metadata=metadata,
            chunks=chunks,
            size_bytes=source.size_bytes if source else 0,
            document_blob=await self.blobs.put(encode_document(document)),
            original_blob=source.sha256 if source and self.keep_originals else None,
            chunking=chunking,
        )
        return Completed(result=_result(task, publication, about), publication=publication)

    async def _document_id(self, task: Task, content_hash: str) -> str:
        """The id asked for, else one derived from the content, so that the same file twice at once is one document."""
        asked = task.args.get("document_id")
        if asked:
            return str(asked)
        derived = hashlib.sha256(f"{content_hash} {task.args['options_digest']}".encode()).hexdigest()[:32]
        taken = await self.documents.document(task.user_id, derived)
        is_other = taken is not None and taken.publication.content_hash != content_hash
        return task.id if is_other else derived


def _within(report: ReportProgress, start: float, end: float) -> ReportProgress:
    """Progress of a part as progress of the whole."""
    return lambda fraction, stage, message: report(start + (end - start) * fraction, stage, message)


def _check(child: ChildResult) -> None:
    if child.state is TaskState.COMPLETED:
        return
    raise AttemptFailed(
        child.failure
        or Failure(
            type=FailureType.PROCESSING_ERROR,
            code=f"conversion_{child.state}",
            message=f"The conversion ended as {child.state}.",
            is_final=True,
        )
    )


def _result(task: Task, publication: Publication, about: JsonObject, *, duplicate: bool = False) -> JsonObject:
    seconds = about.get("processing_time")
    worker = about.get("worker")
    return ingest_result(
        publication,
        processing_time=float(seconds) if isinstance(seconds, int | float) else 0.0,
        processing_method=str(about.get("processing_method", "local")),
        worker=worker if isinstance(worker, str) else None,
        routing={"lane": task.routing.lane, "reason": task.routing.reason},
        duplicate_of=publication.document_id if duplicate else None,
    )


def _source(about: JsonObject) -> Source | None:
    """The source the conversion read; none for a YouTube URL."""
    found = about.get("source")
    return source_of(found) if isinstance(found, dict) else None


def source_of(value: JsonObject) -> Source:
    """A source from the JSON of a task's arguments."""
    return Source(
        sha256=str(value["sha256"]),
        size_bytes=int(str(value["size_bytes"])),
        filename=str(value["filename"]),
        media_type=_text(value.get("media_type")),
        url=_text(value.get("url")),
    )


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None
