import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import cast

import httpx2
import pytest
from tests.far_server import Answer, FakeServer, Screen, problem

from morag.domain.content import ContentType, Document
from morag.domain.errors import MoragError
from morag.domain.failure import AttemptFailed
from morag.pipeline.ports import ReportProgress
from morag.protocol import LeaseMessage, RegisterWorker
from morag.worker.remote.client import Client
from morag.worker.remote.delivery import Delivery
from morag.worker.remote.patience import Patience
from morag.worker.remote.session import Session
from morag.worker.remote.spool import Spool
from morag.worker.remote.supervisor import Parts, Supervisor, Terms
from morag.worker.remote.workshop import Workshop
from morag.worker.sandbox import verdict
from morag.worker.sandbox.sandbox import ConversionJob, Sandbox

MakeLease = Callable[..., LeaseMessage]
BEAT_S = 0.02
FILE = {"size": 2, "sha256": "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4", "filename": "hi.md"}
COMMITTED = httpx2.Response(200, json={"status": "committed"})


class FakeSandbox:
    """Converts when it is let, or fails with what it is given."""

    def __init__(self) -> None:
        self.may_end, self.began, self.is_killed = asyncio.Event(), asyncio.Event(), False
        self.error: Exception | None = None
        self.may_end.set()

    async def convert(self, job: ConversionJob, report: ReportProgress) -> Document:
        self.began.set()
        report(0.5, "processing", "half way")
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.is_killed = True
            raise
        if self.error:
            raise self.error
        return Document(
            markdown=job.source.read_text() if job.source else "",
            content_type=ContentType.DOCUMENT,
            media_type="text/markdown",
            title=None,
            metadata={},
            segments=(),
        )


class Machine:
    """One worker, whose server the test scripts."""

    def __init__(self, client: Client, screen: Screen, patience: Patience, folder: Path) -> None:
        self.sandbox, self.screen, self.folder = FakeSandbox(), screen, folder
        self._client, self._patience = client, patience

    def supervisor(self, **terms: object) -> Supervisor:
        spool = Spool(self.folder / "spool")
        told = RegisterWorker(
            name="box", instance_id="i", version="1", type="remote_cpu", content_types=[ContentType.DOCUMENT]
        )
        sandbox = cast("Sandbox", self.sandbox)
        parts = Parts(
            client=self._client,
            session=Session(self._client, told, self._patience, self.screen),
            patience=self._patience,
            workshop=Workshop(self._client, sandbox, spool, self.folder / "incoming", self._patience),
            delivery=Delivery(self._client, spool, self._patience),
            spool=spool,
            screen=self.screen,
        )
        return Supervisor(parts, Terms(**{"slots": 1, **terms}))  # pyright: ignore[reportArgumentType] - a test's words

    def once_it_converts(self, answer: Answer) -> Answer:

        def either(request: httpx2.Request) -> httpx2.Response:
            return answer(request) if self.sandbox.began.is_set() else beat()(request)

        return either

    def left(self) -> list[str]:
        return [path.name for name in ("spool", "incoming") for path in (self.folder / name).iterdir()]


@pytest.fixture
def machine(client: Client, screen: Screen, patience: Patience, tmp_path: Path) -> Machine:
    return Machine(client, screen, patience, tmp_path)


def registered(generation: int = 1) -> httpx2.Response:
    return httpx2.Response(
        201,
        json={
            "worker_id": f"w{generation}",
            "generation": generation,
            "lanes": ["cpu-tasks-a"],
            "poll_s": 0.05,
            "heartbeat_s": BEAT_S,
            "lease_s": 1.0,
        },
    )


def beat(word: str = "ok", **directives: object) -> Callable[[httpx2.Request], httpx2.Response]:
    def answer(request: httpx2.Request) -> httpx2.Response:
        held = json.loads(request.content)["leases"]
        leases = {each["attempt_id"]: word for each in held}
        told = {"heartbeat_s": BEAT_S, **directives}
        return httpx2.Response(200, json={"leases": leases, "directives": told})

    return answer


@pytest.fixture
def served(far: FakeServer, lease: MakeLease) -> FakeServer:
    """A server with one task, which it gives away at the first claim."""
    one = httpx2.Response(200, json={"leases": [lease(source=FILE).model_dump(mode="json")]})
    far.on("POST", "/workers", registered())
    far.on("POST", "/claim", one, httpx2.Response(204))
    far.on("POST", "/heartbeat", beat())
    far.on("GET", "/source", lambda _: httpx2.Response(200, content=b"hi"))
    far.on("POST", "/complete", COMMITTED)
    far.on("POST", "/fail", httpx2.Response(200, json={"decision": "fallback_queue", "reason": "r"}))
    far.on("POST", "/release", httpx2.Response(200, json={"status": "released"}))
    far.on("DELETE", "", httpx2.Response(204))
    return far


async def test_one_job_from_claim_to_goodbye(machine: Machine, served: FakeServer) -> None:
    await machine.supervisor(once=True).run()
    (told,) = served.asked("POST", "/complete")
    assert json.loads(told.content)["result"]["markdown"] == "hi"
    assert len(served.asked("DELETE", "/workers/w1")) == 1
    assert machine.left() == []


async def test_heartbeats_go_on_while_a_job_runs_and_say_how_far_it_is(machine: Machine, served: FakeServer) -> None:
    machine.sandbox.may_end.clear()
    running = asyncio.create_task(machine.supervisor(once=True).run())
    await machine.sandbox.began.wait()
    await served.until_asked("POST", "/heartbeat", 4)
    machine.sandbox.may_end.set()
    await running
    beats = [json.loads(each.content) for each in served.asked("POST", "/heartbeat")]
    assert [each["seq"] for each in beats] == list(range(1, len(beats) + 1))
    held = beats[3]["leases"][0]
    assert (held["attempt_id"], held["fence"], held["progress"], held["stage"]) == ("t1.1", 1, 0.5, "processing")


@pytest.mark.parametrize("word", ["cancel", "lost"])
async def test_a_job_that_is_cancelled_or_lost_is_killed_and_delivers_nothing(
    machine: Machine, served: FakeServer, word: str
) -> None:
    served.on("POST", "/heartbeat", machine.once_it_converts(beat(word)))
    machine.sandbox.may_end.clear()
    await asyncio.wait_for(machine.supervisor(once=True).run(), 5)
    assert machine.sandbox.is_killed
    assert [served.asked("POST", end) for end in ("/complete", "/fail", "/release")] == [[], [], []]
    assert machine.left() == []


async def test_a_failure_is_told_as_the_sandbox_saw_it(machine: Machine, served: FakeServer) -> None:
    machine.sandbox.error = AttemptFailed(verdict.silent(180.0, "page 3"))
    await machine.supervisor(once=True).run()
    told = json.loads(served.asked("POST", "/fail")[0].content)
    assert (told["failure_type"], told["code"], told["stage"]) == ("task_timeout", "no_progress", "page 3")
    assert machine.left() == []


async def test_a_full_disk_fails_the_job_and_not_the_worker(machine: Machine, served: FakeServer) -> None:
    machine.sandbox.error = OSError(28, "No space left on device")
    await machine.supervisor(once=True).run()
    told = json.loads(served.asked("POST", "/fail")[0].content)
    assert (told["failure_type"], told["code"]) == ("resource_exhaustion", "worker_disk_full")


async def test_a_job_longer_than_it_may_run_before_it_is_converted_is_a_timeout(
    machine: Machine, served: FakeServer, lease: MakeLease
) -> None:
    late = lease(source=FILE, timeout_s=0.05).model_dump(mode="json")
    served.on("POST", "/claim", httpx2.Response(200, json={"leases": [late]}))
    served.on("GET", "/source", problem(503, "unavailable"))
    await asyncio.wait_for(machine.supervisor(once=True).run(), 5)
    assert json.loads(served.asked("POST", "/fail")[0].content)["failure_type"] == "task_timeout"


async def test_work_of_a_kind_it_does_not_know_is_a_failure(
    machine: Machine, served: FakeServer, lease: MakeLease
) -> None:
    strange = lease(source=FILE, name="paint").model_dump(mode="json")
    served.on("POST", "/claim", httpx2.Response(200, json={"leases": [strange]}))
    await machine.supervisor(once=True).run()
    assert json.loads(served.asked("POST", "/fail")[0].content)["code"] == "unknown_work"


async def test_a_source_that_is_gone_ends_the_job_without_a_word(machine: Machine, served: FakeServer) -> None:
    served.on("GET", "/source", problem(404, "not_found"))
    await machine.supervisor(once=True).run()
    assert served.asked("POST", "/fail") == []
    assert machine.screen.lines[0].told[-1].startswith("failed ")


@pytest.mark.parametrize("place", ["/workers", "/claim", "/heartbeat", "/source", "/complete"])
@pytest.mark.parametrize("answer", [problem(401, "unauthorized"), problem(426, "upgrade_required")])
async def test_a_worker_that_is_refused_stops_wherever_it_hears_it(
    machine: Machine, served: FakeServer, place: str, answer: httpx2.Response
) -> None:
    served.on("GET" if place == "/source" else "POST", place, answer)
    machine.sandbox.may_end.clear()
    if place == "/complete":
        machine.sandbox.may_end.set()
    with pytest.raises(MoragError) as raised:
        await asyncio.wait_for(machine.supervisor().run(), 5)
    assert raised.value.hint
    assert bool(machine.left()) is (place == "/complete")


async def test_a_forgotten_worker_registers_again_and_keeps_its_job(machine: Machine, served: FakeServer) -> None:
    served.on("POST", "/workers", registered(), registered(2))
    served.on("POST", "/heartbeat", problem(404, "not_found"), beat())
    machine.sandbox.may_end.clear()
    supervisor = machine.supervisor(once=True)
    running = asyncio.create_task(supervisor.run())
    await served.until_asked("POST", "/w2/heartbeat")
    machine.sandbox.may_end.set()
    await running
    assert json.loads(served.asked("POST", "/w2/heartbeat")[0].content)["generation"] == 2
    assert len(served.asked("POST", "/complete")) == 1


async def test_a_session_taken_over_stops_with_what_to_do(machine: Machine, served: FakeServer) -> None:
    served.on("POST", "/heartbeat", machine.once_it_converts(lambda _: problem(409, "session_over")))
    machine.sandbox.may_end.clear()
    with pytest.raises(MoragError, match="took over") as raised:
        await asyncio.wait_for(machine.supervisor().run(), 5)
    assert raised.value.hint
    assert "--data-dir" in raised.value.hint
    assert machine.sandbox.is_killed


async def test_a_claim_is_repeated_under_its_id_until_it_is_answered(machine: Machine, served: FakeServer) -> None:
    def cut(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("cut")

    one = served.answers("POST", "/claim")[0]
    served.on("POST", "/claim", cut, one, httpx2.Response(204))
    await machine.supervisor(once=True).run()
    ids = [json.loads(each.content)["claim_id"] for each in served.asked("POST", "/claim")]
    assert (len(ids), len(set(ids))) == (2, 1)


async def test_a_directive_to_drain_finishes_what_runs_and_leaves(machine: Machine, served: FakeServer) -> None:
    served.on("POST", "/heartbeat", beat(drain=True))
    await asyncio.wait_for(machine.supervisor().run(), 5)
    assert "leaving the server asked to" in machine.screen.told
    assert len(served.asked("POST", "/complete")) == 1


async def test_a_second_signal_gives_the_job_back(machine: Machine, served: FakeServer) -> None:
    machine.sandbox.may_end.clear()
    supervisor = machine.supervisor()
    running = asyncio.create_task(supervisor.run())
    await machine.sandbox.began.wait()
    supervisor.drain()
    supervisor.let_go()
    await asyncio.wait_for(running, 5)
    assert json.loads(served.asked("POST", "/t1.1/release")[0].content) == {"fence": 1, "reason": "drain"}
    assert machine.left() == []


async def test_told_to_leave_while_the_server_is_away_it_leaves_at_once(machine: Machine, served: FakeServer) -> None:
    served.on("POST", "/workers", problem(503, "unavailable"))
    supervisor = machine.supervisor()
    running = asyncio.create_task(supervisor.run())
    await served.until_asked("POST", "/workers", 2)
    supervisor.drain()
    await asyncio.wait_for(running, 0.5)


async def test_a_result_that_cannot_be_delivered_while_leaving_waits_for_the_next_start(
    machine: Machine, served: FakeServer
) -> None:
    served.on("POST", "/complete", problem(503, "unavailable"))
    supervisor = machine.supervisor()
    running = asyncio.create_task(supervisor.run())
    await served.until_asked("POST", "/complete", 2)
    supervisor.drain()
    await asyncio.wait_for(running, 2)
    assert machine.left()
    assert served.asked("DELETE", "/w1") == []
    served.on("POST", "/complete", COMMITTED)
    await machine.supervisor(idle_exit_s=0.05).run()
    kinds = [each.url.path.rpartition("/")[2] for each in served.requests]
    assert kinds.index("workers", kinds.index("complete")) > len(kinds) - kinds[::-1].index("complete") - 1
    assert machine.left() == []


async def test_heartbeats_come_as_seldom_as_the_server_wants(machine: Machine, served: FakeServer) -> None:
    served.on("POST", "/heartbeat", beat(heartbeat_s=30.0))
    machine.sandbox.may_end.clear()
    running = asyncio.create_task(machine.supervisor(once=True).run())
    await served.until_asked("POST", "/heartbeat")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(served.until_asked("POST", "/heartbeat", 2), 10 * BEAT_S)
    machine.sandbox.may_end.set()
    await running


async def test_a_disk_that_fails_under_the_spool_ends_the_job_and_not_the_worker(
    machine: Machine, served: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Spool, attempt_id: str) -> None:
        raise OSError(5, "Input/output error", attempt_id)

    monkeypatch.setattr(Spool, "drop", broken)
    await machine.supervisor(once=True).run()
    assert machine.screen.lines[0].told[-1] == "failed the disk of this machine: input/output error"
    assert len(served.asked("POST", "/complete")) == 1


async def test_a_pause_is_told_once_and_its_end_too(machine: Machine, served: FakeServer) -> None:
    served.on("POST", "/heartbeat", beat(pause=True), beat(pause=True), beat())
    machine.sandbox.may_end.clear()
    running = asyncio.create_task(machine.supervisor(once=True).run())
    await served.until_asked("POST", "/heartbeat", 5)
    machine.sandbox.may_end.set()
    await running
    assert [told for told in machine.screen.told if told.startswith("paused")] == ["paused True", "paused False"]
