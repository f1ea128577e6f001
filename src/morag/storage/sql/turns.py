"""Whose turn it is in a lane, task after task: what a claim decides before it grants.

Users come in the order of what they were charged, read a page at a time; of each the head of every kind of work is
looked up once and then read on as far as it is served.

A user at the limit of running tasks is passed over inside the statement that looks for the next users (the view
`turns`); their share stays as it is. Users at a limit above 0 are at most as many as tasks run, and one costs a count
of that few entries of an index. A task whose lease expired has its slot still, so it may be granted at the limit.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field

from morag.domain.task import Offers
from morag.domain.transitions import LAST_RANK, is_offered
from morag.storage.sql.statements import claim as sql
from morag.storage.sql.transaction import Transaction

_ANY_NUMBER, _ANY = 3, 2
"""Room for tasks of the user: as many as there are, any one; less is room for one only whose lease expired."""
_AHEAD = 16
"""Tasks of one kind read at once at most."""


@dataclass(slots=True, order=True)
class _User:
    """A user in the lane, in the order of turns."""

    charged: float
    last_grant: int
    user_id: str
    room: int = field(compare=False)
    weight: float = field(compare=False)
    kinds: "list[_Kind] | None" = field(default=None, compare=False)
    has_others: bool = field(default=True, compare=False)
    """Whether there may be tasks of theirs in the lane that are not on offer."""


@dataclass(slots=True, eq=False)
class _Kind:
    """A user's tasks of one kind that are on offer, as far as they are read: (rank, id) in order."""

    name: str
    content_type: str
    heads: deque[tuple[int, str]]
    after: tuple[int, str] | None
    """How far it is read; None: to its end."""
    ahead: int = 1


@dataclass(slots=True, kw_only=True, eq=False)
class Turn:
    """The next task and whose it is."""

    user: _User
    task_id: str

    @property
    def charged(self) -> float:
        """What the user was charged until now."""
        return self.user.charged

    @property
    def weight(self) -> float:
        """How much of the lane is the user's, in relation to the others."""
        return self.user.weight

    @property
    def is_capped(self) -> bool:
        """Whether the user has a limit on running tasks."""
        return self.user.room < _ANY_NUMBER


class Turns:
    """The turns of one claim in one lane."""

    def __init__(self, tx: Transaction, offers: Offers, queue: dict[str, str], *, most: int) -> None:
        """For up to `most` tasks of the `queue`, a lane and a namespace."""
        self._tx = tx
        self._offers = offers
        self._queue = queue
        self._page = most
        self._waiting: list[_User] = []
        self._read_to: tuple[float, int, str] | None = (-1.0, 0, "")
        self._charged: dict[str, _User] = {}
        self._idle: list[_User] = []

    def next(self) -> Turn | None:
        """The first task of the lowest-charged user with something on offer; of equals who was served longest ago."""
        while user := self._next_user():
            task_id = self._first_of(user) if user.room >= _ANY else self._first_lapsed(user)
            if task_id:
                return Turn(user=user, task_id=task_id)
            if not user.has_others:
                self._idle.append(user)
        return None

    def charge(self, turn: Turn, *, charged: float, last_grant: int) -> None:
        """The task was taken: its user stands behind those who were charged less."""
        user = turn.user
        user.charged, user.last_grant = charged, last_grant
        self._charged[user.user_id] = user
        if turn.is_capped:
            ((user.room,),) = self._tx.rows(sql.ROOM, user_id=user.user_id, **self._queue)
        if user.room:
            heapq.heappush(self._waiting, user)

    def close(self) -> None:
        """Write down who was charged what, and who has nothing left; once all that was chosen is granted."""
        for user in self._charged.values():
            charged = {"pass": user.charged}
            self._tx.run(sql.CHARGE, user_id=user.user_id, last_grant=user.last_grant, **self._queue, **charged)
        for user in self._idle:
            # a share that is locked belongs to somebody who submits just now
            if self._tx.row(sql.LOCK_SHARE, user_id=user.user_id, **self._queue):
                self._tx.run(sql.REST_SHARE, user_id=user.user_id, **self._queue)

    def _next_user(self) -> _User | None:
        while self._read_to and (not self._waiting or _place(self._waiting[0]) > self._read_to):
            self._read_page(self._read_to)
        return heapq.heappop(self._waiting) if self._waiting else None

    def _read_page(self, after: tuple[float, int, str]) -> None:
        place = {"pass": after[0], "last_grant": after[1], "user_id": after[2]}
        page = [_User(*row) for row in self._tx.rows(sql.NEXT_USERS, n=self._page, **place, **self._queue)]
        for user in page:
            heapq.heappush(self._waiting, user)
        self._read_to = _place(page[-1]) if len(page) == self._page else None

    def _first_of(self, user: _User) -> str | None:
        """The user's first task on offer, among the heads of each kind of work; taken from there."""
        if user.kinds is None:
            user.kinds = self._kinds_of(user)
        for kind in user.kinds:
            if not kind.heads and kind.after:
                self._read_on(user, kind, kind.after)
        kinds = [kind for kind in user.kinds if kind.heads]
        if not kinds:
            return None
        return min(kinds, key=lambda each: each.heads[0]).heads.popleft()[1]

    def _kinds_of(self, user: _User) -> list[_Kind]:
        found: list[_Kind] = []
        name, content_type, user.has_others = "", "", False
        # beyond every rank: the seek lands on the next kind, not on the rest of this one
        while row := self._tx.row(
            sql.NEXT_KIND,
            user_id=user.user_id,
            name=name,
            content_type=content_type,
            last_rank=LAST_RANK,
            **self._queue,
        ):
            name, content_type, rank, task_id = row
            if is_offered(self._offers, name, content_type):
                found.append(_Kind(name, content_type, deque([(rank, task_id)]), after=(rank, task_id)))
            else:
                user.has_others = True
        return found

    def _read_on(self, user: _User, kind: _Kind, after: tuple[int, str]) -> None:
        kind.ahead = min(2 * kind.ahead, _AHEAD)
        rows = self._tx.rows(
            sql.NEXT_OF_KIND,
            user_id=user.user_id,
            name=kind.name,
            content_type=kind.content_type,
            rank=after[0],
            id=after[1],
            n=kind.ahead,
            **self._queue,
        )
        kind.heads.extend((rank, task_id) for rank, task_id in rows)
        kind.after = kind.heads[-1] if len(rows) == kind.ahead else None

    def _first_lapsed(self, user: _User) -> str | None:
        """The user's first task on offer whose lease expired."""
        found = self._tx.rows(sql.FIRST_LAPSED, user_id=user.user_id, **self._queue)
        return next(
            (task_id for name, kind, task_id in found if is_offered(self._offers, name, kind)),
            None,
        )


def _place(user: _User) -> tuple[float, int, str]:
    return user.charged, user.last_grant, user.user_id
