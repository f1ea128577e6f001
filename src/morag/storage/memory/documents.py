"""Visible documents in memory: the `DocumentStore` of both planes."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from morag.control.ports import Clock
from morag.domain.content import Generation, Publication, StoredDocument


class MemoryDocumentStore:
    """What search sees, in a dict by user and id."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shown: dict[tuple[str, str], StoredDocument] = {}
        self._withdraw: Callable[[str, str], None] = lambda _user_id, _document_id: None

    def on_remove(self, withdraw: Callable[[str, str], None]) -> None:
        """Have `withdraw` called with user and id of each document that is removed."""
        self._withdraw = withdraw

    async def document(self, user_id: str, document_id: str) -> StoredDocument | None:
        """The visible document, None if the user has none of that id."""
        return self._shown.get((user_id, document_id))

    async def visible(self, user_id: str, document_ids: Sequence[str]) -> Mapping[str, StoredDocument]:
        """The visible documents among the ids, by id."""
        return {known: self._shown[user_id, known] for known in document_ids if (user_id, known) in self._shown}

    async def documents(self, user_id: str, *, limit: int, after: str | None = None) -> list[StoredDocument]:
        """A user's documents by id, from after `after` on."""
        mine = (self._shown[key] for key in sorted(self._shown) if key[0] == user_id and key[1] > (after or ""))
        return [found for found, _ in zip(mine, range(limit), strict=False)]

    async def recognise(self, user_id: str, content_hash: str, options_digest: str) -> str | None:
        """The id of the user's visible document with the same content and options, the newest if there are several."""
        same = [
            (-found.updated_at, found.publication.document_id)
            for found in self._shown.values()
            if found.user_id == user_id
            and found.publication.content_hash == content_hash
            and found.publication.options_digest == options_digest
        ]
        return min(same)[1] if same else None

    async def remove(self, user_id: str, document_id: str) -> bool:
        """Make a document invisible at once and cancel ingests of it under way; whether there was one."""
        if self._shown.pop((user_id, document_id), None) is None:
            return False
        self._withdraw(user_id, document_id)
        return True

    async def every(self) -> AsyncIterator[StoredDocument]:
        """Every visible document of every user."""
        for key in sorted(self._shown):
            if found := self._shown.get(key):
                yield found

    def publish(self, user_id: str, publication: Publication, task_id: str, fence: int) -> None:
        """Make a generation the visible one, unless the one that is was submitted later."""
        key, now = (user_id, publication.document_id), self._clock.now()
        before = self._shown.get(key)
        if before and before.generation.task_id > task_id:
            return
        self._shown[key] = StoredDocument(
            user_id=user_id,
            publication=publication,
            generation=Generation(document_id=publication.document_id, task_id=task_id, fence=fence),
            created_at=before.created_at if before else now,
            updated_at=now,
        )

    def is_visible(self, user_id: str, document_id: str) -> bool:
        """Whether the user has a visible document of that id."""
        return (user_id, document_id) in self._shown

    def of_user(self, user_id: str) -> list[StoredDocument]:
        """All visible documents of the user."""
        return [found for (owner, _), found in self._shown.items() if owner == user_id]

    def users(self) -> set[str]:
        """Who has documents."""
        return {owner for owner, _ in self._shown}

    def blobs(self) -> set[str]:
        """All blobs that visible documents refer to."""
        shown = [found.publication for found in self._shown.values()]
        return {blob for told in shown for blob in (told.document_blob, told.original_blob) if blob}
