"""A server whose machines are known by a Redis that goes away and comes back empty."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from tests.journey.test_worker_protocol import Box, Far, ended, ingest
from tests.redis_server import RedisServer

StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]


@pytest.fixture
def fragile() -> Iterator[RedisServer]:
    """A Redis that keeps nothing over its end; it does not run yet."""
    server = RedisServer()
    yield server
    server.remove()


@pytest.fixture
def far(start_server: StartServer, fragile: RedisServer, tmp_path: Path) -> Iterator[Far]:
    address, _ = start_server(MORAG_DATA_DIR=str(tmp_path), REDIS_URL=fragile.url)
    made = Far(address, tmp_path)
    yield made
    for client in made.clients:
        client.close()


def registered(key: httpx2.Client) -> Box:
    until = time.monotonic() + 30
    while True:
        try:
            return Box(key)
        except AssertionError:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_machines_work_while_redis_is_there_and_come_back_with_it(far: Far, fragile: RedisServer) -> None:
    alice, key = far.client("alice", "submit"), far.client("alice", "worker")
    body = {"name": "a", "instance_id": "a", "version": "1", "type": "remote_cpu", "content_types": ["document"]}
    away = key.post("/api/v1/workers", json=body)
    assert (away.status_code, away.json()["code"]) == (503, "redis_away")
    assert "retry-after" in away.headers
    fragile.start()
    box = registered(key)
    assert box.registered["worker_id"] in fragile.ask("KEYS", "*")
    task_id = ingest(alice)
    lease = box.lease()
    fragile.crash()
    assert box.http.post(f"{box.path}/heartbeat", json={"seq": 1}).status_code == 503
    assert Box.told(box.complete(lease))["status"] == "committed", "what it holds stands in the record"
    assert ended(alice, task_id)["result"]["processing_method"] == "remote"
    fragile.start()
    assert registered(key).path != box.path
