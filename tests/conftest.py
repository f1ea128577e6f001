"""What tests of several kinds share: a Postgres and a Redis server a test process, and logs left as they were found."""

from collections.abc import Iterator

import pytest
import structlog
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer


@pytest.fixture(autouse=True)
def logs_as_found() -> Iterator[None]:
    """`capture_logs` leaves structlog configured, and the library of tasks then keeps its hands off it."""
    was_configured = structlog.is_configured()
    yield
    if not was_configured:
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server; its tables are as the test before left them."""
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """A running server that appends what it is told to a file; it holds what the test before left there."""
    server = RedisServer(is_durable=True)
    server.start()
    yield server
    server.remove()
