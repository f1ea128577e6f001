"""What tests of several kinds share: a Postgres and a Redis server a test process."""

from collections.abc import Iterator

import pytest
from tests.postgres import PostgresServer
from tests.redis_server import RedisServer


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
