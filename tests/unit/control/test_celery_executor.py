"""How many doorbells are rung, and what is said of a broker that comes and goes."""

from collections.abc import Sequence

import pytest
import structlog

from morag.control.ports import ReportProgress
from morag.control.tasks.executors import celery
from morag.control.tasks.executors.background import BackgroundTasksExecutor
from morag.control.tasks.executors.celery import CeleryExecutor, Ring
from morag.control.tasks.executors.hybrid import HybridExecutor
from morag.control.tasks.intake import new_id
from morag.domain.errors import Unavailable
from morag.domain.identity import LOCAL_LANE
from morag.domain.task import Lease, NewTask, Offers, Outcome, Worker
from morag.storage.host import SystemClock
from morag.storage.memory.documents import MemoryDocumentStore
from morag.storage.memory.tasks import MemoryTaskStore
from morag.storage.signals import LocalSignals

OFFERS = Offers(namespace="test", names=frozenset({"heavy"}))
WORKER = Worker(id="w", boot_id="b")


class Company:
    """A store, an executor that rings for `heavy`, and a broker (`executors.celery.Broker`) in a list."""

    def __init__(self) -> None:
        signals, clock = LocalSignals(), SystemClock()
        self.store = MemoryTaskStore(
            MemoryDocumentStore(clock), clock=clock, signals=signals, boot_id="b", is_alive=_lives
        )
        self.rings: list[Ring] = []
        self.is_down = False
        self.executor = CeleryExecutor(
            self.store, signals, self, lane=LOCAL_LANE, offers=lambda: OFFERS, meanwhile="they wait"
        )
        self.hybrid = HybridExecutor(
            BackgroundTasksExecutor(self.store, signals, _runs_nothing, worker=WORKER, doors=[]), self.executor
        )

    def waiting(self) -> int:
        if self.is_down:
            raise Unavailable("The broker does not answer.")
        return len(self.rings)

    def ring(self, rings: Sequence[Ring]) -> None:
        self.rings.extend(rings)

    def close(self) -> None:
        self.rings.clear()

    async def submit(self, name: str = "heavy") -> str:
        (task,) = await self.store.submit([NewTask(id=new_id(), namespace="test", name=name, user_id="u")])
        return task.id


def _lives(_pid: int, _started_at: float | None) -> bool:
    return True


async def _runs_nothing(_lease: Lease, _report: ReportProgress) -> Outcome:
    raise AssertionError("nothing is claimed here")


@pytest.fixture
def company() -> Company:
    return Company()


async def test_as_many_doorbells_wait_as_tasks_are_ready(company: Company) -> None:
    ids = [await company.submit() for _ in range(3)]
    await company.submit("light")
    await company.executor.look()
    assert {ring.task_id for ring in company.rings} == set(ids)
    assert {(ring.namespace, ring.lane) for ring in company.rings} == {("test", LOCAL_LANE)}
    await company.executor.look()
    assert len(company.rings) == 3


async def test_what_the_broker_lost_is_rung_again(company: Company) -> None:
    await company.submit()
    await company.executor.look()
    company.rings.clear()
    await company.executor.look()
    assert len(company.rings) == 1


async def test_a_claimed_task_is_not_rung_for_and_a_given_back_one_is(company: Company) -> None:
    await company.submit()
    (lease,) = await company.store.claim(
        lanes=[LOCAL_LANE], worker=WORKER, claim_id="c", n=1, lease_s=30, offers=OFFERS
    )
    await company.executor.look()
    assert company.rings == []
    await company.store.release(lease.task.id, lease.fence, reason="it stops")
    await company.executor.look()
    assert [ring.task_id for ring in company.rings] == [lease.task.id]


async def test_a_broker_that_goes_and_comes_is_told_of_once_each(company: Company) -> None:
    await company.submit()
    with structlog.testing.capture_logs() as logs:
        company.is_down = True
        for _ in range(3):
            await company.executor.look()
        assert (company.executor.is_up, company.executor.serves) == (False, frozenset())
        company.is_down = False
        for _ in range(3):
            await company.executor.look()
        assert (company.executor.is_up, company.executor.serves) == (True, OFFERS.names)
    assert [entry["event"] for entry in logs] == ["celery_broker_down", "celery_broker_back"]
    assert logs[0]["meanwhile"] == "they wait"
    assert len(company.rings) == 1


async def test_a_submit_is_told_where_its_task_goes_and_why(company: Company) -> None:
    assert company.executor.route("heavy").reason == "by Celery"
    assert company.hybrid.route("heavy").reason == "heavy: by Celery"
    assert company.hybrid.route("light").reason == "light: in process"
    company.is_down = True
    await company.executor.look()
    assert company.executor.route("heavy").reason == "by Celery, as soon as its broker answers"
    assert company.hybrid.route("heavy").reason == "heavy, but the broker does not answer: in process"
    assert company.hybrid.route("light").reason == "light: in process"


async def test_tasks_that_nobody_comes_for_are_told_of_once(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery, "PATIENCE_S", 0.0)
    await company.submit()
    with structlog.testing.capture_logs() as logs:
        for _ in range(4):
            await company.executor.look()
    assert [entry["event"] for entry in logs] == ["celery_tasks_wait"]
