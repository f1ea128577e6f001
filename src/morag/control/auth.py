"""APIKeyService: keys are made, found valid, listed, replaced and revoked here, whoever asks, wherever they are kept.

A key presented ─▶ checksum ─▶ cache (≤ CACHE_S) ─▶ KeyStore (≤ KEY_COPY_S old) ─▶ compare ─▶ live? ─▶ ApiKey

Both ages together stay under a second, so a revoked key is refused within a second on every server.
"""

import math
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from morag.control.ports import KEY_COPY_S, Clock, KeyStore
from morag.domain.errors import Conflict, InvalidRequest, NotFound, Unavailable
from morag.domain.identity import ANONYMOUS, Scope, is_user_id, user_lane
from morag.domain.keys import ALPHABET, ID_LENGTH, SECRET_LENGTH, ApiKey, digest_of, key_text, parse_key

CACHE_S = 0.9 - KEY_COPY_S
"""How long an answer of the store is believed; a tenth of the second is left for what happens in between."""
KNOWN_KEPT = 10_000
UNKNOWN_KEPT = 1_000
"""Ids nobody has are remembered apart, so that a flood of made-up keys pushes out no real one."""
GRACE_S = 86_400.0
"""How long a key lives on beside the one that replaces it."""
NOTE_USE_S = 60.0
"""How often the owner of the service calls `note_use`."""
DAY_S = 86_400.0
LONGEST_DAYS = 36_500
LONGEST_DESCRIPTION = 200

SUBMIT_ONLY = frozenset({Scope.SUBMIT})

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey:
    """A new key: the only time that its text is there to be read."""

    text: str = field(repr=False)
    key: ApiKey


class APIKeyService:
    """The keys of all users. Time that passes is told by the clock's `monotonic`, dates by its `now`."""

    def __init__(self, store: KeyStore, clock: Clock) -> None:
        """Keep the keys in `store`."""
        self._store = store
        self._clock = clock
        self._known = _Recent[ApiKey](KNOWN_KEPT)
        self._unknown = _Recent[None](UNKNOWN_KEPT)
        self._has_keys = False
        self._ask_again_at = -math.inf
        self._used: dict[str, float] = {}

    async def create_api_key(
        self,
        user_id: str,
        description: str = "",
        *,
        scopes: Collection[Scope] = SUBMIT_ONLY,
        expires_days: float | None = None,
    ) -> str:
        """`issue` for who needs the text alone."""
        issued = await self.issue(user_id, description, scopes=scopes, expires_days=expires_days)
        return issued.text

    async def issue(
        self,
        user_id: str,
        description: str = "",
        *,
        scopes: Collection[Scope] = SUBMIT_ONLY,
        expires_days: float | None = None,
    ) -> IssuedKey:
        """Make a key for a user. Without `expires_days` it does not expire. Raises InvalidRequest."""
        _check_user(user_id)
        _check_description(description)
        _check_days(expires_days)
        if not scopes:
            raise InvalidRequest("A key needs at least one scope.", field="scopes")
        now = self._clock.now()
        expires_at = None if expires_days is None else now + expires_days * DAY_S
        issued = _fresh(user_id, description, scopes=frozenset(scopes), created_at=now, expires_at=expires_at)
        await self._store.add(issued.key)
        return issued

    async def validate_api_key(self, api_key: str) -> ApiKey | None:
        """The live key that this is the text of; None for any other text. Raises Unavailable."""
        presented = parse_key(api_key)
        if presented is None:
            return None
        key = await self._get(presented.key_id)
        is_right = presented.is_of(key)
        now = self._clock.now()
        if key is None or not is_right or key.standing(now) != "live":
            return None
        self._used[key.id] = now
        return key

    async def has_keys(self) -> bool:
        """Whether a key was ever made, seen within CACHE_S. Raises Unavailable."""
        if not self._has_keys and self._clock.monotonic() >= self._ask_again_at:
            began = self._clock.monotonic()
            self._has_keys = await self._store.has_any()
            self._ask_again_at = began + CACHE_S
        return self._has_keys

    async def list_api_keys(self, user_id: str | None = None) -> list[ApiKey]:
        """All keys, or those of a user, newest first; ended ones too."""
        return await self._store.find(user_id=user_id)

    async def revoke_api_key(self, key_id: str) -> ApiKey:
        """End a key: it is refused at once here, within a second elsewhere. Raises NotFound."""
        key = await self._store.revoke(key_id, at=self._clock.now())
        self._known.drop(key_id)
        if key is None:
            raise _no_such_key()
        return key

    async def rotate_api_key(self, key_id: str) -> IssuedKey:
        """Make the key that replaces one, with its user, scopes and lifetime; the old one lives on for GRACE_S.

        Raises NotFound, and Conflict for a key that has ended.
        """
        old, now = await self._store.get(key_id), self._clock.now()
        if old is None:
            raise _no_such_key()
        lifetime_s = None if old.expires_at is None else old.expires_at - old.created_at
        issued = _fresh(
            old.user_id,
            old.description,
            scopes=old.scopes,
            created_at=now,
            expires_at=None if lifetime_s is None else now + lifetime_s,
        )
        if old.standing(now) != "live" or not await self._store.succeed(key_id, issued.key, expires_at=now + GRACE_S):
            raise Conflict("This key has ended.", code="key_ended", hint="Make a new one instead.")
        self._known.drop(key_id)
        return issued

    async def note_use(self) -> None:
        """Write down which keys were used since the last call. Raises Unavailable; the next call tries again."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._store.touch(used)
        except Unavailable:
            self._used = {**used, **self._used}
            raise

    def get_user_queue_name(self, user_id: str, worker_type: Literal["gpu", "cpu"] = "gpu") -> str:
        """The lane that only the user's own machines serve."""
        return user_lane(user_id, worker_type)

    async def _get(self, key_id: str) -> ApiKey | None:
        began = self._clock.monotonic()
        if key := self._known.get(key_id, began):
            return key
        if self._unknown.has(key_id, began):
            return None
        key = await self._store.get(key_id)
        if key is None:
            self._unknown.keep(key_id, None, until=began + CACHE_S)
        else:
            self._known.keep(key_id, key, until=began + CACHE_S)
        return key


class _Recent(Generic[V]):
    """Values by id, each until a time; when there are too many, the one kept first goes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: dict[str, tuple[V, float]] = {}

    def has(self, key_id: str, now: float) -> bool:
        found = self._kept.get(key_id)
        return found is not None and now < found[1]

    def get(self, key_id: str, now: float) -> V | None:
        return self._kept[key_id][0] if self.has(key_id, now) else None

    def keep(self, key_id: str, value: V, *, until: float) -> None:
        self.drop(key_id)
        if len(self._kept) >= self._size:
            del self._kept[next(iter(self._kept))]
        self._kept[key_id] = (value, until)

    def drop(self, key_id: str) -> None:
        self._kept.pop(key_id, None)


def _fresh(
    user_id: str, description: str, *, scopes: frozenset[Scope], created_at: float, expires_at: float | None
) -> IssuedKey:
    key_id, secret = _random(ID_LENGTH), _random(SECRET_LENGTH)
    key = ApiKey(
        id=key_id,
        user_id=user_id,
        description=description,
        scopes=scopes,
        digest=digest_of(secret),
        created_at=created_at,
        expires_at=expires_at,
    )
    return IssuedKey(text=key_text(key_id, secret), key=key)


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _check_user(user_id: str) -> None:
    if not is_user_id(user_id):
        raise InvalidRequest(
            "A user id is 1 to 64 of letters, digits, dot, underscore and hyphen.", code="bad_user_id", field="user_id"
        )
    if user_id.lower() == ANONYMOUS:
        raise InvalidRequest(
            f"The user id {ANONYMOUS} is that of requests without a key.",
            code="reserved_user_id",
            hint="Choose another name.",
            field="user_id",
        )


def _check_description(description: str) -> None:
    if len(description) > LONGEST_DESCRIPTION or not description.isprintable():
        raise InvalidRequest(
            f"A description is at most {LONGEST_DESCRIPTION} printable characters.", field="description"
        )
    if "mrg_" in description:
        raise InvalidRequest("A description must not hold a key.", field="description")


def _check_days(days: float | None) -> None:
    if days is not None and not 0 < days <= LONGEST_DAYS:
        raise InvalidRequest(
            f"A key expires after more than 0 and at most {LONGEST_DAYS} days.",
            hint="Leave it out for a key that does not expire.",
            field="expires_days",
        )


def _no_such_key() -> NotFound:
    # what was asked for is not repeated: it may be a key itself
    return NotFound(
        "There is no key of that id.", code="key_not_found", hint="Keys are named by the part between the underscores."
    )
