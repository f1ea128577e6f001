"""What tests of several kinds share: a Postgres server a test process."""

from collections.abc import Iterator

import pytest
from tests.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server; its tables are as the test before left them."""
    server = PostgresServer()
    server.start()
    yield server
    server.remove()
