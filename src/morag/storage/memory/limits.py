"""What users may use and do use, over the ledger: by looking at everything."""

from collections.abc import Iterable

from morag.domain.limits import Allowance, Limits, Usage, source_bytes
from morag.domain.task import TaskState
from morag.domain.transitions import is_resumed
from morag.storage.memory.documents import MemoryDocumentStore
from morag.storage.memory.ledger import Entry, Ledger


class Accounts:
    """Counts what each user has, and what that leaves them."""

    def __init__(self, ledger: Ledger, documents: MemoryDocumentStore) -> None:
        self._ledger = ledger
        self._documents = documents

    def assign(self, user_id: str | None, limits: Limits | None) -> None:
        """Give the user, or everybody, limits or take them back. Doors look again at what stands in their lanes."""
        if limits:
            self._ledger.limits[user_id] = limits
        else:
            self._ledger.limits.pop(user_id, None)
        self._ledger.ring_lanes(user_id)

    def users(self) -> list[str]:
        """Whom the ledger and the documents know."""
        limited = {user_id for user_id in self._ledger.limits if user_id is not None}
        asking = {entry.task.user_id for entry in self._ledger.entries.values()}
        return sorted(limited | asking | self._documents.users())

    def usage(self, user_id: str) -> Usage:
        """What the user uses now."""
        mine = self._ledger.of_user(user_id)
        shown = self._documents.of_user(user_id)
        return Usage(
            running=sum(entry.has_slot for entry in mine),
            queued=sum(_stands_in_line(entry) for entry in mine),
            stored_bytes=sum(document.publication.size_bytes for document in shown) + _coming(mine),
            documents=len(shown),
        )

    def allowance(self, user_id: str) -> Allowance:
        """What the user may still bring."""
        usage = self.usage(user_id)
        return Allowance(limits=self._ledger.limits_of(user_id), queued=usage.queued, stored_bytes=usage.stored_bytes)


def has_room(ledger: Ledger, user_id: str, *, for_lapsed: bool) -> bool:
    """Whether a task of the user may run beside those that do. One whose lease expired has its slot already."""
    cap = ledger.limits_of(user_id).running
    if cap is None:
        return True
    mine = ledger.of_user(user_id)
    return sum(other.is_running if for_lapsed else other.has_slot for other in mine) < cap


def _stands_in_line(entry: Entry) -> bool:
    task = entry.task
    is_root = task.parent_id is None and not is_resumed(entry.rank)
    return is_root and task.state in {TaskState.PENDING, TaskState.WAITING} and not entry.lapsed


def _coming(mine: Iterable[Entry]) -> int:
    open_roots = (entry.task for entry in mine if entry.task.parent_id is None and not entry.task.state.is_terminal)
    return sum(source_bytes(task.args) or 0 for task in open_roots)
