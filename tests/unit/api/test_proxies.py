"""What is believed of proxies."""

from typing import Any

import pytest

from morag.api.proxies import Proxies, neighbourhood

TRUSTED = Proxies(("10.0.0.0/8", "::1", "127.0.0.1"))


def unfolded(peer: str | None, *headers: tuple[str, str], proxies: Proxies = TRUSTED) -> dict[str, Any]:
    scope: dict[str, Any] = {
        "type": "http",
        "scheme": "http",
        "client": (peer, 4711) if peer else None,
        "headers": [(b"host", b"inner"), *((name.lower().encode(), value.encode()) for name, value in headers)],
    }
    proxies.unfold(scope)
    return scope


@pytest.mark.parametrize(
    ("told", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:4321", "203.0.113.7"),
        ("[2001:db8::7]:4321", "2001:db8::7"),
        ("6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.1.1.1", "203.0.113.7"),
        ("127.0.0.1, 203.0.113.7, 10.1.1.1", "203.0.113.7"),
        ("10.1.1.1", "10.1.1.1"),
        ("nonsense", "10.0.0.1"),
        ("203.0.113.7, nonsense", "10.0.0.1"),
        ("203.0.113.7, nonsense, 10.1.1.1", "10.1.1.1"),
        ("", "10.0.0.1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_client_is_the_last_address_that_is_no_proxys(told: str, client: str) -> None:
    assert unfolded("10.0.0.1", ("X-Forwarded-For", told))["client"][0] == client


def test_several_headers_are_one_list() -> None:
    told = (("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "203.0.113.7, 10.1.1.1"))
    assert unfolded("::1", *told)["client"][0] == "203.0.113.7"


def test_trusted_proxy_names_scheme_and_host() -> None:
    scope = unfolded("10.0.0.1", ("X-Forwarded-Proto", "HTTPS"), ("X-Forwarded-Host", "forged, morag.example"))
    assert scope["scheme"] == "https"
    assert [value for name, value in scope["headers"] if name == b"host"] == [b"morag.example"]
    assert scope["state"]["is_forwarded"]


def test_made_up_scheme_is_not_taken() -> None:
    assert unfolded("10.0.0.1", ("X-Forwarded-Proto", "gopher"))["scheme"] == "http"


@pytest.mark.parametrize(
    ("peer", "proxies"), [("203.0.113.7", TRUSTED), ("10.0.0.1", Proxies(())), (None, TRUSTED), ("peer", TRUSTED)]
)
def test_anybody_else_changes_nothing(peer: str | None, proxies: Proxies) -> None:
    told = (("X-Forwarded-For", "127.0.0.1"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "localhost"))
    scope = unfolded(peer, *told, proxies=proxies)
    assert scope["client"] == ((peer, 4711) if peer else None)
    assert (scope["scheme"], scope["headers"][0], "state" in scope) == ("http", (b"host", b"inner"), False)


@pytest.mark.parametrize(
    ("address", "known_as"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("", ""),
    ],
)
def test_strangers_are_known_by_what_an_address_costs(address: str, known_as: str) -> None:
    assert neighbourhood(address) == known_as
