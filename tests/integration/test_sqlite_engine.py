"""The writer thread: groups of acts in one commit, each on its own; reads beside it; a clean end."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import apsw
import pytest

from morag.domain.errors import StorageFull, Unavailable
from morag.storage.signals import LocalSignals
from morag.storage.sql import engine as module
from morag.storage.sql.engine import WATCH_S, Engine
from morag.storage.sql.transaction import Transaction

INSERT = "INSERT INTO line (n) VALUES (:n)"
COUNT = "SELECT count(*) FROM line"


def insert(n: int) -> Callable[[Transaction], int]:
    return lambda tx: tx.run(INSERT, n=n)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(tmp_path / "lines.db", LocalSignals())
    await engine.write(lambda tx: tx.run("CREATE TABLE line (n INTEGER PRIMARY KEY)"))
    yield engine
    await engine.close()


async def count(engine: Engine) -> int:
    return await engine.read(lambda tx: tx.rows(COUNT)[0][0])


async def test_write_is_seen_by_the_next_read(engine: Engine) -> None:
    await engine.write(insert(1))
    assert await count(engine) == 1


async def test_act_that_fails_is_undone_alone(engine: Engine) -> None:
    def fail(tx: Transaction) -> int:
        tx.run(INSERT, n=100)
        raise KeyError("mine")

    acts = [insert(1), insert(2), fail, insert(2), insert(3)]
    results = await asyncio.gather(*(engine.write(act) for act in acts), return_exceptions=True)
    assert [type(result) for result in results] == [int, int, KeyError, apsw.ConstraintError, int]
    assert await engine.read(lambda tx: tx.rows("SELECT n FROM line ORDER BY n")) == [(1,), (2,), (3,)]


async def test_many_acts_share_a_commit(engine: Engine, tmp_path: Path) -> None:
    await asyncio.gather(*(engine.write(insert(n)) for n in range(500)))
    # each commit of its own would have written at least one page of 4 KiB
    assert (tmp_path / "lines.db-wal").stat().st_size < 500 * 4_096 / 4
    assert await count(engine) == 500


async def test_urgent_acts_go_before_those_that_wait(engine: Engine) -> None:
    order: list[str] = []

    def noted(name: str) -> Callable[[Transaction], None]:
        return lambda _tx: order.append(name)

    held, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(_tx: Transaction) -> None:
        loop.call_soon_threadsafe(held.set)
        assert go.wait(timeout=30)

    holding = asyncio.ensure_future(engine.write(hold))
    await held.wait()
    waiting = [asyncio.ensure_future(engine.write(noted(name))) for name in ("late", "later")]
    waiting.append(asyncio.ensure_future(engine.write(noted("heartbeat"), is_urgent=True)))
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(holding, *waiting)
    assert order == ["heartbeat", "late", "later"]


async def test_full_disk_fails_the_acts_of_its_group_and_the_next_ones_go_on(engine: Engine) -> None:
    (pages,) = await engine.write(lambda tx: tx.rows("PRAGMA page_count")[0])
    await engine.write(lambda tx: tx.rows(f"PRAGMA max_page_count = {pages}"))

    def fill(tx: Transaction) -> None:
        tx.run("CREATE TABLE big AS SELECT zeroblob(1000000) AS filling")

    with pytest.raises(StorageFull):
        await engine.write(fill)
    await engine.write(lambda tx: tx.rows("PRAGMA max_page_count = 1000000"))
    await engine.write(insert(1))
    assert await count(engine) == 1


async def test_close_commits_what_is_queued_and_refuses_what_comes_after(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "lines.db", LocalSignals())
    await engine.write(lambda tx: tx.run("CREATE TABLE line (n INTEGER PRIMARY KEY)"))
    writes = [asyncio.ensure_future(engine.write(insert(n))) for n in range(50)]
    await asyncio.sleep(0)
    await engine.close()
    await asyncio.gather(*writes)
    with pytest.raises(Unavailable):
        await engine.write(insert(99))
    assert not (tmp_path / "lines.db-wal").exists()


async def test_reader_cannot_write(engine: Engine) -> None:
    with pytest.raises(apsw.ReadOnlyError):
        await engine.read(insert(1))


async def test_cancelled_caller_harms_nobody(engine: Engine) -> None:
    write = asyncio.ensure_future(engine.write(insert(1)))
    await asyncio.sleep(0)
    write.cancel()
    await engine.write(insert(2))
    assert await engine.read(lambda tx: tx.rows("SELECT n FROM line WHERE n = 2")) == [(2,)]


async def test_what_another_process_stores_rings_the_bells_here(tmp_path: Path) -> None:
    signals = LocalSignals()
    here, elsewhere = Engine(tmp_path / "lines.db", signals), Engine(tmp_path / "lines.db", LocalSignals())
    await here.write(lambda tx: tx.run("CREATE TABLE line (n INTEGER PRIMARY KEY)"))
    with signals.hear_lanes(["celery"]) as lane, signals.hear_task("a") as task:
        await elsewhere.write(insert(1))
        assert await asyncio.wait_for(lane.wait(60), 5)
        assert await asyncio.wait_for(task.wait(60), 5)
    await here.close()
    await elsewhere.close()


async def test_own_commits_do_not_ring_as_those_of_others(tmp_path: Path) -> None:
    signals = LocalSignals()
    engine = Engine(tmp_path / "lines.db", signals)
    with signals.hear_lanes(["celery"]) as bell:
        await engine.write(lambda tx: tx.run("CREATE TABLE line (n INTEGER PRIMARY KEY)"))
        assert not await bell.wait(4 * WATCH_S)
    await engine.close()


async def test_file_that_cannot_be_written_is_unavailable_until_it_can_be_again(engine: Engine) -> None:
    def out_of_reach(tx: Transaction) -> None:
        tx.rows("PRAGMA query_only = 1")
        try:
            tx.run(INSERT, n=1)
        finally:
            tx.rows("PRAGMA query_only = 0")

    with pytest.raises(Unavailable) as told:
        await engine.write(out_of_reach)
    assert told.value.hint
    await engine.write(insert(1))
    assert await count(engine) == 1


async def test_event_loop_that_is_blocked_holds_up_no_other(engine: Engine) -> None:
    queued, free = threading.Event(), threading.Event()

    async def block() -> None:
        write = asyncio.ensure_future(engine.write(insert(1)))
        await asyncio.sleep(0)
        queued.set()
        assert free.wait(timeout=30)
        await write

    blocked = asyncio.create_task(asyncio.to_thread(asyncio.run, block()))
    assert await asyncio.to_thread(queued.wait, 30)
    await asyncio.wait_for(engine.write(insert(2)), 10)
    free.set()
    await blocked
    assert await count(engine) == 2


async def test_the_write_ahead_log_is_begun_anew_when_it_is_long(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_PAGES", 40)
    for n in range(100):
        await engine.write(insert(n))
    assert (tmp_path / "lines.db-wal").stat().st_size < 70 * 4_096
    assert await count(engine) == 100


async def test_the_write_ahead_log_of_a_busy_writer_is_bounded_too(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROUP_LIMIT", 1)
    monkeypatch.setattr(module, "CHECKPOINT_PAGES_AT_MOST", 40)
    await asyncio.gather(*(engine.write(insert(n)) for n in range(100)))
    assert (tmp_path / "lines.db-wal").stat().st_size < 70 * 4_096
    assert await count(engine) == 100


async def test_doors_are_rung_when_an_act_is_queued_and_find_what_it_did(tmp_path: Path) -> None:
    signals = LocalSignals()
    engine = Engine(tmp_path / "lines.db", signals)
    await engine.write(lambda tx: tx.run("CREATE TABLE line (n INTEGER PRIMARY KEY)"))

    async def look_when_rung() -> int:
        with signals.hear_lanes(["celery"]) as bell:
            await bell.wait(60)
            found = await engine.write(lambda tx: tx.rows(COUNT)[0][0])
            assert not await bell.wait(0.1)  # it is not rung again for what it has seen
            return found

    def submit(tx: Transaction) -> None:
        tx.run(INSERT, n=1)
        tx.lanes.add("celery")

    looking = asyncio.create_task(look_when_rung())
    await asyncio.sleep(0)
    await engine.write(submit, lanes=frozenset({"celery"}))
    assert await looking == 1
    await engine.close()
