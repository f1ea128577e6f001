"""API keys in memory: the `KeyStore` of tests and of applications that keep nothing."""

from collections.abc import Mapping
from dataclasses import replace

from morag.domain.keys import ApiKey


class MemoryKeyStore:
    """Keys in a dict by id."""

    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}

    async def add(self, key: ApiKey) -> None:
        """Keep a new key."""
        self._keys[key.id] = key

    async def get(self, key_id: str) -> ApiKey | None:
        """The key, live or not; None if there is none of that id."""
        return self._keys.get(key_id)

    async def find(self, *, user_id: str | None = None) -> list[ApiKey]:
        """All keys, or those of a user, newest first; ended ones too."""
        found = [key for key in self._keys.values() if user_id in {None, key.user_id}]
        return sorted(found, key=lambda key: (-key.created_at, key.id))

    async def revoke(self, key_id: str, *, at: float) -> ApiKey | None:
        """End a key; one that was revoked before stays as it was. The key afterwards, None if there is none."""
        key = self._keys.get(key_id)
        if key is not None and key.revoked_at is None:
            key = self._keys[key_id] = replace(key, revoked_at=at)
        return key

    async def succeed(self, key_id: str, successor: ApiKey, *, expires_at: float) -> bool:
        """Keep `successor`, and let the key expire at `expires_at` or earlier; nothing if it was revoked meanwhile."""
        key = self._keys.get(key_id)
        if key is None or key.revoked_at is not None:
            return False
        ends_at = expires_at if key.expires_at is None else min(key.expires_at, expires_at)
        self._keys[key_id] = replace(key, expires_at=ends_at)
        self._keys[successor.id] = successor
        return True

    async def touch(self, used: Mapping[str, float]) -> None:
        """Note when keys were last used; earlier times than those known change nothing."""
        for key_id, at in used.items():
            key = self._keys.get(key_id)
            if key is not None and (key.last_used_at or 0.0) < at:
                self._keys[key_id] = replace(key, last_used_at=at)

    async def has_any(self) -> bool:
        """Whether a key was ever made; one that has ended counts."""
        return bool(self._keys)
