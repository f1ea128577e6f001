"""Several processes on one server: no grant twice, nothing lost with a killed one, races that end as if in turn."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import uuid_utils
from tests.integration.churning import ENDLESS, kill, lines, start
from tests.postgres import PostgresServer

from morag.domain.errors import DocumentExists
from morag.domain.task import Answer, Completed, Lease, NewTask, Offers, Parked, Reservation, Task, TaskState
from morag.storage.host import this_worker
from morag.storage.signals import LocalSignals
from morag.storage.sql import ending, holding, intake
from morag.storage.sql.postgres.database import PostgresDatabase, open_postgres
from morag.storage.sql.postgres.engine import PostgresTransaction
from morag.storage.sql.postgres.link import Link
from morag.storage.sql.transaction import Act, Moment

HOLDER = Path(__file__).with_name("postgres_holder.py")
WORKER = this_worker("test")
MOMENT = Moment(now=1_800_000_000.0, steady=1_800_000_000.0, monotonic=1_800_000_000.0, boot_id="the server")


@pytest.fixture
async def pair(postgres: PostgresServer) -> AsyncIterator[tuple[PostgresDatabase, PostgresDatabase]]:
    """Two of everything that two servers on one database have."""
    await asyncio.to_thread(postgres.empty)
    one = await open_postgres(postgres.url, signals=LocalSignals())
    two = await open_postgres(postgres.url, signals=LocalSignals())
    yield one, two
    await one.close()
    await two.close()


def new(user_id: str = "ada", *, step: str | None = None) -> NewTask:
    return NewTask(id=str(uuid_utils.uuid7()), namespace="churn", name="work", user_id=user_id, step=step)


async def claim(database: PostgresDatabase, n: int = 1, lease_s: float = 30.0) -> list[Lease]:
    return await database.tasks.claim(
        lanes=["celery"],
        worker=WORKER,
        claim_id=str(uuid_utils.uuid7()),
        n=n,
        lease_s=lease_s,
        offers=Offers(namespace="churn"),
    )


async def complete(database: PostgresDatabase, lease: Lease) -> Answer:
    return await database.tasks.settle(lease.task.id, lease.fence, Completed(result=1))


async def test_two_processes_share_one_server_and_no_grant(postgres: PostgresServer) -> None:
    await asyncio.to_thread(postgres.empty)
    processes = await asyncio.gather(start(postgres.url, "one", 100), start(postgres.url, "two", 100))
    told = await asyncio.gather(*(lines(process, 100, "settled") for process in processes))
    rest = await asyncio.gather(*(kill(process) for process in processes))
    every = [line for part in (*told, *rest) for line in part]
    granted = Counter((line[1], line[2]) for line in every if line[0] == "granted")
    assert granted.most_common(1)[0][1] == 1
    settled = Counter(line[1] for line in every if line[0] == "settled")
    assert settled.most_common(1)[0][1] == 1
    assert {line[0] for line in every} == {"submitted", "granted", "settled"}


async def test_kill_in_the_middle_loses_nothing_that_was_acknowledged(
    postgres: PostgresServer, pair: tuple[PostgresDatabase, PostgresDatabase]
) -> None:
    database, told = pair[0], list[list[str]]()
    for run in range(3):
        process = await start(postgres.url, f"run-{run}", ENDLESS)
        told += await lines(process, 60, "settled")
        told += await kill(process)
    submitted = [line[1] for line in told if line[0] == "submitted"]
    assert None not in [await database.tasks.get(task_id) for task_id in submitted]
    settled = [line[1] for line in told if line[0] == "settled"]
    done = [await database.tasks.get(task_id) for task_id in settled]
    assert {task.state for task in done if task} == {TaskState.COMPLETED}
    # the killed ones are seen by their process ids; what they held is free at once
    held = (await database.tasks.lanes())["celery"].running
    assert (await database.tasks.sweep()).expired == held
    assert (await database.tasks.lanes())["celery"].running == held
    assert len(await claim(database, n=held)) == held


async def test_client_killed_inside_a_transaction_keeps_nobody_waiting(
    postgres: PostgresServer, pair: tuple[PostgresDatabase, PostgresDatabase]
) -> None:
    database = pair[0]
    await database.tasks.submit([new()])
    holder = await asyncio.create_subprocess_exec(
        sys.executable, str(HOLDER), postgres.url, "churn", "celery", stdout=PIPE
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    claiming = asyncio.ensure_future(claim(database))
    done, _ = await asyncio.wait([claiming], timeout=0.2)
    assert not done
    holder.kill()
    await holder.wait()
    (lease,) = await claiming
    assert lease.fence == 1


async def test_one_key_makes_one_task_however_many_submit_at_once(
    pair: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    for round_ in range(10):
        keyed = [replace(new(), idempotency_key=f"key-{round_}", idempotency_digest="same") for _ in range(8)]
        submits = [database.tasks.submit([each]) for database, each in zip(pair * 4, keyed, strict=True)]
        found = await asyncio.gather(*submits)
        assert len({task.id for tasks in found for task in tasks}) == 1


async def test_one_document_id_is_reserved_once_however_many_ask_at_once(
    pair: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    for round_ in range(10):
        wanted = Reservation(document_id=f"doc-{round_}", replace_existing=False)
        asks = [replace(new(), reservation=wanted) for _ in range(8)]
        submits = [database.tasks.submit([each]) for database, each in zip(pair * 4, asks, strict=True)]
        answers = await asyncio.gather(*submits, return_exceptions=True)
        assert sum(isinstance(answer, DocumentExists) for answer in answers) == 7
        assert sum(isinstance(answer, list) for answer in answers) == 1


async def test_no_task_is_overlooked_that_comes_in_as_its_lane_runs_dry(
    pair: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    n, done = 200, set[str]()

    async def submit() -> None:
        for _ in range(n):
            await pair[0].tasks.submit([new()])

    async def work() -> None:
        while len(done) < n:
            for lease in await claim(pair[1]):
                assert await complete(pair[1], lease) is Answer.OK
                done.add(lease.task.id)

    # nothing else wakes the last of them: a user whose share was put to rest too early would wait for ever
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(submit())
        for _ in range(2):
            group.create_task(work())


async def test_last_child_wakes_its_parent_however_they_end_at_once(
    pair: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    for _ in range(5):
        await pair[0].tasks.submit([new()])
        (parent,) = await claim(pair[0])
        children = tuple(new(step=str(n)) for n in range(6))
        await pair[0].tasks.park(parent.task.id, parent.fence, Parked(children=children))
        leases = await claim(pair[0], n=6)
        answers = await asyncio.gather(
            *(complete(database, lease) for database, lease in zip(pair * 3, leases, strict=True))
        )
        assert set(answers) == {Answer.OK}
        (again,) = await claim(pair[1])
        assert (again.task.id, len(again.children)) == (parent.task.id, 6)
        await complete(pair[1], again)


async def test_cancel_of_a_tree_whose_children_end_just_then_leaves_none_open(
    pair: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    for _ in range(5):
        await pair[0].tasks.submit([new()])
        (parent,) = await claim(pair[0])
        children = tuple(new(step=str(n)) for n in range(4))
        await pair[0].tasks.park(parent.task.id, parent.fence, Parked(children=children))
        leases = await claim(pair[0], n=4)
        cancelling = pair[1].tasks.cancel(parent.task.id, user_id="ada")
        await asyncio.gather(cancelling, *(complete(pair[0], lease) for lease in leases))
        found: list[Task | None] = [await pair[0].tasks.get(parent.task.id)]
        found += await pair[0].tasks.children(parent.task.id)
        assert all(task and task.state.is_terminal for task in found)
        # had the last child come first, its parent would be pending before it is cancelled
        assert found[0] is not None
        assert found[0].state is TaskState.CANCELLED
        assert await claim(pair[1]) == []


async def test_lease_ends_by_the_clock_of_the_server(pair: tuple[PostgresDatabase, PostgresDatabase]) -> None:
    (task,) = await pair[0].tasks.submit([new()])
    (lease,) = await claim(pair[0], lease_s=0.2)
    assert (await pair[1].tasks.sweep()).expired == 0
    async with asyncio.timeout(10):
        while not (await pair[1].tasks.sweep()).expired:  # noqa: ASYNC110 -- time itself is waited for
            await asyncio.sleep(0.02)
    events = await pair[1].tasks.events(task.id)
    granted, lost = events[-2], events[-1]
    assert lost.data["reason"] == "lease_expired"
    assert 0.2 <= lost.at - granted.at < 5.0
    assert await complete(pair[0], lease) is Answer.OK


async def test_users_take_turns_however_many_claim_at_once(pair: tuple[PostgresDatabase, PostgresDatabase]) -> None:
    for user_id, n in (("greedy", 60), ("ada", 10), ("bob", 10)):
        await pair[0].tasks.submit([new(user_id) for _ in range(n)])
    granted = await asyncio.gather(*(claim(database) for database in pair * 15))
    assert Counter(lease.task.user_id for leases in granted for lease in leases) == {"greedy": 10, "ada": 10, "bob": 10}


@asynccontextmanager
async def unfinished(server: PostgresServer, act: Act[object]) -> AsyncGenerator[None]:
    """Another server's act, done but for its commit, which comes at the end of the context."""
    link = Link(server.address)

    def begin() -> None:
        link.open()
        link.script("BEGIN")
        act(PostgresTransaction(link))

    await asyncio.to_thread(begin)
    yield
    await asyncio.to_thread(link.script, "COMMIT")
    await asyncio.to_thread(link.close)


async def test_user_who_submits_just_then_is_not_put_to_rest(
    postgres: PostgresServer, pair: tuple[PostgresDatabase, PostgresDatabase]
) -> None:
    await pair[0].tasks.submit([new()])
    assert len(await claim(pair[0])) == 1
    late = new()
    async with unfinished(postgres, lambda tx: intake.submit(tx, MOMENT, [late])):
        assert await claim(pair[1]) == []
    (lease,) = await claim(pair[1])
    assert lease.task.id == late.id


async def test_claim_passes_by_a_task_that_is_being_cancelled(
    postgres: PostgresServer, pair: tuple[PostgresDatabase, PostgresDatabase]
) -> None:
    first, second = await pair[0].tasks.submit([new(), new()])
    async with unfinished(postgres, lambda tx: ending.cancel(tx, MOMENT, first.id, "ada")), asyncio.timeout(5):
        (lease,) = await claim(pair[0])
    assert lease.task.id == second.id
    assert await claim(pair[0]) == []


async def test_parent_that_parks_waits_for_no_child_that_ends_just_then(
    postgres: PostgresServer, pair: tuple[PostgresDatabase, PostgresDatabase]
) -> None:
    await pair[0].tasks.submit([new()])
    (parent,) = await claim(pair[0])
    child = new(step="one")
    # left over from an earlier run of the parent, whose count of children was lost
    async with unfinished(
        postgres, lambda tx: intake.insert(tx, MOMENT, child, user_id="ada", parent_id=parent.task.id)
    ):
        pass
    (lease,) = await claim(pair[0])
    outcome = Completed(result=1)
    async with unfinished(postgres, lambda tx: holding.settle(tx, MOMENT, lease.task.id, lease.fence, outcome)):
        parking = asyncio.ensure_future(pair[1].tasks.park(parent.task.id, parent.fence, Parked(children=(child,))))
        await asyncio.wait([parking], timeout=0.2)
    assert await parking is Answer.OK
    (again,) = await claim(pair[0])
    assert again.task.id == parent.task.id
