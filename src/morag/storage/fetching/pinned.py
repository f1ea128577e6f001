"""One request to a checked address: resolves a host once, checks every address, connects to one of those and no other.

The only place where the fetcher opens a connection. It stands below HTTP and TLS, so Host header, SNI and certificate
keep the name while the socket goes to the address that was checked; a name that resolves otherwise later gains nothing.
Imported when the first URL is fetched: httpcore2 is not needed to start.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from typing import NamedTuple, cast

import httpcore2

from morag.domain.errors import FetchFailed
from morag.storage.fetching.addresses import AddressPolicy, Patience, Resolve, Target
from morag.storage.fetching.routable import Address

MAX_ADDRESSES = 4
"""How many addresses of a host are tried before it counts as unreachable."""

_resolvers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="resolve")
"""Threads of their own: a name server that never answers must not hold those that write files."""


async def resolve(host: str, port: int) -> list[str]:
    """Ask the operating system. Raises socket.gaierror."""
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(
        _resolvers, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    )
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connects for one target; names it resolves are checked by that target's rules."""

    def __init__(self, target: Target, policy: AddressPolicy, resolver: Resolve) -> None:
        self._target = target
        self._policy = policy
        self._resolve = resolver
        self._tcp = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore2's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first checked address that answers. Raises FetchRefused, FetchFailed, ConnectError."""
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._checked_addresses(host, port)
        except TimeoutError:
            raise httpcore2.ConnectTimeout("resolving") from None
        share_s = None if timeout is None else timeout / len(addresses)
        for address in addresses[:-1]:
            try:
                return await self._tcp.connect_tcp(str(address), port, share_s, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue  # the next address of the same host
        return await self._tcp.connect_tcp(str(addresses[-1]), port, share_s, local_address, socket_options)

    async def _checked_addresses(self, host: str, port: int) -> list[Address]:
        try:
            found = [ip_address(text) for text in await self._resolve(host, port)]
        except socket.gaierror as error:
            raise FetchFailed(
                f"The host {host} is not known.",
                code="host_not_found",
                hint="Check the spelling of the URL.",
                is_temporary=error.errno == socket.EAI_AGAIN,
            ) from None
        if not found:
            raise FetchFailed(f"The host {host} has no address.", code="host_not_found")
        for address in found:
            self._policy.check_address(self._target, address)
        return found[:MAX_ADDRESSES]


@asynccontextmanager
async def get(
    target: Target, policy: AddressPolicy, patience: Patience, *, resolver: Resolve, tls: ssl.SSLContext
) -> AsyncGenerator[httpcore2.Response]:
    """The response to a GET, its body not read yet; what goes wrong until it is closed is told as FetchFailed."""
    headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
    async with _sent(_Sending("GET", headers, b""), target, policy, patience, resolver=resolver, tls=tls) as response:
        yield response


@asynccontextmanager
async def post(
    target: Target,
    policy: AddressPolicy,
    patience: Patience,
    *,
    resolver: Resolve,
    tls: ssl.SSLContext,
    body: bytes,
    headers: Mapping[str, str],
) -> AsyncGenerator[httpcore2.Response]:
    """The response to a POST, its body not read yet; what goes wrong until it is closed is told as FetchFailed."""
    given = {**headers, "Content-Length": str(len(body))}
    async with _sent(_Sending("POST", given, body), target, policy, patience, resolver=resolver, tls=tls) as response:
        yield response


class _Sending(NamedTuple):
    """What is sent, the target aside."""

    method: str
    headers: Mapping[str, str]
    body: bytes


@asynccontextmanager
async def _sent(
    sending: _Sending,
    target: Target,
    policy: AddressPolicy,
    patience: Patience,
    *,
    resolver: Resolve,
    tls: ssl.SSLContext,
) -> AsyncGenerator[httpcore2.Response]:
    url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    headers: dict[str | bytes, str | bytes] = {
        "Host": target.authority,
        "User-Agent": "MoRAG",
        "Connection": "close",
        **sending.headers,
    }
    waits = {"connect": patience.connect_s, "read": patience.read_s, "write": patience.read_s, "pool": None}
    backend = CheckedBackend(target, policy, resolver)
    content = sending.body or None
    with _told(target):
        async with (
            httpcore2.AsyncConnectionPool(ssl_context=tls, network_backend=backend) as pool,
            pool.stream(
                sending.method, url, headers=headers, content=content, extensions={"timeout": waits}
            ) as response,
        ):
            yield response


def tls_context() -> ssl.SSLContext:
    """Verifies against the system's certificates. Reads them: call it in a thread."""
    return httpcore2.default_ssl_context()


@contextmanager
def _told(target: Target) -> Generator[None]:
    try:
        yield
    except httpcore2.TimeoutException:
        raise FetchFailed(f"{target.host} did not answer in time.", code="fetch_timeout", is_temporary=True) from None
    except httpcore2.ConnectError as error:
        raise _connect_failed(target, error) from None
    except httpcore2.NetworkError:
        raise FetchFailed(f"The connection to {target.host} broke off.", is_temporary=True) from None
    except httpcore2.ProtocolError:
        raise FetchFailed(
            f"{target.host} sent something that is not complete HTTP.", code="bad_response", is_temporary=True
        ) from None


def _connect_failed(target: Target, error: httpcore2.ConnectError) -> FetchFailed:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    if cause is not None:
        return FetchFailed(
            f"{target.host} has no valid certificate: {cause.verify_message}.",
            code="bad_certificate",
            hint="If its certificate is from an authority of your own, the operator sets SSL_CERT_FILE.",
        )
    return FetchFailed(
        f"{target.host} cannot be reached.", code="host_unreachable", hint="Check the URL.", is_temporary=True
    )
