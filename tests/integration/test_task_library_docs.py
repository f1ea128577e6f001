"""The how-to page on embedding does what it says."""

import asyncio
import os
import re
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "how-to" / "embed-the-task-manager.md"
CELERY_PAGE = DOCS / "how-to" / "scale-tasks-with-celery.md"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


class Socket:
    """What a WebSocket handler was seen to send."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    async def send_json(self, data: dict[str, Any]) -> None:
        self.sent.append(data)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The page's code as one module on disk, so that children find it."""
    monkeypatch.setenv("MORAG_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    path = tmp_path / "embedded_page.py"
    path.write_text("\n\n".join(PYTHON.findall(PAGE.read_text())))
    module = types.ModuleType("embedded_page")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "embedded_page", module)
    exec(compile(path.read_text(), path, "exec"), module.__dict__)  # noqa: S102 - the page's own code
    return module


def test_the_application_of_the_page_works(page: Any) -> None:
    with TestClient(page.app) as client:
        task_id = client.post("/process", params={"resource_id": "r1"}).json()["task_id"]
        until = time.monotonic() + 15
        while (told := client.get(f"/api/tasks/{task_id}/status").json())["status"] != "success":
            assert time.monotonic() < until
        assert told["result"] == {"resource": "r1", "rating": 4.5}
        assert client.post("/api/tasks/impressions/sync").status_code == 202


def test_the_handler_of_the_page_tells_what_happens(page: Any) -> None:
    socket = Socket()

    async def listen() -> None:
        async with page.tasks:
            await page.listen(socket)

    asyncio.run(listen())
    assert socket.sent[-1] == {"status": "success", "result": {"resource": "r1", "user": "Student"}}


def test_the_parent_of_the_page_gathers_what_its_children_gave(page: Any) -> None:
    async def gather() -> Any:
        async with page.tasks:
            return await page.tasks.wait(await page.tasks.submit("transcribe_all", ["a", "b"]), 30)

    result = asyncio.run(gather())
    assert result.result == {"text": "A B", "lost": [], "rating": {"resource": "r1", "rating": 4.5}}
    assert result.attempts == 1


async def test_the_test_of_the_page_passes(page: Any) -> None:
    await page.test_rating()


@pytest.mark.parametrize("page_of", sorted(DOCS.glob("how-to/*.md")), ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(page_of: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+\.md)", page_of.read_text()):
        assert (page_of.parent / target).exists(), target


def test_celery_finds_the_application_of_its_page_by_the_command_there(tmp_path: Path) -> None:
    text = CELERY_PAGE.read_text()
    (code,) = PYTHON.findall(text)
    (place,) = set(re.findall(r"celery -A (\S+) worker", text))
    module, _, _ = place.partition(":")
    file = tmp_path / f"{module.replace('.', '/')}.py"
    file.parent.mkdir()
    file.write_text(code)
    told = subprocess.run(
        [sys.executable, "-m", "celery", "-A", place, "report"],
        env={**os.environ, "CELERY_BROKER_URL": "redis://localhost:6379/0"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "task_default_queue: 'speaking.celery'" in told.stdout
