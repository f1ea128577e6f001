"""Rings a lane when a task is due that this process delayed: a delay of 20 ms shall not last until the next sweep.

A hint as every doorbell: the record is the truth, and what a process delayed that then died is found by the sweep.
"""

import asyncio

from morag.control.ports import Signals

PROMPT_S = 60.0
"""Longer delays are left to the sweep, which is late by a second at most: no timer is kept for hours."""


def ring_when_due(signals: Signals, lane: str, delay_s: float) -> None:
    """Ring the lane after `delay_s`, from now on the event loop that runs; only if that is a delay, and a short one."""
    if 0 < delay_s <= PROMPT_S:
        asyncio.get_running_loop().call_later(delay_s, signals.lane, lane)
