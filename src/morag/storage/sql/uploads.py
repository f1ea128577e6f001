"""Uploads in SQL (`control.ports.UploadStore`): who may use which blob, for a day."""

from morag.control.ports import UPLOAD_KEPT_S
from morag.domain.content import Source
from morag.storage.sql.statements import uploads as sql
from morag.storage.sql.transaction import Host, Transaction, Transactor

_GRACE_S = 3600.0
"""A task that was asked for at the last moment refers to the blob long before the row goes."""


class SqlUploadStore:
    """Uploads, durable at every return."""

    def __init__(self, engine: Transactor, host: Host) -> None:
        self._engine = engine
        self._host = host

    async def keep(self, user_id: str, upload_id: str, source: Source) -> None:
        """Let the user name a blob by `upload_id`, for UPLOAD_KEPT_S."""

        def act(tx: Transaction) -> None:
            tx.run(
                sql.KEEP,
                id=upload_id,
                user_id=user_id,
                sha256=source.sha256,
                size_bytes=source.size_bytes,
                filename=source.filename,
                media_type=source.media_type,
                steady=self._host.moment(tx).steady,
            )

        await self._engine.write(act)

    async def get(self, user_id: str, upload_id: str) -> Source | None:
        """What the user uploaded under that id; None if it is another's, too old, or never was."""

        def act(tx: Transaction) -> Source | None:
            after = self._host.moment(tx).steady - UPLOAD_KEPT_S
            row = tx.row(sql.GET, id=upload_id, user_id=user_id, after=after)
            return Source(sha256=row[0], size_bytes=row[1], filename=row[2], media_type=row[3]) if row else None

        return await self._engine.read(act)

    async def forget(self) -> int:
        """Delete those that nobody may use any more; how many."""
        return await self._engine.write(
            lambda tx: tx.run(sql.FORGET, before=self._host.moment(tx).steady - UPLOAD_KEPT_S - _GRACE_S)
        )
