from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morag.domain.identity import Scope
from morag.domain.keys import ALPHABET, ApiKey, digest_of, key_text, parse_key

IDS = st.text(ALPHABET, min_size=12, max_size=12)
SECRETS = st.text(ALPHABET, min_size=43, max_size=43)


def key(secret: str) -> ApiKey:
    return ApiKey(
        id="a" * 12,
        user_id="ada",
        description="",
        scopes=frozenset({Scope.SUBMIT}),
        digest=digest_of(secret),
        created_at=100.0,
    )


@given(IDS, SECRETS)
def test_what_is_written_is_read_back(key_id: str, secret: str) -> None:
    presented = parse_key(key_text(key_id, secret))
    assert presented is not None
    assert (presented.key_id, presented.secret) == (key_id, secret)
    assert secret not in repr(presented)


@given(IDS, SECRETS, st.data())
def test_one_wrong_symbol_is_noticed(key_id: str, secret: str, data: st.DataObject) -> None:
    text = key_text(key_id, secret)
    place = data.draw(st.integers(0, len(text) - 1))
    symbol = data.draw(st.characters().filter(lambda each: each != text[place]))
    assert parse_key(text[:place] + symbol + text[place + 1 :]) is None


@given(IDS, SECRETS, st.text(min_size=1, max_size=3))
def test_more_or_less_than_a_key_is_none(key_id: str, secret: str, more: str) -> None:
    text = key_text(key_id, secret)
    assert parse_key(text + more) is None
    assert parse_key(more + text) is None
    assert parse_key(text[: -len(more)]) is None


@given(st.text())
def test_any_text_can_be_asked_about(text: str) -> None:
    assert parse_key(text) is None


@given(SECRETS, SECRETS)
def test_only_the_secret_itself_fits(secret: str, other: str) -> None:
    presented = parse_key(key_text("a" * 12, secret))
    assert presented is not None
    assert presented.is_of(key(secret))
    assert presented.is_of(key(other)) == (secret == other)
    assert not presented.is_of(None)


@pytest.mark.parametrize(
    ("expires_at", "revoked_at", "standing"),
    [
        (None, None, "live"),
        (200.0, None, "live"),
        (150.0, None, "expired"),
        (149.9, None, "expired"),
        (None, 149.0, "revoked"),
        (200.0, 149.0, "revoked"),
        (120.0, 149.0, "revoked"),
    ],
)
def test_only_a_live_key_lets_in(expires_at: float | None, revoked_at: float | None, standing: str) -> None:
    assert replace(key(""), expires_at=expires_at, revoked_at=revoked_at).standing(150.0) == standing


def test_a_record_does_not_show_its_digest() -> None:
    assert key("secret").digest not in repr(key("secret"))
