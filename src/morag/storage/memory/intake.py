"""Submits to the ledger: known keys, taken documents, fresh records."""

from collections.abc import Sequence

from morag.domain.errors import DocumentExists, IdempotencyConflict, MoragError
from morag.domain.limits import Allowance
from morag.domain.task import NewTask, Task
from morag.domain.transitions import IDEMPOTENCY_S
from morag.storage.memory.documents import MemoryDocumentStore
from morag.storage.memory.ledger import Ledger
from morag.storage.memory.limits import Accounts


class Intake:
    """Stores new tasks, all or none."""

    def __init__(self, ledger: Ledger, documents: MemoryDocumentStore, accounts: Accounts) -> None:
        self._ledger = ledger
        self._accounts = accounts
        self._documents = documents

    def submit(self, tasks: Sequence[NewTask]) -> list[Task]:
        """Store the tasks in order; each known by its key gives the task that has it."""
        before = set(self._ledger.entries)
        try:
            allowances = {new.user_id: self._accounts.allowance(new.user_id) for new in tasks}
            return [self._submit(new, allowances[new.user_id]) for new in tasks]
        except MoragError:
            for task_id in set(self._ledger.entries) - before:
                del self._ledger.entries[task_id]
            raise

    def _submit(self, new: NewTask, allowance: Allowance) -> Task:
        known = self._known(new)
        if known:
            return known
        if new.completed_with is None:
            allowance.take(new.args)
        self._check_reservation(new)
        return self._ledger.insert(new, user_id=new.user_id, parent_id=None).task

    def _known(self, new: NewTask) -> Task | None:
        if new.idempotency_key is None:
            return None
        since = self._ledger.steady() - IDEMPOTENCY_S
        for entry in reversed(self._ledger.entries.values()):
            is_same = (entry.task.user_id, entry.new.idempotency_key) == (new.user_id, new.idempotency_key)
            if is_same and entry.created_steady > since:
                if entry.new.idempotency_digest != new.idempotency_digest:
                    raise IdempotencyConflict("This idempotency key was used for another request.")
                return entry.task
        return None

    def _check_reservation(self, new: NewTask) -> None:
        if new.reservation is None or new.reservation.replace_existing:
            return
        wanted = new.reservation.document_id
        is_reserved = any(
            entry.new.reservation is not None
            and entry.new.reservation.document_id == wanted
            and entry.task.user_id == new.user_id
            and not entry.task.state.is_terminal
            for entry in self._ledger.entries.values()
        )
        if is_reserved or self._documents.is_visible(new.user_id, wanted):
            raise DocumentExists(f"There is a document {wanted} already, or one is on its way in.")
