from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morag.domain.errors import FetchRefused, StartupError
from morag.storage.fetching.addresses import MAX_URL_LENGTH, AddressPolicy, check_url
from morag.storage.fetching.routable import is_global

HOSTILE = [
    # schemes and shapes
    "file:///etc/passwd",
    "ftp://example.com/a",
    "gopher://example.com/",
    "data:text/plain,hello",
    "javascript:alert(1)",
    "//example.com/a",
    "example.com/a",
    "",
    "http://",
    "http:///etc/passwd",
    "http://?q",
    "http://[::1",
    "http://example.com:99999/",
    "http://example.com:http/",
    "http://example.com:80:80/",
    "http://a..b/",
    "http://-a.com/",
    "http://" + "a" * 64 + ".com/",
    "http://example.com/" + "a" * MAX_URL_LENGTH,
    # credentials and tricks about where the host ends
    "http://user:secret@example.com/",
    "http://user@example.com/",
    "http://@example.com/",
    "http://127.0.0.1:80@example.com/",
    "http://example.com\\@127.0.0.1/",
    "http:\\\\127.0.0.1\\",
    "http://example.com /",
    " http://example.com/",
    "http://exam\tple.com/",
    "http://example.com/\r\nHost: localhost",
    "http://127.0.0.1%00.example.com/",
    "http://%31%32%37.0.0.1/",
    "http://127.0.0.1%2f.example.com/",
    "http://example.com/\ud800",
    # ports
    "http://example.com:22/",
    "http://example.com:0/",
    "http://example.com:6379/",
    "https://example.com:25/",
    # names of this machine
    "http://localhost/",
    "http://LOCALHOST./",
    "http://a.localhost/",
    # private and reserved IPv4, plain
    "http://127.0.0.1/",
    "http://127.0.0.1./",
    "http://127.255.255.254:8080/",
    "http://0.0.0.0/",
    "http://10.1.2.3/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://192.88.99.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    # IPv4 in other clothes
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://0x7f.0.0.1/",
    "http://0x7f.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.0.0.01/",
    "http://127.0.0.1.0/",
    "http://256.0.0.1/",
    "http://8.8.8/",
    "http://0x/",
    "http://127。0。0。1/",
    "http://127.0.0.\uff11/",
    "http://①②⑦.⓪.⓪.①/",
    # IPv6
    "http://[::]/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:8.8.8.8]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::10.0.0.1]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fd20:ce::254]/",
    "http://[ff02::1]/",
    "http://[100::1]/",
    "http://[5f00::1]/",
    "http://[v1.fe80]/",
    "http://[example.com]/",
    "http://example.com[::1]/",
    "http://[8.8.8.8]/",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_url_is_refused_by_its_text(url: str) -> None:
    with pytest.raises(FetchRefused) as refusal:
        check_url(url)
    assert refusal.value.code == "url_not_allowed"
    assert "secret" not in refusal.value.message


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTPS://EXAMPLE.com:443/a?b=c#d", "https://example.com/a?b=c"),
        ("http://example.com.:8080/", "http://example.com:8080/"),
        ("https://bücher.de/ü?q=ü", "https://xn--bcher-kva.de/%C3%BC?q=%C3%BC"),
        ("https://faß.de/", "https://xn--fa-hia.de/"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
        ("http://[2606:4700:0::1111]/", "http://[2606:4700::1111]/"),
        ("https://example.com/%7Ea%20b;c=1/", "https://example.com/%7Ea%20b;c=1/"),
        ("https://my_bucket.example.com/", "https://my_bucket.example.com/"),
    ],
)
def test_public_url_is_sent_in_one_spelling(url: str, sent: str) -> None:
    assert AddressPolicy().target(url).url == sent


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("localhost", "http://localhost/"),
        ("localhost", "http://127.0.0.1:8080/"),
        ("localhost:9000", "http://[::1]:9000/"),
        ("127.0.0.1:9000", "http://127.0.0.1:9000/"),
        ("[::1]:9000", "http://[::1]:9000/"),
        ("::1", "http://[::1]/"),
        ("10.0.0.0/8", "http://10.1.2.3/"),
        ("10.0.0.0/8:9000", "http://10.1.2.3:9000/"),
        ("fd00::/8", "http://[fd00::1]/"),
        ("Intranet.Example.:9000", "http://intranet.example:9000/"),
        ("169.254.169.254", "http://169.254.169.254/"),
    ],
)
def test_named_by_the_operator_passes(allow: str, url: str) -> None:
    check_url(url, [allow])


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("localhost:9000", "http://localhost:9001/"),
        ("localhost:9000", "http://example.com:9000/"),
        ("127.0.0.1:9000", "http://127.0.0.1/"),
        ("127.0.0.1", "http://127.0.0.2/"),
        ("127.0.0.1", "http://[::ffff:127.0.0.1]/"),
        ("10.0.0.0/8", "http://10.1.2.3:22/"),
        ("10.0.0.0/8", "http://192.168.0.1/"),
        ("intranet.example", "http://10.0.0.1/"),
        ("intranet.example:9000", "http://a.intranet.example:9000/"),
        ("0.0.0.0/0", "http://169.254.169.254/"),
        ("169.254.0.0/16", "http://169.254.169.254/"),
        ("::/0", "http://[fd00:ec2::254]/"),
        ("localhost", "http://2130706433/"),
        ("localhost", "file://localhost/etc/passwd"),
    ],
)
def test_what_the_operator_named_opens_nothing_else(allow: str, url: str) -> None:
    with pytest.raises(FetchRefused):
        check_url(url, [allow])


def test_named_host_does_not_open_metadata_addresses() -> None:
    policy = AddressPolicy(["intranet.example"])
    target = policy.target("http://intranet.example/")
    policy.check_address(target, ip_address("10.0.0.1"))
    with pytest.raises(FetchRefused):
        policy.check_address(target, ip_address("169.254.169.254"))


def test_refusal_tells_the_operator_which_entry_would_allow_it() -> None:
    with pytest.raises(FetchRefused) as refusal:
        check_url("http://[::1]:9000/?token=secret")
    assert "[::1]:9000 to MORAG_FETCH_ALLOW" in (refusal.value.hint or "")
    assert "secret" not in f"{refusal.value.message}{refusal.value.hint}"


@pytest.mark.parametrize("entry", ["", "http://intranet", "*.example", "10.0.0.0/99", "2130706433", "a b", "a:b:c"])
def test_unreadable_entry_stops_the_start(entry: str) -> None:
    with pytest.raises(StartupError) as error:
        AddressPolicy([entry])
    assert error.value.code == "bad_setting"


@pytest.mark.parametrize(
    "location", ["http://10.0.0.1/", "//127.0.0.1/", "file:///etc/passwd", "http://[::1", "http://u:p@example.com/"]
)
def test_redirect_is_checked_like_any_url(location: str) -> None:
    policy = AddressPolicy()
    with pytest.raises(FetchRefused):
        policy.redirect(policy.target("https://example.com/a/b"), location)


def test_relative_redirect_stays_on_its_host() -> None:
    policy = AddressPolicy()
    assert policy.redirect(policy.target("https://example.com/a/b"), "../c?d").url == "https://example.com/c?d"


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_global_address_is_one_the_interpreter_calls_global_too(address: object) -> None:
    parsed = ip_address(str(address))
    if is_global(parsed):
        assert parsed.is_global
        assert not parsed.is_multicast


@given(st.text())
def test_any_text_is_refused_or_taken_apart(text: str) -> None:
    for url in (text, "http://" + text):
        try:
            target = AddressPolicy().target(url)
        except FetchRefused:
            continue
        assert AddressPolicy().target(target.url) == target
