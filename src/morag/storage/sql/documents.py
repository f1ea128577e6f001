"""Visible documents and facts about the store, in SQL: the `DocumentStore` of both planes, and `meta`."""

from collections.abc import AsyncIterator, Mapping, Sequence

from morag.domain.content import StoredDocument
from morag.storage.sql import records
from morag.storage.sql.ending import withdraw
from morag.storage.sql.statements import documents as sql
from morag.storage.sql.transaction import Host, Transaction, Transactor

PAGE = 200
"""Documents read at once when going through all of them."""


class SqlDocumentStore:
    """What search sees. Documents appear by settlements; here they are read and removed."""

    def __init__(self, engine: Transactor, host: Host) -> None:
        self._engine = engine
        self._host = host

    async def document(self, user_id: str, document_id: str) -> StoredDocument | None:
        """The visible document, None if the user has none of that id."""

        def act(tx: Transaction) -> StoredDocument | None:
            row = tx.row(sql.GET, user_id=user_id, document_id=document_id)
            return records.document(row) if row else None

        return await self._engine.read(act)

    async def visible(self, user_id: str, document_ids: Sequence[str]) -> Mapping[str, StoredDocument]:
        """The visible documents among the ids, by id."""
        asked = records.dump(list(document_ids))

        def act(tx: Transaction) -> list[StoredDocument]:
            return [records.document(row) for row in tx.rows(sql.AMONG, user_id=user_id, document_ids=asked)]

        return {found.publication.document_id: found for found in await self._engine.read(act)}

    async def documents(self, user_id: str, *, limit: int, after: str | None = None) -> list[StoredDocument]:
        """A user's documents by id, from after `after` on."""

        def act(tx: Transaction) -> list[StoredDocument]:
            rows = tx.rows(sql.PAGE, user_id=user_id, after=after or "", limit=limit)
            return [records.document(row) for row in rows]

        return await self._engine.read(act)

    async def recognise(self, user_id: str, content_hash: str, options_digest: str) -> str | None:
        """The id of the user's visible document with the same content and options, the newest if there are several."""

        def act(tx: Transaction) -> str | None:
            row = tx.row(sql.RECOGNISE, user_id=user_id, content_hash=content_hash, options_digest=options_digest)
            return row[0] if row else None

        return await self._engine.read(act)

    async def remove(self, user_id: str, document_id: str) -> bool:
        """Make a document invisible at once and cancel ingests of it under way; whether there was one."""

        def act(tx: Transaction) -> bool:
            if tx.row(sql.GET, user_id=user_id, document_id=document_id) is None:
                return False
            # tasks before documents, as settlements take them
            withdraw(tx, self._host.moment(tx), user_id, document_id)
            return tx.run(sql.REMOVE, user_id=user_id, document_id=document_id) > 0

        return await self._engine.write(act)

    async def every(self) -> AsyncIterator[StoredDocument]:
        """Every visible document of every user, page by page; what comes or goes meanwhile may be seen or not."""
        user_id, document_id = "", ""
        while page := await self._engine.read(lambda tx: _page(tx, user_id, document_id)):  # noqa: B023 -- awaited here
            for found in page:
                yield found
            user_id, document_id = page[-1].user_id, page[-1].publication.document_id


class SqlMeta:
    """Small facts about the store, by name: its id, the model its index was built with."""

    def __init__(self, engine: Transactor) -> None:
        self._engine = engine

    async def get(self, key: str) -> str | None:
        """The value, None if it was never set."""

        def act(tx: Transaction) -> str | None:
            row = tx.row(sql.GET_META, key=key)
            return row[0] if row else None

        return await self._engine.read(act)

    async def set(self, key: str, value: str) -> None:
        """Set it, durable when it returns."""
        await self._engine.write(lambda tx: tx.run(sql.SET_META, key=key, value=value))

    async def keep(self, key: str, value: str) -> str:
        """Set it unless it is set, by whichever process is first; what it is then."""

        def act(tx: Transaction) -> str:
            tx.run(sql.KEEP_META, key=key, value=value)
            return str(tx.rows(sql.GET_META, key=key)[0][0])

        return await self._engine.write(act)


def _page(tx: Transaction, user_id: str, document_id: str) -> list[StoredDocument]:
    rows = tx.rows(sql.EVERY_PAGE, user_id=user_id, document_id=document_id, limit=PAGE)
    return [records.document(row) for row in rows]
