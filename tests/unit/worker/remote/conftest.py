"""A server that a test scripts, and a worker's parts that talk to it."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from tests.far_server import FakeServer, Screen

from morag.protocol import LeaseMessage
from morag.worker.remote.client import Client
from morag.worker.remote.patience import Patience


@pytest.fixture
def far() -> FakeServer:
    return FakeServer()


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def patience(screen: Screen) -> Patience:
    return Patience(screen)


@pytest.fixture
async def client(far: FakeServer) -> AsyncIterator[Client]:
    async with Client("https://far.example", "mrg_key", transport=httpx2.MockTransport(far.handle)) as made:
        yield made


@pytest.fixture
def lease() -> Callable[..., LeaseMessage]:
    def make(**more: Any) -> LeaseMessage:
        fields: dict[str, Any] = {
            "attempt_id": "t1.1",
            "task_id": "t1",
            "fence": 1,
            "name": "convert",
            "content_type": "document",
            "media_type": "text/markdown",
            "options": {},
            "timeout_s": 60.0,
            "lease_s": 20.0,
            **more,
        }
        return LeaseMessage.model_validate(fields)

    return make
