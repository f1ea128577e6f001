"""What a worker does about a line that is cut too often, or dead without anybody saying so."""

import asyncio
import json
from pathlib import Path

import httpx2
import pytest
from tests.far_server import FakeServer, Screen, problem

from morag.protocol import Heartbeat, Registered, RegisterWorker
from morag.worker.remote.answers import Away
from morag.worker.remote.client import Client
from morag.worker.remote.patience import Patience
from morag.worker.remote.session import Session
from morag.worker.remote.transfer import PIECE_BYTES, Upload


async def test_pieces_become_so_small_that_they_get_through_between_two_cuts(
    client: Client, far: FakeServer, patience: Patience, tmp_path: Path
) -> None:
    path, got = tmp_path / "document", bytearray()
    path.write_bytes(bytes(PIECE_BYTES + 1000))

    def patch(request: httpx2.Request) -> httpx2.Response:
        if len(request.content) > PIECE_BYTES * 0.6:
            raise httpx2.WriteError("cut before it was through")
        got.extend(request.content)
        return httpx2.Response(204, headers={"upload-offset": str(len(got))})

    far.on("HEAD", "/uploads/u1", lambda _: httpx2.Response(200, headers={"upload-offset": str(len(got))}))
    far.on("PATCH", "/uploads/u1", patch)
    await Upload(client, "t1.1", "u1", path).run(patience, lambda _: None)
    assert bytes(got) == path.read_bytes()


async def test_a_piece_that_the_server_still_awaits_elsewhere_is_sent_again_later(
    client: Client, far: FakeServer
) -> None:
    far.on("PATCH", "/uploads/u1", problem(409, "upload_busy"))
    with pytest.raises(Away):
        await client.upload_piece("t1.1", "u1", 0, b"piece")


async def test_a_claim_on_a_dead_line_is_asked_again_after_the_next_heartbeat(
    patience: Patience, screen: Screen
) -> None:
    asked: list[tuple[str, str]] = []
    is_claimed = asyncio.Event()

    async def handle(request: httpx2.Request) -> httpx2.Response:
        what, body = request.url.path.rpartition("/")[2], json.loads(request.content)
        asked.append((what, body.get("claim_id", "")))
        if what == "workers":
            told = Registered(worker_id="w1", generation=1, lanes=[], poll_s=25, heartbeat_s=5, lease_s=20)
            return httpx2.Response(201, json=told.model_dump())
        times = [each for each, _ in asked].count(what)
        if what == "claim" and times == 1:
            is_claimed.set()
            await asyncio.Event().wait()
        if what == "heartbeat" and times == 1:
            raise httpx2.ReadTimeout("no answer")
        if what == "claim":
            return httpx2.Response(204)
        return httpx2.Response(200, json={"leases": {}, "directives": {"heartbeat_s": 5}})

    machine = RegisterWorker.model_validate(
        {"name": "a", "instance_id": "a", "version": "1", "type": "remote_cpu", "content_types": ["document"]}
    )
    async with Client("https://far.example", "mrg_key", transport=httpx2.MockTransport(handle)) as client:
        session = Session(client, machine, patience, screen)
        await session.register()
        claiming = asyncio.create_task(session.claim("c1", 1))
        await is_claimed.wait()
        await session.heartbeat(lambda generation: Heartbeat(seq=1, generation=generation))
        assert await claiming == []
    assert asked[1:] == [("claim", "c1"), ("heartbeat", ""), ("heartbeat", ""), ("claim", "c1")]
