import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.far_server import Screen

from morag.domain.errors import MoragError
from morag.worker.remote.answers import Away, KeyRefused, Redirected
from morag.worker.remote.patience import LONGEST_S, Patience, pause_s


def answering(*answers: object) -> Callable[[], Awaitable[object]]:
    left = list(answers)

    async def ask() -> object:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def moved() -> Redirected:
    return Redirected(302, "It moved.", code="redirected")


def test_pauses_double_up_to_half_a_minute_and_half_of_each_is_chance() -> None:
    assert [pause_s(tries, 1.0) for tries in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert [pause_s(tries, 0.0) for tries in (0, 3, 9, 10_000)] == [0.25, 2.0, LONGEST_S / 2, LONGEST_S / 2]


async def test_it_asks_until_there_is_an_answer_and_tells_once(patience: Patience, screen: Screen) -> None:
    ask = answering(Away("gone"), Away("gone"), Away("gone"), "here")
    assert await patience.call(ask, longest_s=0.001) == "here"
    assert screen.told == ["away server_away", "back"]


async def test_a_refusal_ends_it_at_once(patience: Patience) -> None:
    with pytest.raises(KeyRefused):
        await patience.call(answering(KeyRefused(401, "No.", code="unauthorized"), "here"))


async def test_it_comes_back_when_the_server_said_so(patience: Patience) -> None:
    busy = Away("busy")
    busy.retry_after_s = 0.2
    began = asyncio.get_running_loop().time()
    assert await patience.call(answering(busy, "here"), longest_s=0.001) == "here"
    assert asyncio.get_running_loop().time() - began >= 0.2


async def test_a_redirect_is_a_wrong_address_at_first_and_an_outage_later(patience: Patience) -> None:
    with pytest.raises(Redirected):
        await patience.call(answering(moved(), "here"))
    assert await patience.call(answering("here")) == "here"
    assert await patience.call(answering(moved(), "here"), longest_s=0.001) == "here"


@pytest.mark.parametrize("error", [Away("gone"), moved()])
async def test_at_patience_end_it_asks_once_more_and_gives_up(patience: Patience, error: MoragError) -> None:
    await patience.call(answering("here"))
    waiting = asyncio.create_task(patience.call(answering(error, error, "never asked")))
    await asyncio.sleep(0)
    patience.is_over.set()
    with pytest.raises(Away):
        await asyncio.wait_for(waiting, 0.2)
