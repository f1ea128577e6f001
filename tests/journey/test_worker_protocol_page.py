"""The reference page of the worker protocol says what the protocol is, and its worker works."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from pydantic import BaseModel
from tests.journey.test_worker_protocol import Far, ended, ingest

from morag import protocol
from morag.domain.failure import FailureType
from morag.domain.worker import HEARTBEAT_S, LEASE_S, POLL_S

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "worker-protocol.md").read_text()
EXAMPLES = dict(re.findall(r"^```json (\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
(PROGRAM,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PARTS = {"SourceMessage", "LeaseMessage", "HeldMessage", "Directives"}
"""Messages within others."""

StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]


def messages() -> dict[str, type[BaseModel]]:
    """Those after the version, which are what workers and servers say."""
    text = Path(protocol.__file__).read_text()
    names = re.findall(r"^class (\w+)\(BaseModel\)", text[text.index("PROTOCOL = ") :], re.MULTILINE)
    return {name: getattr(protocol, name) for name in names}


def named(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


def test_every_message_has_an_example() -> None:
    assert set(EXAMPLES) == set(messages()) - PARTS


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_is_a_message_with_all_its_fields(name: str) -> None:
    model, example = messages()[name], json.loads(EXAMPLES[name])
    assert set(example) == named(model)
    model.model_validate_json(EXAMPLES[name], strict=True)


def test_the_parts_of_examples_have_all_their_fields() -> None:
    lease = json.loads(EXAMPLES["Claimed"])["leases"][0]
    assert set(lease) == named(protocol.LeaseMessage)
    assert set(lease["source"]) == named(protocol.SourceMessage)
    assert set(json.loads(EXAMPLES["Heartbeat"])["leases"][0]) == named(protocol.HeldMessage)
    assert set(json.loads(EXAMPLES["HeartbeatAnswer"])["directives"]) == named(protocol.Directives)


def test_the_numbers_and_words_of_the_page_are_those_of_the_code() -> None:
    told = json.loads(EXAMPLES["Registered"])
    assert (told["poll_s"], told["heartbeat_s"], told["lease_s"]) == (POLL_S, HEARTBEAT_S, LEASE_S)
    assert f"version {protocol.PROTOCOL}\n" in PAGE
    assert protocol.MAX_INLINE_BYTES == 1024**2
    assert protocol.MAX_DOCUMENT_BYTES == 256 * 1024**2
    assert all(f"`{each.value}`" in PAGE for each in FailureType)
    done = json.loads(EXAMPLES["CompleteAttempt"])
    assert done["sha256"] == hashlib.sha256(done["result"]["markdown"].encode()).hexdigest()


@pytest.fixture
def far(start_server: StartServer, tmp_path: Path) -> Iterator[Far]:
    address, _ = start_server(MORAG_DATA_DIR=str(tmp_path))
    made = Far(address, tmp_path)
    yield made
    for client in made.clients:
        client.close()


def test_the_worker_of_the_page_works(far: Far) -> None:
    alice, key = far.client("alice", "submit"), far.client("alice", "worker")
    environment = {
        **os.environ,
        "MORAG_SERVER_URL": far.address,
        "MORAG_API_KEY": str(key.headers["authorization"]).removeprefix("Bearer "),
    }
    with subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment) as working:
        until_there(alice)
        task_ids = [ingest(alice, b"# Tapir\n\n") for _ in range(3)]
        for task_id in task_ids:
            done = ended(alice, task_id)
            assert (done["status"], done["result"]["processing_method"]) == ("completed", "remote")
            document_id = done["result"]["document_id"]
            assert alice.get(f"/api/v1/documents/{document_id}/markdown").text.startswith("# TAPIR")
        assert working.wait(30) == 0
    assert alice.get("/api/v1/status/workers").json()["workers"]["cpu"] == 0


def until_there(http: httpx2.Client) -> None:
    until = time.monotonic() + 30
    while http.get("/api/v1/status/workers").json()["workers"]["cpu"] == 0:
        assert time.monotonic() < until
        time.sleep(0.05)
