"""APIKeyService over keys in memory, with a clock that is turned and a store that counts what it is asked."""

from collections.abc import Mapping

import pytest

from morag.control import auth
from morag.control.auth import APIKeyService
from morag.control.ports import KEY_COPY_S
from morag.domain.errors import Conflict, InvalidRequest, NotFound, Unavailable
from morag.domain.identity import Scope
from morag.domain.keys import ALPHABET, ApiKey, key_text
from morag.storage.memory.keys import MemoryKeyStore

DAY_S = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at - 1_000_000_000.0


class Store(MemoryKeyStore):
    """Counts look-ups, and may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up: list[str] = []
        self.asked_for_any = 0
        self.is_away = False

    async def get(self, key_id: str) -> ApiKey | None:
        self.looked_up.append(key_id)
        if self.is_away:
            raise Unavailable("away")
        return await super().get(key_id)

    async def touch(self, used: Mapping[str, float]) -> None:
        if self.is_away:
            raise Unavailable("away")
        await super().touch(used)

    async def has_any(self) -> bool:
        self.asked_for_any += 1
        return await super().has_any()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def keys(store: Store, clock: Clock) -> APIKeyService:
    return APIKeyService(store, clock)


def another(n: int) -> str:
    """A well-formed key that nobody made."""
    high, low = divmod(n, len(ALPHABET))
    return key_text(f"zzzzzzzzzz{ALPHABET[high]}{ALPHABET[low]}", "s" * 43)


async def test_a_key_is_made_found_valid_and_names_its_lane(keys: APIKeyService) -> None:
    api_key = await keys.create_api_key("user123", "Test key")
    found = await keys.validate_api_key(api_key)
    assert found is not None
    assert (found.user_id, found.description, found.scopes) == ("user123", "Test key", {Scope.SUBMIT})
    assert keys.get_user_queue_name("user123", "gpu") == "gpu-tasks-user123"


async def test_what_is_kept_and_shown_of_a_key_is_not_the_key(keys: APIKeyService, store: Store) -> None:
    issued = await keys.issue("ada")
    secret = issued.text.split("_")[2]
    assert secret not in repr(issued)
    assert secret not in str(await store.find())
    assert secret[:43] not in issued.key.digest


async def test_no_two_keys_are_alike(keys: APIKeyService) -> None:
    texts = {await keys.create_api_key("ada") for _ in range(100)}
    assert len(texts) == 100


@pytest.mark.parametrize(
    ("user_id", "fields", "field"),
    [
        ("", {}, "user_id"),
        ("a b", {}, "user_id"),
        ("a/b", {}, "user_id"),
        ("ada\n", {}, "user_id"),
        ("é", {}, "user_id"),
        ("a" * 65, {}, "user_id"),
        ("anonymous", {}, "user_id"),
        ("Anonymous", {}, "user_id"),
        ("ada", {"description": "x" * 201}, "description"),
        ("ada", {"description": "two\nlines"}, "description"),
        ("ada", {"description": another(1)}, "description"),
        ("ada", {"expires_days": 0}, "expires_days"),
        ("ada", {"expires_days": -1}, "expires_days"),
        ("ada", {"expires_days": float("nan")}, "expires_days"),
        ("ada", {"expires_days": float("inf")}, "expires_days"),
        ("ada", {"scopes": set[Scope]()}, "scopes"),
    ],
)
async def test_what_cannot_be_a_key_is_refused_by_field(
    keys: APIKeyService, user_id: str, fields: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await keys.issue(user_id, **fields)  # pyright: ignore[reportArgumentType] - wrong on purpose
    assert refused.value.field == field
    assert await keys.list_api_keys() == []


async def test_malformed_key_asks_nobody(keys: APIKeyService, store: Store) -> None:
    text = await keys.create_api_key("ada")
    wrong = text[:-1] + ("0" if text[-1] != "0" else "1")
    for malformed in ("", "mrg_x_y", wrong, f" {text}", f"{text}\0", "é" * 66):
        assert await keys.validate_api_key(malformed) is None
    assert store.looked_up == []


async def test_wrong_secret_of_a_known_key_is_refused(keys: APIKeyService) -> None:
    issued = await keys.issue("ada")
    assert await keys.validate_api_key(key_text(issued.key.id, "s" * 43)) is None
    assert await keys.validate_api_key(issued.text) is not None
    assert await keys.validate_api_key(key_text(issued.key.id, "s" * 43)) is None


async def test_the_store_is_asked_once_in_a_while(keys: APIKeyService, store: Store, clock: Clock) -> None:
    text = await keys.create_api_key("ada")
    for _ in range(10):
        assert await keys.validate_api_key(text) is not None
        assert await keys.validate_api_key(another(1)) is None
    assert len(store.looked_up) == 2
    clock.at += auth.CACHE_S
    assert await keys.validate_api_key(text) is not None
    assert await keys.validate_api_key(another(1)) is None
    assert len(store.looked_up) == 4


async def test_key_revoked_here_is_refused_at_once(keys: APIKeyService) -> None:
    issued = await keys.issue("ada")
    assert await keys.validate_api_key(issued.text) is not None
    assert (await keys.revoke_api_key(issued.key.id)).standing(0.0) == "revoked"
    assert await keys.validate_api_key(issued.text) is None


async def test_key_revoked_elsewhere_is_refused_within_a_second(
    keys: APIKeyService, store: Store, clock: Clock
) -> None:
    issued = await keys.issue("ada")
    assert await keys.validate_api_key(issued.text) is not None
    await APIKeyService(store, clock).revoke_api_key(issued.key.id)
    clock.at += auth.CACHE_S
    assert await keys.validate_api_key(issued.text) is None
    assert auth.CACHE_S + KEY_COPY_S < 1.0


async def test_key_expires_on_time_whatever_is_remembered(keys: APIKeyService, clock: Clock) -> None:
    issued = await keys.issue("ada", expires_days=2)
    clock.at += 2 * DAY_S - 0.01
    assert await keys.validate_api_key(issued.text) is not None
    clock.at += 0.01
    assert await keys.validate_api_key(issued.text) is None


async def test_flood_of_made_up_keys_pushes_out_no_real_one(
    keys: APIKeyService, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "UNKNOWN_KEPT", 5)
    keys = APIKeyService(store, Clock())
    text = await keys.create_api_key("ada")
    assert await keys.validate_api_key(text) is not None
    for n in range(20):
        assert await keys.validate_api_key(another(n)) is None
    store.looked_up.clear()
    assert await keys.validate_api_key(text) is not None
    assert store.looked_up == []
    for n in range(15, 20):
        assert await keys.validate_api_key(another(n)) is None
    assert store.looked_up == []
    assert await keys.validate_api_key(another(0)) is None
    assert len(store.looked_up) == 1


async def test_rotation_leaves_two_live_keys_for_a_day(keys: APIKeyService, clock: Clock) -> None:
    old = await keys.issue("ada", "laptop", scopes={Scope.WORKER, Scope.SUBMIT}, expires_days=30)
    assert await keys.validate_api_key(old.text) is not None
    clock.at += DAY_S
    new = await keys.rotate_api_key(old.key.id)
    assert (new.key.user_id, new.key.description, new.key.scopes) == ("ada", "laptop", old.key.scopes)
    assert new.key.expires_at == clock.at + 30 * DAY_S
    clock.at += auth.GRACE_S - 0.01
    assert await keys.validate_api_key(old.text) is not None
    assert await keys.validate_api_key(new.text) is not None
    clock.at += 0.01
    assert await keys.validate_api_key(old.text) is None
    assert await keys.validate_api_key(new.text) is not None


async def test_rotation_prolongs_no_key(keys: APIKeyService, clock: Clock) -> None:
    old = await keys.issue("ada", expires_days=0.5)
    await keys.rotate_api_key(old.key.id)
    clock.at += 0.5 * DAY_S
    assert await keys.validate_api_key(old.text) is None


async def test_ended_key_is_not_rotated(keys: APIKeyService, clock: Clock) -> None:
    revoked, expired = await keys.issue("ada"), await keys.issue("ada", expires_days=1)
    await keys.revoke_api_key(revoked.key.id)
    clock.at += DAY_S
    for ended in (revoked, expired):
        with pytest.raises(Conflict):
            await keys.rotate_api_key(ended.key.id)
    assert len(await keys.list_api_keys()) == 2


async def test_unknown_key_is_told_without_what_was_asked_for(keys: APIKeyService) -> None:
    text = another(1)
    for act in (keys.revoke_api_key, keys.rotate_api_key):
        with pytest.raises(NotFound) as refused:
            await act(text)
        assert text not in f"{refused.value.message} {refused.value.hint}"


async def test_use_is_noted_when_that_is_called_for(keys: APIKeyService, store: Store, clock: Clock) -> None:
    used, unused = await keys.issue("ada"), await keys.issue("eve")
    await keys.validate_api_key(used.text)
    await keys.validate_api_key(key_text(unused.key.id, "s" * 43))
    assert [key.last_used_at for key in await store.find()] == [None, None]
    await keys.note_use()
    assert {key.user_id: key.last_used_at for key in await store.find()} == {"ada": clock.at, "eve": None}


async def test_use_that_could_not_be_noted_is_noted_later(keys: APIKeyService, store: Store) -> None:
    used = await keys.issue("ada")
    await keys.validate_api_key(used.text)
    store.is_away = True
    with pytest.raises(Unavailable):
        await keys.note_use()
    store.is_away = False
    await keys.note_use()
    assert (await store.find())[0].last_used_at is not None


async def test_store_that_is_away_lets_nobody_in(keys: APIKeyService, store: Store, clock: Clock) -> None:
    text = await keys.create_api_key("ada")
    assert await keys.validate_api_key(text) is not None
    store.is_away = True
    clock.at += auth.CACHE_S
    with pytest.raises(Unavailable):
        await keys.validate_api_key(text)


async def test_the_first_key_is_noticed_within_a_second(keys: APIKeyService, store: Store, clock: Clock) -> None:
    assert not await keys.has_keys()
    await APIKeyService(store, clock).create_api_key("ada")
    assert not await keys.has_keys()
    assert store.asked_for_any == 1
    clock.at += auth.CACHE_S
    assert await keys.has_keys()
    assert await keys.has_keys()
    assert store.asked_for_any == 2
