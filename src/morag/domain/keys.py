"""API keys: what is known of one, and how its text is made and taken apart.

    mrg_{key_id}_{secret}{checksum}

Each part is base62. The id is public: lists and routes name a key by it. Only the SHA-256 of the secret is kept; 256
random bits need neither salt nor a slow hash. The checksum tells a mistyped or made-up key from a real one before
anybody is asked.
"""

import hashlib
import hmac
import re
import string
import zlib
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from morag.domain.identity import Scope

KeyStanding: TypeAlias = Literal["live", "expired", "revoked"]

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 12
SECRET_LENGTH = 43
"""62^43 is a little more than 2^256."""
CHECKSUM_LENGTH = 6
"""62^6 is more than the 2^32 of a CRC-32."""

_SYMBOL = "[0-9A-Za-z]"
_KEY = re.compile(
    f"(mrg_({_SYMBOL}{{{ID_LENGTH}}})_({_SYMBOL}{{{SECRET_LENGTH}}}))({_SYMBOL}{{{CHECKSUM_LENGTH}}})", re.ASCII
)
_NOBODY = hashlib.sha256(b"").hexdigest()
"""What a secret is compared with when its key is not known; no secret is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is kept. Times are seconds since the epoch."""

    id: str
    user_id: str
    description: str
    scopes: frozenset[Scope]
    digest: str = field(repr=False)
    """SHA-256 of the secret, in hexadecimal."""
    created_at: float
    expires_at: float | None = None
    """None: it does not expire."""
    revoked_at: float | None = None
    last_used_at: float | None = None
    """To the minute; None if it was never used."""

    def standing(self, now: float) -> KeyStanding:
        """How it stands; only a live one lets anybody in."""
        if self.revoked_at is not None:
            return "revoked"
        return "live" if self.expires_at is None or now < self.expires_at else "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """A well-formed key that somebody presents."""

    key_id: str
    secret: str = field(repr=False)

    def is_of(self, key: ApiKey | None) -> bool:
        """Whether the secret is that of `key`; as long in coming if there is no such key."""
        kept = key.digest if key else _NOBODY
        return hmac.compare_digest(digest_of(self.secret), kept)


def key_text(key_id: str, secret: str) -> str:
    """The key as its owner keeps it."""
    stem = f"mrg_{key_id}_{secret}"
    return stem + _checksum(stem)


def parse_key(text: str) -> Presented | None:
    """The parts of a key, None for what cannot be one."""
    found = _KEY.fullmatch(text)
    if found is None or _checksum(found[1]) != found[4]:
        return None
    return Presented(key_id=found[2], secret=found[3])


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(stem: str) -> str:
    rest = zlib.crc32(stem.encode())
    digits: list[str] = []
    for _ in range(CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
