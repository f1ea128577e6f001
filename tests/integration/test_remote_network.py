"""What a user's machine and the server survive when the network between them is bad: real processes, real sockets.

Rarer and longer things, and a large result over a bad line, are for `chaos/remote_worker.py`.
"""

from collections.abc import Callable, Iterator

import pytest
from tests.integration import network_trials as trials
from tests.integration.far_place import Place, Server
from tests.integration.network_trials import Times, Trial

pytestmark = [pytest.mark.xdist_group("remote_network"), pytest.mark.timeout(150)]

TIMES = Times(cut_s=3.0, transfer_bytes=2 * 1024**2)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    server = Server(tmp_path_factory.mktemp("network"))
    server.start()
    with Place(server, "alice") as made:
        yield made
    server.close()


@pytest.fixture
def place(home: Place) -> Iterator[Place]:
    yield home
    home.clear()


@pytest.mark.parametrize(
    "trial",
    [
        trials.latency,
        trials.resets,
        trials.silence_during_a_job,
        trials.short_cut,
        trials.stopped_worker,
        trials.full_disk,
        trials.wrong_clock,
    ],
    ids=lambda trial: trial.__name__,
)
def test_one_result_is_committed_whatever_the_network_does(
    place: Place, trial: Trial, record_property: Callable[[str, object], None]
) -> None:
    for what, value in trial(place, TIMES).items():
        record_property(what, value)
