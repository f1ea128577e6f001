"""API keys in SQL: the `KeyStore` that is the authority unless Redis is."""

import json
from collections.abc import Mapping

from morag.domain.identity import Scope
from morag.domain.keys import ApiKey
from morag.storage.sql.records import dump
from morag.storage.sql.statements import keys as sql
from morag.storage.sql.transaction import Row, Transaction, Transactor, Value


class SqlKeyStore:
    """Keys in the table `api_keys`; what it answers is what is committed."""

    def __init__(self, engine: Transactor) -> None:
        self._engine = engine

    async def add(self, key: ApiKey) -> None:
        """Keep a new key."""
        await self._engine.write(lambda tx: tx.run(sql.ADD, **_values(key)))

    async def get(self, key_id: str) -> ApiKey | None:
        """The key, live or not; None if there is none of that id."""
        return await self._engine.read(lambda tx: _get(tx, key_id))

    async def find(self, *, user_id: str | None = None) -> list[ApiKey]:
        """All keys, or those of a user, newest first; ended ones too."""

        def act(tx: Transaction) -> list[ApiKey]:
            rows = tx.rows(sql.OF_ALL) if user_id is None else tx.rows(sql.OF_USER, user_id=user_id)
            return [_key(row) for row in rows]

        return await self._engine.read(act)

    async def revoke(self, key_id: str, *, at: float) -> ApiKey | None:
        """End a key; one that was revoked before stays as it was. The key afterwards, None if there is none."""

        def act(tx: Transaction) -> ApiKey | None:
            tx.run(sql.REVOKE, id=key_id, at=at)
            return _get(tx, key_id)

        return await self._engine.write(act, is_urgent=True)

    async def succeed(self, key_id: str, successor: ApiKey, *, expires_at: float) -> bool:
        """Keep `successor`, and let the key expire at `expires_at` or earlier; nothing if it was revoked meanwhile."""

        def act(tx: Transaction) -> bool:
            if not tx.run(sql.EXPIRE, id=key_id, expires_at=expires_at):
                return False
            tx.run(sql.ADD, **_values(successor))
            return True

        return await self._engine.write(act)

    async def touch(self, used: Mapping[str, float]) -> None:
        """Note when keys were last used; earlier times than those known change nothing."""

        def act(tx: Transaction) -> None:
            # in one order, so that two servers do not wait for each other
            for key_id in sorted(used):
                tx.run(sql.TOUCH, id=key_id, at=used[key_id])

        await self._engine.write(act)

    async def has_any(self) -> bool:
        """Whether a key was ever made; one that has ended counts."""
        return await self._engine.read(lambda tx: tx.row(sql.ANY) is not None)


def _get(tx: Transaction, key_id: str) -> ApiKey | None:
    row = tx.row(sql.GET, id=key_id)
    return _key(row) if row else None


def _values(key: ApiKey) -> dict[str, Value]:
    return {
        "id": key.id,
        "user_id": key.user_id,
        "description": key.description,
        "scopes": dump(sorted(key.scopes)),
        "digest": key.digest,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def _key(row: Row) -> ApiKey:
    return ApiKey(
        id=row[0],
        user_id=row[1],
        description=row[2],
        scopes=frozenset(Scope(scope) for scope in json.loads(row[3])),
        digest=row[4],
        created_at=row[5],
        expires_at=row[6],
        revoked_at=row[7],
        last_used_at=row[8],
    )
