"""The time that delays and deadlines go by in a file: it passes as real time does, whatever is done to the wall clock.

    steady time  =  uptime of the machine  +  what the first process to ask in this boot took as its beginning

It begins as the wall clock, and while the machine is up it is its uptime that passes: a jump of the wall clock moves
nothing. While the machine is off only the wall clock can tell for how long. So the two are noted together, and a new
boot begins where the last note stands, later by what the wall clock went on since then, never earlier: what was set
before that note is left out.

Each process counts alike, so a claim reads nothing for it. A server database needs none of this: its clock is the one
for all.
"""

import json

from morag.control.ports import SteadyClock
from morag.storage.sql.statements import documents as sql
from morag.storage.sql.transaction import Moment, Transaction

NOTED_EVERY_S = 60.0
"""How old the note becomes at most while somebody sweeps."""
JUMP_S = 2.0
"""A wall clock that moved further against the steady time is noted at once."""
_BEGINNING = "steady_time_beginning"
_NOTED = "steady_time_noted"


def known(tx: Transaction, boot_id: str) -> float | None:
    """What this boot adds to its uptime, seconds; None if nobody began it."""
    row = tx.row(sql.GET_META, key=_BEGINNING)
    if row is None:
        return None
    begun_in, ahead_s = json.loads(row[0])
    return ahead_s if begun_in == boot_id else None


def begin(tx: Transaction, clock: SteadyClock, boot_id: str) -> float:
    """What this boot adds to its uptime, begun now unless another process was first."""
    ahead_s = known(tx, boot_id)
    if ahead_s is not None:
        return ahead_s
    now, uptime = clock.now(), clock.uptime()
    noted = _noted(tx)
    steady = noted[1] + max(0.0, now - noted[0]) if noted else now
    tx.run(sql.SET_META, key=_BEGINNING, value=json.dumps([boot_id, steady - uptime]))
    _note(tx, now, steady)
    return steady - uptime


def is_time_to_note(tx: Transaction, at: Moment) -> bool:
    """Whether the wall clock jumped, or the note grew old."""
    noted = _noted(tx)
    if noted is None:
        return False
    wall, steady = noted
    return abs((at.now - wall) - (at.steady - steady)) > JUMP_S or at.steady - steady > NOTED_EVERY_S


def note(tx: Transaction, at: Moment) -> None:
    """Note both as they are now."""
    _note(tx, at.now, at.steady)


def _noted(tx: Transaction) -> tuple[float, float] | None:
    row = tx.row(sql.GET_META, key=_NOTED)
    if row is None:
        return None
    wall, steady = json.loads(row[0])
    return wall, steady


def _note(tx: Transaction, wall: float, steady: float) -> None:
    tx.run(sql.SET_META, key=_NOTED, value=json.dumps([wall, steady]))
