"""Which places the fetcher may reach: pure rules over URLs and IP addresses. Nothing here resolves or connects.

A URL passes twice: as text, before anything is sent (`target`), and by the addresses its host resolved to, before one
of them is connected to (`check_address`). What passes neither rule but is named by the operator passes.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import idna

from morag.domain.errors import FetchRefused, StartupError
from morag.storage.fetching.routable import METADATA, Address, is_global

Network = IPv4Network | IPv6Network

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to IP addresses as text, best first. Raises socket.gaierror."""

PORTS = frozenset({80, 443, 8080, 8443})
"""Ports reached without being named by the operator: where web servers are, and nothing else by custom."""
MAX_URL_LENGTH = 8192

_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMERIC_END = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")
_BRACKETED = re.compile(r"\[[0-9a-fA-F.]*:[0-9a-fA-F:.]*\](:[0-9]*)?")
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\\\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for the other side, seconds."""

    connect_s: float = 10.0
    """Resolving, connecting and TLS, each."""
    read_s: float = 30.0
    """For the next bytes."""
    total_s: float = 900.0
    """For everything, redirects included: 2 GiB at 2.4 MB/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL taken apart once; what is connected to and what is sent come from here, never from the text again."""

    scheme: str
    host: str
    """Lower case, in ASCII; an IPv6 address without brackets."""
    port: int
    path: str
    """Path and query as sent."""

    @property
    def authority(self) -> str:
        """The Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.scheme) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL, without fragment."""
        return f"{self.scheme}://{self.authority}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Allowed:
    """One thing the operator named: a host or a network, at one port or at those anyone may use."""

    host: str | None = None
    network: Network | None = None
    port: int | None = None

    def opens_port(self, target: Target) -> bool:
        return self.port == target.port and (self.host == target.host or self._holds(_literal(target.host)))

    def opens_address(self, target: Target, address: Address) -> bool:
        if self.port not in {None, target.port}:
            return False
        if address in METADATA:
            return self.network is not None and self.network.num_addresses == 1 and address in self.network
        return self.host == target.host or self._holds(address)

    def _holds(self, address: Address | None) -> bool:
        return address is not None and self.network is not None and address in self.network


class AddressPolicy:
    """The rules with the operator's exceptions (`MORAG_FETCH_ALLOW`: host, host:port, address, network, localhost)."""

    def __init__(self, allow: Sequence[str] = ()) -> None:
        """Raises StartupError with code `bad_setting` for an entry that is none of those."""
        self._allowed = tuple(rule for entry in allow for rule in _parse_allowed(entry))

    def target(self, url: str) -> Target:
        """The URL taken apart, checked for scheme, credentials, port and literal address. Raises FetchRefused."""
        target = _parse_url(url)
        if target.port not in PORTS and not any(rule.opens_port(target) for rule in self._allowed):
            raise _refused(f"Port {target.port} is not one this server fetches from.", target)
        literal = _literal(target.host)
        if literal is not None:
            self.check_address(target, literal)
        elif _is_local_name(target.host) and not any(rule.host == target.host for rule in self._allowed):
            raise _refused(f"{target.host} is this server itself.", target)
        return target

    def redirect(self, origin: Target, location: str) -> Target:
        """Where a Location header leads, checked like any URL. Raises FetchRefused."""
        try:
            return self.target(urljoin(origin.url, location))
        except ValueError:
            raise FetchRefused("It redirects to something that is not a URL.") from None

    def check_address(self, target: Target, address: Address) -> None:
        """Raises FetchRefused unless the address is globally routable, or the operator named it for this target."""
        if is_global(address) or any(rule.opens_address(target, address) for rule in self._allowed):
            return
        raise _refused(f"{target.host} is at a private, local or reserved address, which is not fetched from.", target)


def check_url(url: str, allow: Sequence[str] = ()) -> None:
    """Refuse a URL by its text alone, at submit. Raises FetchRefused."""
    AddressPolicy(allow).target(url)


def _refused(message: str, target: Target) -> FetchRefused:
    port = "" if target.port in PORTS else f":{target.port}"
    host = f"[{target.host}]" if ":" in target.host and port else target.host
    hint = f"If this server may reach it, its operator adds {host}{port} to MORAG_FETCH_ALLOW and starts it again."
    return FetchRefused(message, hint=hint)


def _parse_url(url: str) -> Target:
    if len(url) > MAX_URL_LENGTH:
        raise FetchRefused(f"The URL is longer than {MAX_URL_LENGTH} characters.")
    if _UNSAFE.search(url):
        raise FetchRefused(
            "The URL contains a space, a backslash or a control character.", hint="Percent-encode what is part of it."
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise FetchRefused("This is not a URL.") from None
    if parts.scheme not in {"http", "https"}:
        raise FetchRefused("Only http:// and https:// URLs are fetched.")
    if "@" in parts.netloc:
        raise FetchRefused(
            "The URL contains credentials.", hint="Download the file yourself and upload it; passwords are not kept."
        )
    if "[" in parts.netloc and not _BRACKETED.fullmatch(parts.netloc):
        raise FetchRefused("The URL has brackets around something that is not an IPv6 address.")
    return Target(
        scheme=parts.scheme,
        host=_parse_host(parts.hostname or ""),
        port=_default_port(parts.scheme) if port is None else port,
        path=_path_of(parts),
    )


def _path_of(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return f"{path}?{query}" if query else path


def _parse_host(text: str) -> str:
    """One spelling of a host: an address in its canonical form, or a name in ASCII without the root's dot."""
    host = _ascii(text).removesuffix(".")
    literal = _literal(host)
    if literal is not None:
        return str(literal)
    if _NUMERIC_END.fullmatch(host):
        raise FetchRefused("The host is a number that is not a plain IP address.", hint="Write it as 192.0.2.1.")
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise FetchRefused("The URL has no valid host name.", hint="Write it as https://example.com/page.")
    return host


def _ascii(host: str) -> str:
    if host.isascii():
        return host.lower()
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise FetchRefused("The URL has no valid host name.") from None


def _literal(host: str) -> Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return None if isinstance(address, IPv6Address) and address.scope_id else address


def _is_local_name(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _parse_allowed(entry: str) -> tuple[_Allowed, ...]:
    text, port = _split_port(entry.strip().lower())
    if text == "localhost":
        loopback = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
        return (_Allowed(host=text, port=port), *(_Allowed(network=network, port=port) for network in loopback))
    try:
        return (_Allowed(network=ip_network(text, strict=False), port=port),)
    except ValueError:
        pass
    try:
        return (_Allowed(host=_parse_host(text), port=port),)
    except FetchRefused:
        raise StartupError(
            f"MORAG_FETCH_ALLOW has an entry that is no host, address or network: {entry!r}.",
            code="bad_setting",
            hint="Write for example intranet.example, intranet.example:9000, 10.1.2.3, 10.0.0.0/8 or localhost.",
        ) from None


def _split_port(entry: str) -> tuple[str, int | None]:
    bracketed = re.fullmatch(r"\[(.+)\](?::(\d{1,5}))?", entry) or re.fullmatch(r"([^:]+):(\d{1,5})", entry)
    if bracketed is None:
        return entry, None
    return bracketed[1], int(bracketed[2]) if bracketed[2] else None
