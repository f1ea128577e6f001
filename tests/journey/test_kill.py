"""Kill -9 of the server in the middle of its work: nothing is lost, nothing is there twice."""

import contextlib
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx2
import psutil
import pytest

FILES = 10
END_S = 90.0

StartServer = Callable[..., tuple[str, "subprocess.Popen[str]"]]


def text(word: str) -> bytes:
    """A Markdown file long enough to be found at work: eight sections, the word in one of them."""
    sections = [f"## Part {n}\n\n" + f"The harbour log of day {n} tells of wind and rain. " * 20 for n in range(8)]
    parts = "\n\n".join(sections)
    return f"# Log\n\n{parts}\n\n## Last\n\nOnly here stands {word}.\n".encode()


def states(api: httpx2.Client, tasks: list[str]) -> list[str]:
    return [api.get(f"/api/v1/status/{task}").json()["status"] for task in tasks]


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + END_S
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.02)


def children_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def is_running(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.mark.timeout(180)
def test_ten_ingests_survive_the_death_of_their_server(start_server: StartServer, tmp_path: Path) -> None:
    words = [f"quoll{uuid.uuid4().hex[:12]}" for _ in range(FILES)]
    folder = str(tmp_path / "data")

    address, process = start_server(MORAG_DATA_DIR=folder)
    with httpx2.Client(base_url=address, timeout=END_S, trust_env=False) as api:
        tasks = [
            api.post("/api/v1/ingest/file", files={"file": (f"{word}.md", text(word))}).json()["task_id"]
            for word in words
        ]
        wait_until(lambda: states(api, tasks).count("completed") >= 2)
        children = children_of(process)
        process.kill()
        process.wait(10)

    wait_until(lambda: not any(is_running(child) for child in children))
    address, _ = start_server(MORAG_DATA_DIR=folder)
    with httpx2.Client(base_url=address, timeout=END_S, trust_env=False) as api:
        wait_until(lambda: set(states(api, tasks)) <= {"completed", "failed", "timeout", "cancelled"})
        assert states(api, tasks) == ["completed"] * FILES
        documents = api.get("/api/v1/documents", params={"limit": 100}).json()["documents"]
        assert len(documents) == FILES
        for word in words:
            hits = api.post("/search", json={"query": word, "mode": "keyword", "limit": 50}).json()["hits"]
            assert [word in hit["text"] for hit in hits] == [True]
