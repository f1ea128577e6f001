"""Which IP addresses are the public internet's: the special-purpose registries of IANA as tables, and one question."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

_NOT_GLOBAL_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation, as the other /24 below
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
    )
)
"""The IANA special-purpose registry, https://www.iana.org/assignments/iana-ipv4-special-registry."""

_GLOBAL_V6 = IPv6Network("2000::/3")
"""All that is assigned as global unicast; mapped, NAT64, unique local, link-local and multicast lie outside."""
_NOT_GLOBAL_V6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which wraps any IPv4 address
        "3fff::/20",  # documentation
    )
)

METADATA = frozenset(
    ip_address(address)
    for address in (
        "169.254.169.254",  # AWS, Azure, Google and most others
        "169.254.170.2",  # AWS containers
        "169.254.170.23",
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure, a globally routable address
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",
        "fd20:ce::254",  # Google
    )
)
"""Where clouds hand their machines credentials. Only an entry for exactly one of them opens it, no name or network."""


def is_global(address: Address) -> bool:
    """Whether the address is one of the public internet's, by the tables above.

    The interpreter's `is_global` is not asked: it changed its answers between patch releases of one Python.
    """
    if address in METADATA:
        return False
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _NOT_GLOBAL_V4)
    return address in _GLOBAL_V6 and not any(address in block for block in _NOT_GLOBAL_V6)
