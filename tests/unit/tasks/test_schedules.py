from dataclasses import dataclass, field
from datetime import datetime

import pytest

from morag.control.tasks.schedules import LOOK_S, Cron, Every, Scheduler, schedule_of
from morag.domain.errors import InvalidRequest, Unavailable


@dataclass
class FakeClock:
    wall: float

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.wall


@dataclass
class Submitted:
    ticks: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    is_broken: bool = False

    async def __call__(self, name: str, tick: float) -> None:
        if self.is_broken:
            raise Unavailable("busy")
        self.ticks.append((name, tick))


def test_ticks_are_multiples_of_the_period() -> None:
    every = Every(60)
    assert (every.last(119.0), every.last(120.0), every.next(119.0), every.next(120.0)) == (60, 120, 120, 180)


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("expression", "now", "last", "following"),
    [
        ("30 3 * * *", "2026-01-01T03:29:59Z", "2025-12-31T03:30:00Z", "2026-01-01T03:30:00Z"),
        ("30 3 * * *", "2026-01-01T03:30:00Z", "2026-01-01T03:30:00Z", "2026-01-02T03:30:00Z"),
        ("*/15 * * * *", "2026-01-01T10:07:00.5Z", "2026-01-01T10:00:00Z", "2026-01-01T10:15:00Z"),
        ("0 0 29 2 *", "2026-06-01T00:00:00Z", "2024-02-29T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 9 * * MON", "2026-11-22T12:00:00Z", "2026-11-16T09:00:00Z", "2026-11-23T09:00:00Z"),
    ],
)
def test_cron_times_are_in_utc(expression: str, now: str, last: str, following: str) -> None:
    cron = Cron(expression)
    assert (cron.last(at(now)), cron.next(at(now))) == (at(last), at(following))


@pytest.mark.parametrize("expression", ["", "often", "61 * * * *", "* * * *", "0 0 31 2 *"])
def test_what_is_no_cron_expression_is_refused(expression: str) -> None:
    with pytest.raises(InvalidRequest, match="no schedule"):
        Cron(expression)


def test_a_task_has_one_schedule() -> None:
    assert schedule_of(None, None) is None
    assert schedule_of(5, None) == Every(5)
    assert schedule_of(None, "* * * * *") == Cron("* * * * *")
    with pytest.raises(InvalidRequest):
        schedule_of(5, "* * * * *")


async def test_a_tick_is_submitted_once_and_none_for_the_time_before() -> None:
    clock, submitted = FakeClock(1000.0), Submitted()
    scheduler = Scheduler(lambda: [("a", Every(60))], submitted, clock)
    for moment in (1000.0, 1019.0, 1020.0, 1021.0, 1079.9, 1080.5):
        clock.wall = moment
        await scheduler.act()
    assert submitted.ticks == [("a", 1020.0), ("a", 1080.0)]


async def test_ticks_slept_through_are_not_made_up_for() -> None:
    clock, submitted = FakeClock(1000.0), Submitted()
    scheduler = Scheduler(lambda: [("a", Every(10))], submitted, clock)
    await scheduler.act()
    clock.wall = 1095.0
    await scheduler.act()
    assert submitted.ticks == [("a", 1090.0)]


async def test_a_clock_set_back_repeats_nothing() -> None:
    clock, submitted = FakeClock(1000.0), Submitted()
    scheduler = Scheduler(lambda: [("a", Every(10))], submitted, clock)
    for moment in (1000.0, 1010.0, 1000.0, 1010.0):
        clock.wall = moment
        await scheduler.act()
    assert submitted.ticks == [("a", 1010.0)]


async def test_a_clock_set_right_by_a_day_stops_no_schedule() -> None:
    clock, submitted = FakeClock(100_000.0), Submitted()
    scheduler = Scheduler(lambda: [("a", Every(10))], submitted, clock)
    for moment in (100_000.0, 100_010.0, 13_600.0, 13_605.0, 13_610.0, 13_605.0, 13_620.0):
        clock.wall = moment
        await scheduler.act()
    assert submitted.ticks == [("a", 100_010.0), ("a", 13_610.0), ("a", 13_620.0)]


async def test_a_clock_set_back_step_by_step_is_followed_too() -> None:
    clock, submitted = FakeClock(100_000.0), Submitted()
    scheduler = Scheduler(lambda: [("a", Every(10))], submitted, clock)
    for moment in (100_000.0, 97_500.0, 95_000.0, 95_010.0):
        clock.wall = moment
        await scheduler.act()
    assert submitted.ticks == [("a", 95_010.0)]


@pytest.mark.parametrize(("period_s", "pause_s"), [(60, LOOK_S), (0.5, 0.2)])
async def test_it_sleeps_until_the_next_tick_but_looks_each_second(period_s: float, pause_s: float) -> None:
    scheduler = Scheduler(lambda: [("a", Every(period_s))], Submitted(), FakeClock(1000.3))
    assert await scheduler.act() == pytest.approx(pause_s)  # pyright: ignore[reportUnknownMemberType] - pytest's own


async def test_a_busy_store_costs_a_tick_and_no_more() -> None:
    clock, submitted = FakeClock(1000.0), Submitted(is_broken=True)
    scheduler = Scheduler(lambda: [("a", Every(10))], submitted, clock)
    await scheduler.act()
    clock.wall = 1010.0
    await scheduler.act()
    submitted.is_broken, clock.wall = False, 1020.0
    await scheduler.act()
    assert submitted.ticks == [("a", 1020.0)]
