"""Acts on a real server: whole or not at all, run again when others overtake them, by seeks alone."""

import asyncio
import importlib
import threading
from collections.abc import AsyncIterator, Callable

import pytest
from tests.postgres import PostgresServer

from morag.domain.errors import Unavailable
from morag.storage.signals import LocalSignals
from morag.storage.sql.postgres import dialect
from morag.storage.sql.postgres.database import open_postgres
from morag.storage.sql.postgres.engine import PostgresEngine
from morag.storage.sql.postgres.link import Link
from morag.storage.sql.transaction import Transaction

COUNT = "SELECT count(*) FROM line"


def insert(n: int) -> Callable[[Transaction], int]:
    return lambda tx: tx.run("INSERT INTO line (n) VALUES (:n)", n=n)


@pytest.fixture
async def engine(postgres: PostgresServer) -> AsyncIterator[PostgresEngine]:
    await (await open_postgres(postgres.url, signals=LocalSignals())).close()
    await asyncio.to_thread(postgres.script, "CREATE TABLE line (n BIGINT PRIMARY KEY, word TEXT)")
    engine = PostgresEngine(postgres.address, LocalSignals())
    yield engine
    await engine.close()
    await asyncio.to_thread(postgres.script, "DROP TABLE line")


async def count(engine: PostgresEngine) -> int:
    return await engine.read(lambda tx: tx.rows(COUNT)[0][0])


async def test_act_that_fails_is_undone_alone(engine: PostgresEngine) -> None:
    def fail(tx: Transaction) -> int:
        tx.run("INSERT INTO line (n) VALUES (:n)", n=100)
        raise KeyError("mine")

    acts = [insert(1), insert(2), fail, insert(3)]
    results = await asyncio.gather(*(engine.write(act) for act in acts), return_exceptions=True)
    assert [type(result) for result in results] == [int, int, KeyError, int]
    assert await engine.read(lambda tx: tx.rows("SELECT n FROM line ORDER BY n")) == [(1,), (2,), (3,)]


async def test_acts_that_wait_for_each_other_are_both_done(engine: PostgresEngine) -> None:
    meeting, runs = threading.Barrier(2), list[str]()

    def crossing(first: str, second: str) -> Callable[[Transaction], None]:
        def act(tx: Transaction) -> None:
            runs.append(first)
            tx.lock(first)
            if len(runs) <= 2:
                meeting.wait(timeout=30)
            tx.lock(second)

        return act

    await asyncio.gather(engine.write(crossing("a", "b")), engine.write(crossing("b", "a")))
    assert len(runs) == 3


async def test_lock_lets_one_act_read_and_write_at_a_time(engine: PostgresEngine) -> None:
    def count_up(tx: Transaction) -> None:
        tx.lock("line")
        found = tx.rows(COUNT)[0][0]
        tx.run("INSERT INTO line (n) VALUES (:n)", n=found)

    await asyncio.gather(*(engine.write(count_up) for _ in range(50)))
    assert await count(engine) == 50


async def test_read_sees_one_snapshot(engine: PostgresEngine) -> None:
    has_begun, go = threading.Event(), threading.Event()

    def look(tx: Transaction) -> tuple[int, int]:
        before = tx.rows(COUNT)[0][0]
        has_begun.set()
        assert go.wait(timeout=30)
        return before, tx.rows(COUNT)[0][0]

    looking = asyncio.ensure_future(engine.read(look))
    await asyncio.to_thread(has_begun.wait)
    await engine.write(insert(1))
    go.set()
    assert await looking == (0, 0)
    assert await count(engine) == 1


async def test_read_cannot_write(engine: PostgresEngine) -> None:
    with pytest.raises(Exception, match="read-only transaction"):
        await engine.read(insert(1))
    assert await count(engine) == 0


async def test_text_with_nul_is_kept_as_far_as_the_server_can(engine: PostgresEngine) -> None:
    await engine.write(lambda tx: tx.run("INSERT INTO line (n, word) VALUES (1, :word)", word="a\0b"))
    assert await engine.read(lambda tx: tx.rows("SELECT word FROM line")) == [("a\N{REPLACEMENT CHARACTER}b",)]


async def test_close_does_what_is_queued_and_refuses_what_comes_after(engine: PostgresEngine) -> None:
    other = PostgresEngine(engine.address, LocalSignals())
    writes = [asyncio.ensure_future(other.write(insert(n))) for n in range(50)]
    await asyncio.sleep(0)
    await other.close()
    await asyncio.gather(*writes)
    assert await count(engine) == 50
    with pytest.raises(Unavailable):
        await other.write(insert(99))


async def test_cancelled_caller_harms_nobody(engine: PostgresEngine) -> None:
    write = asyncio.ensure_future(engine.write(insert(1)))
    await asyncio.sleep(0)
    write.cancel()
    await engine.write(insert(2))
    assert await engine.read(lambda tx: tx.rows("SELECT n FROM line WHERE n = 2")) == [(2,)]


@pytest.mark.parametrize("module", ["claim", "holding", "ending", "intake", "reading", "documents"])
async def test_every_statement_is_a_seek_whatever_is_known_of_the_tables(engine: PostgresEngine, module: str) -> None:
    statements = importlib.import_module(f"morag.storage.sql.statements.{module}")
    named = {name: text for name, text in vars(statements).items() if name.isupper()}
    assert named
    plans = await asyncio.to_thread(lambda: {name: plan(engine, text) for name, text in named.items()})
    scans = ("Seq Scan", "Hash Cond", "Merge Cond")
    assert {name: text for name, text in plans.items() if any(scan in text for scan in scans)} == {}


def plan(engine: PostgresEngine, shared: str) -> str:
    text, names = dialect.statement(shared)
    link = Link(engine.address)
    link.open()
    try:
        link.script(f"PREPARE asked AS {text}")
        nothing = f"({', '.join(['NULL'] * len(names))})" if names else ""
        return "\n".join(str(row[0]) for row in link.rows(f"EXPLAIN EXECUTE asked{nothing}", {}))
    finally:
        link.close()
