"""From a lease to a parcel: fetch the source, convert it in the sandbox as the server would, put the result on disk.

Whatever goes wrong with the job is a parcel too, one that tells of the failure: only the server's own word ends it
otherwise.
"""

import asyncio
import errno
import traceback
from dataclasses import replace
from pathlib import Path
from time import monotonic

from morag.domain.content import ContentType
from morag.domain.failure import AttemptFailed, Failure, FailureType
from morag.pipeline.ports import Detected, ReportProgress
from morag.protocol import FailAttempt, LeaseMessage, encode_document
from morag.telemetry import log
from morag.worker.remote.answers import ABOUT_THE_WORKER, Away, Refused
from morag.worker.remote.client import Client
from morag.worker.remote.patience import Patience
from morag.worker.remote.spool import Parcel, Spool, file_name
from morag.worker.remote.transfer import Download, disk_full
from morag.worker.sandbox import verdict
from morag.worker.sandbox.configured import STALL_S
from morag.worker.sandbox.sandbox import ConversionJob, Sandbox

CONVERT = "convert"
GONE = frozenset({404, 409, 410})
"""What the server answers about a task that is no longer this worker's."""
OWNER = "owner"
"""A key belongs to one user, so all jobs here are of one; their children may be kept warm from one to the next."""
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No room: on the disk, for this user, or for one file so large."""


class Workshop:
    """Does jobs, several at once."""

    def __init__(self, client: Client, sandbox: Sandbox, spool: Spool, folder: Path, patience: Patience) -> None:
        """Fetch sources into `folder`, which is emptied; leave results in `spool`."""
        self._client, self._sandbox, self._spool, self._patience = client, sandbox, spool, patience
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()

    async def do(self, lease: LeaseMessage, report: ReportProgress) -> Parcel:
        """The outcome, on disk. Raises Refused if the server no longer wants it; Away when patience is over."""
        path = self._folder / file_name(lease.attempt_id)
        try:
            return await self._made(lease, path, report)
        except Refused as error:
            if isinstance(error, ABOUT_THE_WORKER) or error.status in GONE:
                raise
            return await self._kept(lease, _source_refused(error))
        except Away:
            raise
        except Exception as error:  # noqa: BLE001 - here an attempt becomes an outcome, whatever was raised
            return await self._kept(lease, _failure(error))
        finally:
            path.unlink(missing_ok=True)

    async def _made(self, lease: LeaseMessage, path: Path, report: ReportProgress) -> Parcel:
        began = monotonic()
        try:
            async with asyncio.timeout(lease.timeout_s):
                job = _job(lease, await self._fetched(lease, path, report))
        except TimeoutError:
            raise AttemptFailed(verdict.too_slow(lease.timeout_s)) from None
        converting = monotonic()
        left_s = max(1.0, lease.timeout_s - (converting - began))
        document = await self._sandbox.convert(replace(job, timeout_s=left_s), report)
        parcel = _parcel(lease, processing_s=monotonic() - converting)
        await asyncio.to_thread(lambda: self._spool.keep(parcel, encode_document(document)))
        return parcel

    async def _fetched(self, lease: LeaseMessage, path: Path, report: ReportProgress) -> Path | None:
        if lease.source is None:
            return None
        download = Download(self._client, lease, lease.source, path)
        await download.run(self._patience, lambda told: report(0.0, "fetching", told))
        return path

    async def _kept(self, lease: LeaseMessage, failure: Failure) -> Parcel:
        """A failure, on disk if it can be: a full disk is one of the failures to be told."""
        parcel = failed(_parcel(lease), failure)
        try:
            await asyncio.to_thread(self._spool.keep, parcel)
        except OSError as error:
            log.warning("failure_not_kept", reason=type(error).__name__)
        return parcel


def failed(parcel: Parcel, failure: Failure) -> Parcel:
    """The parcel that tells of a failure instead."""
    told = FailAttempt(
        fence=parcel.fence,
        failure_type=failure.type.value,
        code=failure.code[:100],
        message=failure.message[:2000],
        hint=failure.hint[:2000] if failure.hint else None,
        signature=failure.signature[:200] if failure.signature else None,
        stage=failure.stage[:100] if failure.stage else None,
        is_final=failure.is_final,
    )
    return parcel.model_copy(update={"failure": told, "upload_id": None})


def _parcel(lease: LeaseMessage, processing_s: float = 0.0) -> Parcel:
    return Parcel(
        attempt_id=lease.attempt_id, fence=lease.fence, name=title(lease), processing_s=round(processing_s, 4)
    )


def title(lease: LeaseMessage) -> str:
    """What people know the job by."""
    return lease.source.filename if lease.source else lease.url or lease.task_id


def _job(lease: LeaseMessage, source: Path | None) -> ConversionJob:
    """The lease as the sandbox takes it. Raises AttemptFailed for what is no conversion this worker offered."""
    is_known = lease.name == CONVERT and (source is not None or lease.content_type is ContentType.YOUTUBE)
    if not is_known:
        raise AttemptFailed(
            Failure(
                type=FailureType.PROCESSING_ERROR,
                code="unknown_work",
                message="The worker was sent work of a kind that it does not know.",
                hint="Install the morag of the server's version on the worker's machine.",
                signature="unknown work",
            )
        )
    return ConversionJob(
        user_id=OWNER,
        source=source,
        filename=lease.source.filename if lease.source else "",
        detected=Detected(content_type=lease.content_type, media_type=lease.media_type),
        url=lease.url,
        options=lease.options,
        timeout_s=lease.timeout_s,
        stall_s=STALL_S,
        network=lease.content_type is ContentType.YOUTUBE,
    )


def _source_refused(error: Refused) -> Failure:
    return Failure(
        type=FailureType.NETWORK_FAILURE,
        code="source_refused",
        message=f"The server did not hand out the file: {error.message}",
        hint=error.hint,
        signature=error.code,
    )


def _failure(error: Exception) -> Failure:
    if isinstance(error, AttemptFailed):
        return error.failure
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return disk_full()
    log.warning("job_broke", exc_info=True)
    frames = traceback.extract_tb(error.__traceback__)
    return Failure(
        type=FailureType.PROCESSING_ERROR,
        code="worker_failed",
        message=f"An unexpected {type(error).__name__} in the worker ended the attempt.",
        signature=f"{type(error).__name__}@{frames[-1].name if frames else '?'}",
    )
