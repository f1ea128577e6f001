import asyncio
import threading
from contextlib import ExitStack

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
