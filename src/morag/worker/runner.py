"""The runner: what happens between a claim and its settlement, whichever door the claim came through.

lease ─▶ find the work by task name ─▶ do it (light: a handler here; `convert`: a child process) ─▶ outcome
                                                 └─ it raised ─▶ classify ─▶ policy ─▶ outcome
"""

import random
from collections.abc import Callable, Mapping
from time import perf_counter

from morag.control.failover.classify import classify
from morag.control.failover.policy import decide
from morag.domain.content import ContentType
from morag.domain.json import JsonObject
from morag.domain.task import Completed, Lease, Outcome, Parked
from morag.pipeline.conversion.result import pack
from morag.pipeline.handlers import CONVERT, Handler, source_of
from morag.pipeline.ports import BlobStore, Detected, ReportProgress
from morag.telemetry import attempts, log
from morag.worker.sandbox.configured import STALL_S
from morag.worker.sandbox.sandbox import ConversionJob, Sandbox


class Runner:
    """Runs a claimed task to its outcome."""

    def __init__(
        self,
        *,
        handlers: Mapping[str, Handler],
        sandbox: Sandbox,
        blobs: BlobStore,
        timeout_s: Callable[[ContentType], float],
        worker_id: str,
    ) -> None:
        """Run light tasks by `handlers` and conversions in `sandbox`, as the worker of that id."""
        self._handlers = {**handlers, CONVERT: self._convert}
        self._sandbox = sandbox
        self._blobs = blobs
        self._timeout_s = timeout_s
        self._worker_id = worker_id

    @property
    def names(self) -> frozenset[str]:
        """The task names it can run."""
        return frozenset(self._handlers)

    async def run(self, lease: Lease, report: ReportProgress) -> Outcome | Parked:
        """The outcome of one attempt. Raises nothing but on cancellation."""
        outcome = await self._outcome(lease, report)
        attempts.add(lease.task.name, type(outcome).__name__.lower())
        return outcome

    async def _outcome(self, lease: Lease, report: ReportProgress) -> Outcome | Parked:
        try:
            return await self._handlers[lease.task.name](lease, report)
        except Exception as error:  # noqa: BLE001 - here an attempt becomes an outcome, whatever was raised
            failure = classify(error)
            log.warning(
                "attempt_failed",
                failure_type=failure.type,
                code=failure.code,
                signature=failure.signature,
                exc_info=failure.code == "internal_error",
            )
            return decide(failure, lease.task, jitter=random.random())  # noqa: S311 - spreads retries, no secret

    async def _convert(self, lease: Lease, report: ReportProgress) -> Completed:
        job = self._job(lease)
        report(0.0, "processing", "")
        began = perf_counter()
        document = await self._sandbox.convert(job, report)
        about: JsonObject = {
            "source": lease.task.args.get("source"),
            "processing_time": round(perf_counter() - began, 4),
            "processing_method": "local",
            "worker": self._worker_id,
        }
        return await pack(document, about, self._blobs)

    def _job(self, lease: Lease) -> ConversionJob:
        task = lease.task
        content_type = ContentType(str(task.args["content_type"]))
        given = task.args.get("source")
        source = source_of(given) if isinstance(given, dict) else None
        url = task.args.get("url")
        return ConversionJob(
            user_id=task.user_id,
            source=self._blobs.path(source.sha256) if source else None,
            filename=source.filename if source else "",
            detected=Detected(content_type=content_type, media_type=str(task.args.get("media_type"))),
            url=url if isinstance(url, str) else None,
            options=task.options,
            timeout_s=task.timeout_s or self._timeout_s(content_type),
            stall_s=STALL_S,
            network=content_type is ContentType.YOUTUBE,
        )
