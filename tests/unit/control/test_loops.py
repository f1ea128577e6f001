"""Loops that must not end: started again after a bug, seen to be ailing, closed for good."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from morag.control.tasks.loops import Loops


class Loop:
    """Breaks as told each time it is begun, and goes on after the last."""

    def __init__(self, *troubles: Callable[[], Awaitable[None]]) -> None:
        self._troubles = list(troubles)
        self.begun = 0
        self.is_sound = asyncio.Event()

    async def serve(self) -> None:
        self.begun += 1
        if self._troubles:
            await self._troubles.pop(0)()
            return
        self.is_sound.set()
        await asyncio.Event().wait()


async def raises() -> None:
    raise KeyError("a bug")


async def raises_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.Event().wait())
        group.create_task(raises())


async def returns() -> None:
    return


async def is_cancelled_from_within() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("trouble", [raises, raises_in_a_group, returns, is_cancelled_from_within])
async def test_loop_that_ends_by_itself_is_started_again_and_told_of(trouble: Callable[[], Awaitable[None]]) -> None:
    loops, loop = Loops(first_pause_s=0.001), Loop(trouble, trouble)
    with capture_logs() as told:
        loops.start("executor", loop.serve)
        async with asyncio.timeout(5):
            await loop.is_sound.wait()
    assert (loop.begun, loops.ailing) == (3, ["executor"])
    assert [(each["event"], each["loop"]) for each in told] == [("loop_broken", "executor")] * 2
    await loops.close()


async def test_loop_that_breaks_again_and_again_is_started_ever_more_rarely() -> None:
    loops, loop = Loops(first_pause_s=0.05), Loop(raises, raises, raises)
    began = asyncio.get_running_loop().time()
    loops.start("executor", loop.serve)
    async with asyncio.timeout(5):
        await loop.is_sound.wait()
    assert asyncio.get_running_loop().time() - began >= 0.05 + 0.1 + 0.2
    await loops.close()


async def test_sound_loops_are_not_ailing_and_the_broken_one_disturbs_no_other() -> None:
    loops, sound, broken = Loops(first_pause_s=0.001), Loop(), Loop(raises)
    loops.start("supervisor", sound.serve)
    assert loops.ailing == []
    loops.start("executor", broken.serve)
    async with asyncio.timeout(5):
        await broken.is_sound.wait()
    assert (sound.begun, loops.ailing) == (1, ["executor"])
    await loops.close()


async def test_loop_that_broke_is_ended_like_any_other_by_whoever_ends_all_tasks() -> None:
    loops, loop = Loops(first_pause_s=0.001), Loop(raises_in_a_group)
    before = asyncio.all_tasks()
    loops.start("executor", loop.serve)
    async with asyncio.timeout(5):
        await loop.is_sound.wait()
        rest = asyncio.all_tasks() - before
        for task in rest:
            task.cancel()
        await asyncio.wait(rest)
    assert loop.begun == 2


async def test_closing_ends_loops_also_those_that_fail_at_it() -> None:
    ended: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("stubborn")
            raise OSError("while it gave back what it had")

    loops, loop = Loops(first_pause_s=0.001), Loop()
    loops.start("executor", stubborn)
    loops.start("supervisor", loop.serve)
    await loop.is_sound.wait()
    async with asyncio.timeout(5):
        await loops.close()
    assert (ended, loops.ailing) == (["stubborn"], [])
