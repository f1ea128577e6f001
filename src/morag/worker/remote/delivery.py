"""From a parcel to the server's word: offered until it is committed, or the server does not want it any more."""

import asyncio
import hashlib
from dataclasses import dataclass

from morag.domain.failure import Failure, FailureType
from morag.protocol import MAX_INLINE_BYTES, CompleteAttempt, DocumentMessage
from morag.telemetry import log
from morag.worker.remote.answers import ABOUT_THE_WORKER, Refused
from morag.worker.remote.client import Client
from morag.worker.remote.patience import Patience
from morag.worker.remote.spool import Parcel, Spool
from morag.worker.remote.transfer import Report, Upload, begin, told_size
from morag.worker.remote.workshop import failed

UNWANTED = {"fence_lost": "the server gave it to another", "cancelled": "it was cancelled", "not_found": "it is gone"}
SETTLING = "settling"
"""Said while the server has all and is asked for its word."""
DIFFERS = 412
TRIES_OF_UPLOADS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """How a delivery ended."""

    is_committed: bool
    told: str


class Delivery:
    """Brings parcels to the server and drops them from the spool once it has spoken."""

    def __init__(self, client: Client, spool: Spool, patience: Patience) -> None:
        self._client, self._spool, self._patience = client, spool, patience

    async def deliver(self, parcel: Parcel, report: Report) -> Delivered:
        """Until the server's last word. Raises what is no word on the parcel: KeyRefused, …; Away at patience's end."""
        tries = 0
        while True:
            try:
                told = await self._offer(parcel, report)
            except ABOUT_THE_WORKER:
                raise
            except Refused as error:
                tries += 1
                if error.code == "offset_differs":
                    continue
                if _is_worth_another(error, parcel) and tries < TRIES_OF_UPLOADS:
                    parcel = parcel.model_copy(update={"upload_id": None})
                elif error.code in UNWANTED or parcel.failure:
                    return await self._dropped(parcel, UNWANTED.get(error.code, error.message))
                else:
                    parcel = await self._instead(parcel, _refused(error))
            except OSError as error:
                log.warning("result_unreadable", reason=type(error).__name__)
                parcel = await self._instead(parcel, _lost())
            else:
                await asyncio.to_thread(self._spool.drop, parcel.attempt_id)
                return Delivered(is_committed=parcel.failure is None, told=told)

    async def _offer(self, parcel: Parcel, report: Report) -> str:
        if parcel.failure:
            report(SETTLING)
            return await self._tell(parcel)
        path = self._spool.document(parcel.attempt_id)
        size = path.stat().st_size
        if size <= MAX_INLINE_BYTES:
            body = await asyncio.to_thread(self._inline, parcel)
        else:
            body = await self._uploaded(parcel, size, report)
        report(SETTLING)
        answer = await self._patience.call(lambda: self._client.complete(parcel.attempt_id, body))
        return f"{answer.status}, {told_size(size)} in {parcel.processing_s:.1f} s"

    async def _tell(self, parcel: Parcel) -> str:
        body = parcel.failure
        if body is None:
            raise ValueError("no failure to tell of")
        answer = await self._patience.call(lambda: self._client.fail(parcel.attempt_id, body))
        return f"{body.message} ({body.code}; the server's answer: {answer.decision.replace('_', ' ')})"

    def _inline(self, parcel: Parcel) -> CompleteAttempt:
        document = DocumentMessage.model_validate_json(self._spool.document(parcel.attempt_id).read_bytes())
        return CompleteAttempt(
            fence=parcel.fence,
            result=document,
            sha256=hashlib.sha256(document.markdown.encode()).hexdigest(),
            timings={"processing_s": parcel.processing_s},
        )

    async def _uploaded(self, parcel: Parcel, size: int, report: Report) -> CompleteAttempt:
        path, attempt_id = self._spool.document(parcel.attempt_id), parcel.attempt_id
        upload_id = await self._patience.call(lambda: begin(self._client, attempt_id, size, parcel.upload_id))
        if upload_id != parcel.upload_id:
            parcel.upload_id = upload_id
            await self._note(parcel)
        await Upload(self._client, attempt_id, upload_id, path).run(self._patience, report)
        with await asyncio.to_thread(path.open, "rb") as file:
            digest = await asyncio.to_thread(hashlib.file_digest, file, "sha256")
        return CompleteAttempt(
            fence=parcel.fence,
            upload_id=upload_id,
            sha256=digest.hexdigest(),
            timings={"processing_s": parcel.processing_s},
        )

    async def _instead(self, parcel: Parcel, failure: Failure) -> Parcel:
        """What cannot be delivered is a failure of the attempt, and told."""
        told = failed(parcel, failure)
        await self._note(told)
        return told

    async def _note(self, parcel: Parcel) -> None:
        """Keep what changed of a parcel, as long as there is room: without it a restart repeats some work."""
        try:
            await asyncio.to_thread(self._spool.keep, parcel)
        except OSError as error:
            log.warning("parcel_not_noted", reason=type(error).__name__)

    async def _dropped(self, parcel: Parcel, why: str) -> Delivered:
        await asyncio.to_thread(self._spool.drop, parcel.attempt_id)
        return Delivered(is_committed=False, told=f"dropped: {why}")


def _is_worth_another(error: Refused, parcel: Parcel) -> bool:
    """Whether a new upload may help: the bytes differ from what was sent, or the server no longer has the old one."""
    return error.status == DIFFERS or (error.code == "not_found" and parcel.upload_id is not None)


def _refused(error: Refused) -> Failure:
    return Failure(
        type=FailureType.PROCESSING_ERROR,
        code="result_refused",
        message=f"The server refused the result: {error.message}",
        hint=error.hint,
        signature=error.code,
    )


def _lost() -> Failure:
    return Failure(
        type=FailureType.RESOURCE_EXHAUSTION,
        code="result_lost",
        message="The machine that converted it could not read its result back from its disk.",
        hint="Look at the disk of the worker's machine.",
        signature="result lost",
    )
