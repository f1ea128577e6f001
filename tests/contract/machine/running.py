"""Runs the machine over a store: for so many examples, from a seed, and says what it did."""

import asyncio
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings, stateful
from tests.contract.machine.acting import Counted
from tests.contract.machine.bugs import Bug
from tests.contract.machine.rules import StoreMachine, of
from tests.contract.machine.subjects import InMemory, InPostgres, InSqlite, Machine, Open, Subject, template
from tests.postgres import SCHEMA, PostgresServer

from morag.storage.sql.migrate import known_migrations
from morag.storage.sql.postgres.link import Link
from morag.storage.sql.postgres.migrate import migrate

STEPS = 50
"""In one example."""
STORES = ("memory", "sqlite", "postgres")
RAM = Path("/dev/shm")  # noqa: S108 -- a folder of its own is made in it
"""Where there is no disk to wait for, if this system has it."""


@contextmanager
def store(name: str) -> Generator[Open]:
    """How to open a fresh store of that name, again and again."""
    if name == "memory":
        yield InMemory
    elif name == "postgres":
        with _server() as server, asyncio.Runner() as runner:

            def open_postgres(machine: Machine) -> Subject:
                server.empty()
                return InPostgres(machine, runner, server.address)

            yield open_postgres
    else:
        with _files() as open_sqlite:
            yield open_sqlite


@contextmanager
def _server() -> Generator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        link = Link(server.address)
        migrate(link, SCHEMA, known_migrations())
        link.close()
        yield server
    finally:
        server.remove()


@contextmanager
def _files() -> Generator[Open]:
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory(dir=RAM if RAM.is_dir() else None) as folder:
        empty = template(Path(folder))

        def open_sqlite(machine: Machine) -> Subject:
            return InSqlite(machine, runner, empty)

        yield open_sqlite


def drive(open_subject: Open, *, examples: int, start: int, is_shrinking: bool = True) -> Counted:
    """Run so many examples. Raises AssertionError with the steps that lead to it if the store is wrong."""
    machine = of(open_subject)
    _run(machine, examples, start, is_shrinking=is_shrinking)
    return machine.counted


def steps_to_find(bug: Bug, *, examples: int, start: int = 1) -> int | None:
    """How many steps the machine takes until it finds a planted bug; None if it does not."""
    with store(bug.store) as open_subject, bug.plant():
        machine = of(open_subject)
        try:
            _run(machine, examples, start, is_shrinking=False)
        except AssertionError:
            return machine.counted.steps
    return None


def _run(machine: type[StoreMachine], examples: int, start: int, *, is_shrinking: bool) -> None:
    chosen = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        verbosity=Verbosity.normal if is_shrinking else Verbosity.quiet,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
        phases=[Phase.generate, Phase.shrink] if is_shrinking else [Phase.generate],
    )
    run: Callable[..., None] = vars(stateful)["run_state_machine_as_test"]  # its first parameter has no type
    run(seed(start)(machine), settings=chosen)
