"""Buckets of requests, under a clock that is turned by hand."""

import pytest

from morag.api import rates as rating
from morag.api.rates import Rates
from morag.domain.errors import LimitReached
from morag.domain.identity import ANONYMOUS, Caller, Scope
from morag.domain.limits import Limits

SIX = Limits(requests_per_minute=6)
ADA = Caller(user_id="ada", scopes=frozenset({Scope.SUBMIT}))
BOX = Caller(user_id="ada", scopes=frozenset({Scope.WORKER}))
STRANGER = Caller(user_id=ANONYMOUS, scopes=frozenset({Scope.SUBMIT}))


class Turned:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Turned:
    return Turned()


@pytest.fixture
def rates(clock: Turned) -> Rates:
    return Rates(clock)


def asked(rates: Rates, caller: Caller = ADA, peer: str = "", limits: Limits = SIX) -> int:
    """How many requests are let through at once."""
    let_in = 0
    for _ in range(50):
        try:
            rates.take(caller, peer, limits)
        except LimitReached:
            break
        let_in += 1
    return let_in


def test_a_minutes_requests_may_come_at_once_and_then_as_time_goes_by(rates: Rates, clock: Turned) -> None:
    assert asked(rates) == 6
    clock.now += 9.0
    assert asked(rates) == 0
    clock.now += 2.0
    assert asked(rates) == 1
    clock.now += 3600.0
    assert asked(rates) == 6


def test_headers_tell_what_is_left_and_when_all_is_back(rates: Rates) -> None:
    assert rates.take(ADA, "", SIX) == {"RateLimit-Policy": '"requests";q=6;w=60', "RateLimit": '"requests";r=5;t=10'}


def test_refusal_says_when_one_more_may_come(rates: Rates, clock: Turned) -> None:
    asked(rates)
    clock.now += 4.0
    with pytest.raises(LimitReached) as caught:
        rates.take(ADA, "", SIX)
    assert (caught.value.code, caught.value.retry_after_s) == ("too_many_requests", 6)
    clock.now += caught.value.retry_after_s
    assert asked(rates) == 1


def test_nothing_is_let_through_where_nothing_may(rates: Rates) -> None:
    with pytest.raises(LimitReached) as caught:
        rates.take(ADA, "", Limits(requests_per_minute=0))
    assert caught.value.retry_after_s == 60


def test_who_has_no_limit_is_not_counted(rates: Rates) -> None:
    assert rates.take(ADA, "", Limits()) == {}
    assert asked(rates, limits=Limits()) == 50


def test_owners_do_not_use_up_what_their_machines_need(rates: Rates) -> None:
    assert (asked(rates), asked(rates, BOX)) == (6, 6)


def test_strangers_are_counted_by_address(rates: Rates) -> None:
    assert asked(rates, STRANGER, "203.0.113.7") == 6
    assert asked(rates, STRANGER, "203.0.113.7") == 0
    assert asked(rates, STRANGER, "203.0.113.8") == 6
    assert asked(rates, STRANGER, "2001:db8::1") == 6
    assert asked(rates, STRANGER, "2001:db8::2") == 0


def test_a_lower_limit_counts_at_once(rates: Rates) -> None:
    rates.take(ADA, "", Limits(requests_per_minute=100))
    assert asked(rates) == 6


def test_a_crowd_of_addresses_is_forgotten_once_it_is_full_again(
    rates: Rates, clock: Turned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rating, "MOST_BUCKETS", 3)
    for last in range(3):
        asked(rates, STRANGER, f"203.0.113.{last}")
    clock.now += 30.0
    asked(rates, ADA)
    clock.now += 31.0
    asked(rates, STRANGER, "203.0.113.9")
    assert asked(rates, ADA) == 3
    assert asked(rates, STRANGER, "203.0.113.0") == 6


async def test_limits_are_read_once_a_second(rates: Rates, clock: Turned) -> None:
    read: list[str] = []

    async def store(user_id: str) -> Limits:
        read.append(user_id)
        return Limits(running=len(read))

    assert [(await rates.limits("ada", store)).running for _ in range(3)] == [1, 1, 1]
    assert (await rates.limits("bob", store)).running == 2
    clock.now += 1.0
    assert (await rates.limits("ada", store)).running == 3
