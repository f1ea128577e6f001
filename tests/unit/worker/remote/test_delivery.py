import hashlib
import json
from pathlib import Path

import httpx2
import pytest
from tests.far_server import FakeServer, problem

from morag.domain.content import ContentType, Document
from morag.domain.errors import MoragError
from morag.protocol import FailAttempt, encode_document
from morag.worker.remote.answers import KeyRefused
from morag.worker.remote.client import Client
from morag.worker.remote.delivery import Delivered, Delivery
from morag.worker.remote.patience import Patience
from morag.worker.remote.spool import Parcel, Spool

COMMITTED = httpx2.Response(200, json={"status": "committed"})
DECIDED = httpx2.Response(200, json={"decision": "fallback_queue", "reason": "local"})


def document(markdown: str) -> bytes:
    return encode_document(
        Document(
            markdown=markdown,
            content_type=ContentType.DOCUMENT,
            media_type="text/markdown",
            title=None,
            metadata={},
            segments=(),
        )
    )


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


@pytest.fixture
def delivery(client: Client, spool: Spool, patience: Patience) -> Delivery:
    return Delivery(client, spool, patience)


async def deliver(delivery: Delivery, spool: Spool, markdown: str = "# Lamp") -> Delivered:
    parcel = Parcel(attempt_id="t1.1", fence=1, name="a.md", processing_s=1.5)
    spool.keep(parcel, document(markdown))
    return await delivery.deliver(parcel, lambda _: None)


async def test_a_small_document_goes_in_one_call(delivery: Delivery, spool: Spool, far: FakeServer) -> None:
    far.on("POST", "/t1.1/complete", problem(503, "unavailable"), COMMITTED)
    assert (await deliver(delivery, spool)).is_committed
    body = json.loads(far.requests[-1].content)
    assert body["result"]["markdown"] == "# Lamp"
    assert body["sha256"] == hashlib.sha256(b"# Lamp").hexdigest()
    assert body["timings"] == {"processing_s": 1.5}
    assert spool.parcels() == []


async def test_a_large_document_is_uploaded_and_named(delivery: Delivery, spool: Spool, far: FakeServer) -> None:
    raw, got = document("x" * 1_200_000), bytearray()

    def offset(status: int) -> httpx2.Response:
        return httpx2.Response(status, headers={"upload-offset": str(len(got))})

    def patch(request: httpx2.Request) -> httpx2.Response:
        got.extend(request.content)
        return offset(204)

    far.on("POST", "/uploads", httpx2.Response(201, headers={"location": "/api/v1/attempts/t1.1/uploads/u1"}))
    far.on("HEAD", "/uploads/u1", lambda _: offset(200))
    far.on("PATCH", "/uploads/u1", patch)
    far.on("POST", "/complete", COMMITTED)
    assert (await deliver(delivery, spool, "x" * 1_200_000)).is_committed
    assert bytes(got) == raw
    body = json.loads(far.requests[-1].content)
    assert (body["upload_id"], body["sha256"]) == ("u1", hashlib.sha256(raw).hexdigest())


@pytest.mark.parametrize(("status", "code"), [(409, "fence_lost"), (410, "cancelled"), (404, "not_found")])
async def test_what_the_server_does_not_want_any_more_is_dropped(
    delivery: Delivery, spool: Spool, far: FakeServer, status: int, code: str
) -> None:
    far.on("POST", "/complete", problem(status, code))
    ended = await deliver(delivery, spool)
    assert not ended.is_committed
    assert ended.told.startswith("dropped: ")
    assert (spool.parcels(), len(far.requests)) == ([], 1)


async def test_a_document_damaged_on_the_way_is_sent_again(delivery: Delivery, spool: Spool, far: FakeServer) -> None:
    far.on("POST", "/complete", problem(412, "precondition_failed"), COMMITTED)
    assert (await deliver(delivery, spool)).is_committed


@pytest.mark.parametrize(("status", "code"), [(415, "bad_result"), (412, "precondition_failed"), (422, "malformed")])
async def test_a_document_that_is_never_taken_is_told_as_a_failure(
    delivery: Delivery, spool: Spool, far: FakeServer, status: int, code: str
) -> None:
    far.on("POST", "/complete", problem(status, code))
    far.on("POST", "/fail", DECIDED)
    ended = await deliver(delivery, spool)
    assert not ended.is_committed
    body = json.loads(far.asked("POST", "/fail")[0].content)
    assert (body["fence"], body["failure_type"], body["code"]) == (1, "processing_error", "result_refused")
    assert spool.parcels() == []


@pytest.mark.parametrize("answer", [problem(401, "unauthorized"), problem(426, "upgrade_required")])
async def test_what_is_said_of_the_worker_leaves_the_result_in_the_spool(
    delivery: Delivery, spool: Spool, far: FakeServer, answer: httpx2.Response
) -> None:
    far.on("POST", "/complete", answer)
    with pytest.raises(MoragError):
        await deliver(delivery, spool)
    assert [each.attempt_id for each in spool.parcels()] == ["t1.1"]


async def test_a_failure_is_told_until_it_is_heard(delivery: Delivery, far: FakeServer) -> None:
    failure = FailAttempt(fence=1, failure_type="processing_error", code="broken_file", message="It is broken.")
    parcel = Parcel(attempt_id="t1.1", fence=1, name="a.md", failure=failure)
    far.on("POST", "/fail", problem(500, "internal_error"), DECIDED)
    ended = await delivery.deliver(parcel, lambda _: None)
    assert ended.told == "It is broken. (broken_file; the server's answer: fallback queue)"


async def test_a_result_that_cannot_be_read_back_is_told_as_lost(
    delivery: Delivery, spool: Spool, far: FakeServer
) -> None:
    far.on("POST", "/fail", DECIDED)
    ended = await delivery.deliver(Parcel(attempt_id="t1.1", fence=1, name="a.md"), lambda _: None)
    assert "result_lost" in ended.told
    assert spool.parcels() == []


async def test_a_key_refused_is_what_is_raised(delivery: Delivery, spool: Spool, far: FakeServer) -> None:
    far.on("POST", "/complete", problem(403, "forbidden"))
    with pytest.raises(KeyRefused):
        await deliver(delivery, spool)
