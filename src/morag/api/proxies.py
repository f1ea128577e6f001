"""Proxies before the server: who may speak for others, and what they say of them.

A request from a trusted peer is read as the client's own: its address, scheme and Host. From anybody else the same
headers change nothing; that they are there makes the request no local one (`access.comes_from_here`).
"""

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from starlette.datastructures import Headers

FOR, PROTO, HOST = "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"
_SCHEMES = frozenset({"http", "https"})
_PREFIX_V6 = 64
"""What one household or server is given; single addresses in it cost nothing."""


@dataclass(frozen=True, slots=True)
class Proxies:
    """Addresses and networks that may speak for others."""

    trusted: tuple[str, ...]

    def speaks_for_others(self, address: str) -> bool:
        """Whether the address is one of them."""
        found = read_address(address)
        return found is not None and any(found in ip_network(each, strict=False) for each in self.trusted)

    def unfold(self, scope: MutableMapping[str, Any]) -> None:
        """Put the client in the place of a trusted peer, as that peer tells of it, and note that it was one."""
        peer = scope.get("client")
        if not self.trusted or peer is None or not self.speaks_for_others(peer[0]):
            return
        headers = Headers(scope=scope)
        scope.setdefault("state", {})["is_forwarded"] = True
        scope["client"] = (self._client(peer[0], headers.getlist(FOR)), 0)
        scheme = _last(headers.getlist(PROTO)).lower()
        scope["scheme"] = scheme if scheme in _SCHEMES else scope["scheme"]
        if host := _last(headers.getlist(HOST)):
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            scope["headers"] = [*others, (b"host", host.encode("latin-1"))]

    def _client(self, peer: str, told: Iterable[str]) -> str:
        """The last address that no trusted proxy has: what stands before it anybody could have written."""
        client = peer
        for entry in reversed(_entries(told)):
            found = read_address(entry)
            if found is None:
                break
            client = str(found)
            if not self.speaks_for_others(client):
                break
        return client


def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with or without a port or brackets, an IPv4 one as such; None if it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found


def neighbourhood(address: str) -> str:
    """What counts as one stranger: an IPv4 address, or the /64 of an IPv6 one."""
    found = read_address(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found), _PREFIX_V6), strict=False))
    return str(found or address)


def _entries(values: Iterable[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def _last(values: Iterable[str]) -> str:
    """What the nearest proxy wrote."""
    return (_entries(values) or [""])[-1]
