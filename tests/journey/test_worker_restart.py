"""A server that is killed while machines of users work for it: what they hold stays theirs, nobody is charged."""

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.journey.test_worker_protocol import Box, Far, ended, ingest

StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]
Json = dict[str, Any]

AWAY_S = 600
"""How long it seems to have been away: longer than any lease."""


def age(folder: Path, seconds: float) -> None:
    """Let all leases have been granted that much earlier."""
    with sqlite3.connect(folder / "morag.db") as database:
        aged = database.execute("UPDATE tasks SET lease_until = lease_until - ? WHERE state = 'running'", (seconds,))
        assert aged.rowcount == 2
    database.close()


@pytest.fixture
def killed(start_server: StartServer, tmp_path: Path) -> Iterator[tuple[Far, Callable[[], str]]]:
    """A server, and how to kill it, let time pass and start it again: its new address."""
    address, process = start_server(MORAG_DATA_DIR=str(tmp_path))

    def again() -> str:
        process.kill()
        process.wait(30)
        age(tmp_path, AWAY_S)
        return start_server(MORAG_DATA_DIR=str(tmp_path))[0]

    far = Far(address, tmp_path)
    yield far, again
    for client in far.clients:
        client.close()


def test_a_machine_goes_on_where_a_killed_server_left_it(killed: tuple[Far, Callable[[], str]], tmp_path: Path) -> None:
    far, restart = killed
    alice, key = far.client("alice", "submit"), far.client("alice", "worker")
    box = Box(key)
    tasks = [ingest(alice), ingest(alice)]
    leases = box.claim(slots=2)
    while len(leases) < 2:
        leases += box.claim()
    address = restart()
    for client in (alice, key):
        client.base_url = httpx2.URL(address)
    answer = box.heartbeat(*leases, generation=box.registered["generation"])
    assert answer["leases"] == {lease["attempt_id"]: "ok" for lease in leases}
    assert box.claim(wait_s=0.0) == [], "what is held is not granted again"
    for lease in leases:
        assert Box.told(box.complete(lease))["status"] == "committed"
    for task_id in tasks:
        told = ended(alice, task_id)
        assert (told["status"], told["result"]["worker"]) == ("completed", box.registered["worker_id"])
        conversion = alice.get(f"/api/v1/status/{told['remote_job_id']}").json()
        assert [attempt["outcome"] for attempt in conversion["attempts"]] == ["completed"]
    with sqlite3.connect(tmp_path / "morag.db") as database:
        charged = database.execute("SELECT sum(infrastructure_losses), sum(processing_failures) FROM tasks").fetchone()
    database.close()
    assert charged == (0, 0)
