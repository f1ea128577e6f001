"""The task library inside a FastAPI application: endpoints, background tasks, WebSockets, its routes."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException, WebSocket
from fastapi.testclient import TestClient
from starlette.responses import StreamingResponse

from morag import TaskManager
from morag.tasks.holding import HOLD_S

OPEN = "open"


def guard(x_token: Annotated[str | None, Header()] = None) -> None:
    if x_token != OPEN:
        raise HTTPException(401)


class Site:
    """An application with tasks, and what they did in order."""

    def __init__(self, data_dir: Path) -> None:
        self.order: list[str] = []
        self.tasks = TaskManager("site", data_dir=data_dir)
        self.app = FastAPI(lifespan=self.tasks.lifespan)
        self._define()
        self.app.include_router(self.tasks.router(dependencies=[Depends(guard)]))
        self.app.add_api_route("/process", self.process, methods=["POST"])
        self.app.add_api_route("/refuse", self.refuse, methods=["POST"])
        self.app.add_api_websocket_route("/listen", self.listen)

    def _define(self) -> None:
        @self.tasks.task("note")
        async def note(name: str) -> str:
            self.order.append(f"ran {name}")
            return name

        @self.tasks.task("sync_impressions_from_redis", trigger="impressions/sync")
        async def sync() -> str:
            return "synced"

        @self.tasks.task("sleep")
        async def sleep() -> None:
            await asyncio.sleep(60)

    async def process(self, background_tasks: BackgroundTasks) -> StreamingResponse:
        task_id = await self.tasks.submit("note", "x", background_tasks=background_tasks)

        async def body() -> AsyncGenerator[bytes]:
            await asyncio.sleep(0.3)
            self.order.append("sent")
            yield task_id.encode()

        return StreamingResponse(body())

    async def refuse(self, background_tasks: BackgroundTasks) -> None:
        await self.tasks.submit("note", "refused", background_tasks=background_tasks)
        raise HTTPException(409)

    async def listen(self, socket: WebSocket) -> None:
        await socket.accept()
        task_id = await self.tasks.submit("note", await socket.receive_text(), background_tasks=BackgroundTasks())
        async for event in self.tasks.events(task_id):
            await socket.send_json(event.data)
        result = await self.tasks.wait(task_id)
        await socket.send_json({"result": result.result})
        await socket.close()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def client(site: Site) -> Iterator[TestClient]:
    with TestClient(site.app, headers={"x-token": "open"}) as client:
        yield client


def ended(client: TestClient, task_id: str) -> dict[str, Any]:
    until = time.monotonic() + 15
    while time.monotonic() < until:
        told: dict[str, Any] = client.get(f"/api/tasks/{task_id}/status").json()
        if told["status"] in {"success", "failure", "cancelled"}:
            return told
        time.sleep(0.01)
    raise AssertionError(f"{task_id} did not end")


def test_with_background_tasks_it_starts_after_the_response_is_sent(site: Site, client: TestClient) -> None:
    task_id = client.post("/process").text
    assert ended(client, task_id)["result"] == "x"
    assert site.order == ["sent", "ran x"]


def test_a_stored_task_runs_though_the_endpoint_raised(site: Site, client: TestClient) -> None:
    began = time.monotonic()
    assert client.post("/refuse").status_code == 409
    while "ran refused" not in site.order:
        assert time.monotonic() - began < HOLD_S / 2
        time.sleep(0.01)


def test_a_websocket_handler_submits_and_follows(client: TestClient) -> None:
    began = time.monotonic()
    with client.websocket_connect("/listen") as socket:
        socket.send_text("from afar")
        told = [socket.receive_json() for _ in range(4)]
    assert [each.get("state") for each in told] == ["pending", "running", "completed", None]
    assert told[-1] == {"result": "from afar"}
    assert time.monotonic() - began < HOLD_S / 2


def test_status_tells_all_there_is(client: TestClient) -> None:
    task_id = client.post("/process").text
    told = ended(client, task_id)
    assert set(told) == {
        *("task_id", "name", "status", "result", "error", "progress", "stage", "message", "attempts"),
    }
    assert (told["status"], told["attempts"], told["error"]) == ("success", 1, None)


def test_a_registered_trigger_starts_its_task(client: TestClient) -> None:
    accepted = client.post("/api/tasks/impressions/sync")
    assert accepted.status_code == 202
    assert ended(client, accepted.json()["task_id"])["result"] == "synced"


def test_what_nobody_registered_is_not_found(client: TestClient) -> None:
    assert client.post("/api/tasks/impressions/other").status_code == 404
    assert client.get("/api/tasks/nobody/status").status_code == 404
    assert client.post("/api/tasks/nobody/cancel").status_code == 404


def test_cancel_says_whether_it_will_not_complete(site: Site, client: TestClient) -> None:
    assert client.portal
    task_id = client.portal.call(site.tasks.submit, "sleep")
    told = client.post(f"/api/tasks/{task_id}/cancel").json()
    assert (told["status"], told["cancelled"]) == ("cancelled", True)
    done = client.post("/process").text
    ended(client, done)
    assert client.post(f"/api/tasks/{done}/cancel").json()["cancelled"] is False


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/tasks/x/status"), ("POST", "/api/tasks/x/cancel"), ("POST", "/api/tasks/impressions/sync")],
)
def test_dependencies_guard_every_route(client: TestClient, method: str, path: str) -> None:
    assert client.request(method, path, headers={"x-token": "wrong"}).status_code == 401


def test_a_dependency_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"Depends\(guard\)"):
        TaskManager("site", data_dir=tmp_path).router(dependencies=[guard])


def test_an_applications_own_lifespan_may_hold_the_manager(tmp_path: Path) -> None:
    site = Site(tmp_path)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        async with site.tasks:
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(site.tasks.router())
    with TestClient(app) as client:
        assert client.post("/api/tasks/impressions/sync").status_code == 202


def test_inline_an_endpoints_tasks_have_run_when_it_answers(site: Site) -> None:
    with site.tasks.inline(), TestClient(site.app, headers={"x-token": "open"}) as client:
        task_id = client.post("/process").text
        assert client.get(f"/api/tasks/{task_id}/status").json()["status"] == "success"
    assert site.order == ["ran x", "sent"]
