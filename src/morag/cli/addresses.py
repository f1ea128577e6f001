"""Addresses as people meet them: what is this machine, where a server is found, what it means to listen elsewhere."""

import ipaddress
import re
import shlex
from pathlib import Path

_CREDENTIALS = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/?#]*@", re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(host: str, port: int, *, scheme: str = "http") -> str:
    """Where a person on this machine finds a server that listens there."""
    try:
        named = "localhost" if ipaddress.ip_address(host).is_unspecified else host
    except ValueError:
        named = host
    return f"{scheme}://[{named}]:{port}" if ":" in named else f"{scheme}://{named}:{port}"


def without_credentials(url: str) -> str:
    """A URL as it may be shown: a name and password before its host are left out."""
    return _CREDENTIALS.sub(r"\1", url)


def exposure(host: str, *, allow_anonymous: bool | None, is_encrypted: bool = False) -> list[str]:
    """What listening on the address means for who can do what; nothing to say of this machine's own."""
    if is_loopback(host):
        return []
    way = "by HTTPS" if is_encrypted else "and nothing on the way is encrypted"
    lines = [f"Listening on {host}: other machines can reach this server, {way}."]
    if allow_anonymous:
        told = "whoever reaches it may ingest, read and delete the anonymous user's documents."
        return [*lines, f"MORAG_ALLOW_ANONYMOUS=true: {told}"]
    return [
        *lines,
        "Requests without a key are refused, from here too. MORAG_ALLOW_ANONYMOUS=true would let anyone in.",
    ]


def first_key(data_dir: Path | None) -> list[str]:
    """How to make the first key of a server that keeps keys in `data_dir`, or elsewhere if that is None."""
    place = "" if data_dir is None else f"MORAG_DATA_DIR={shlex.quote(str(data_dir))} "
    return [
        "There is no API key yet, so every request is answered 401. Make the first one, while this runs:",
        f"    {place}morag keys create --user YOUR_NAME --scope submit",
    ]
