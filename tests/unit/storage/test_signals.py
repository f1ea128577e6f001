import asyncio
import threading
from contextlib import ExitStack
from dataclasses import replace

from morag.domain.task import NewTask, Task, TaskState
from morag.domain.transitions import opened
from morag.storage.signals import LocalSignals


async def test_a_ring_between_two_waits_is_heard() -> None:
    signals = LocalSignals()
    with signals.hear_lanes(["celery"]) as bell:
        signals.lane("celery")
        await asyncio.wait_for(bell.wait(60), 5)


async def test_every_listener_of_a_lane_hears_it() -> None:
    signals = LocalSignals()
    with signals.hear_lanes(["celery"]) as one, signals.hear_lanes(["gpu-tasks-a", "celery"]) as other:
        signals.lane("celery")
        await asyncio.wait_for(asyncio.gather(one.wait(60), other.wait(60)), 5)


async def test_other_lanes_and_tasks_do_not_ring() -> None:
    signals = LocalSignals()
    with signals.hear_task("a") as bell:
        signals.task("b")
        signals.lane("a")
        waiting = asyncio.create_task(bell.wait(60))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        signals.task("a")
        await asyncio.wait_for(waiting, 5)


async def test_a_wait_ends_after_its_time() -> None:
    with LocalSignals().hear_task("a") as bell:
        await asyncio.wait_for(bell.wait(0.01), 5)


async def test_another_thread_may_ring() -> None:
    signals = LocalSignals()
    with signals.hear_task("a") as bell:
        threading.Thread(target=signals.task, args=("a",)).start()
        await asyncio.wait_for(bell.wait(60), 5)


def test_ringing_for_a_loop_that_is_gone_is_harmless() -> None:
    signals = LocalSignals()

    async def listen() -> object:
        bell = signals.hear_task("a")
        bell.__enter__()
        return bell

    kept = asyncio.run(listen())
    signals.task("a")
    assert kept


async def test_a_wait_tells_a_ring_from_the_end_of_its_time() -> None:
    signals = LocalSignals()
    with signals.hear_task("a") as bell:
        assert not await bell.wait(0.001)
        signals.task("a")
        assert await bell.wait(60)


async def test_everything_rings_lanes_and_tasks_on_every_loop() -> None:
    signals, hung = LocalSignals(), threading.Event()

    async def listen() -> bool:
        with signals.hear_task("b") as bell:
            hung.set()
            return await bell.wait(5)

    with signals.hear_lanes(["celery"]) as lane, signals.hear_task("a") as task:
        elsewhere = asyncio.create_task(asyncio.to_thread(asyncio.run, listen()))
        assert await asyncio.to_thread(hung.wait, 5)
        signals.everything()
        assert await lane.wait(5)
        assert await task.wait(5)
        assert await elsewhere


async def test_many_rings_from_elsewhere_are_all_heard() -> None:
    signals = LocalSignals()
    with ExitStack() as stack:
        bells = [stack.enter_context(signals.hear_task(f"task {n}")) for n in range(50)]
        await asyncio.to_thread(lambda: [signals.task(f"task {n}") for n in range(50)])
        assert all(await asyncio.gather(*(bell.wait(5) for bell in bells)))


async def test_who_wakes_a_loop_anyway_sounds_its_bells_and_hands_over_what_ended() -> None:
    signals, task = LocalSignals(), ended_task("a")
    with signals.hear_task("a") as bell, signals.hear_lanes(["celery"]) as door, signals.hear_task("b") as other:
        (sound,) = signals.sounds(["celery"], {"a": task, "b": None, "c": None}).values()
        assert bell.ended is None
        sound()
        assert await bell.wait(60)
        assert await door.wait(60)
        assert await other.wait(60)
        assert (bell.ended, other.ended) == (task, None)


async def test_a_loop_in_which_nobody_listens_need_not_be_woken() -> None:
    assert not LocalSignals().sounds(["celery"], {"a": None})


async def test_it_is_known_who_is_listened_to() -> None:
    signals = LocalSignals()
    with signals.hear_task("a"):
        assert signals.heard(["a", "b"]) == ["a"]
    assert signals.heard(["a", "b"]) == []


def test_all_that_rings_tasks_is_a_change() -> None:
    signals = LocalSignals()
    seen = [signals.changes]
    for ring in (lambda: signals.task("a"), lambda: signals.sounds([], {"a": None}), signals.everything):
        ring()
        seen.append(signals.changes)
    assert len(set(seen)) == len(seen)
    signals.lane("celery")
    assert signals.changes == seen[-1]


def ended_task(task_id: str) -> Task:
    new = NewTask(id=task_id, namespace="n", name="f", user_id="u")
    return replace(
        opened(new, user_id="u", parent_id=None, now=0.0, steady=0.0), state=TaskState.COMPLETED, finished_at=1.0
    )
