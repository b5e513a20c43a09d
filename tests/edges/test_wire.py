"""What the shells read off a request: the client's address, and where the app is."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from kmsi_middleware.edges.wire import Clients, Where, joined_headers, plain, raw_target, url_path
from kmsi_middleware.vocabulary.errors import Refused
from kmsi_middleware.vocabulary.messages import Site
from kmsi_middleware.vocabulary.settings import Settings

PROXIES = ("10.0.0.0/8", "192.0.2.7", "2001:db8:1::/48")


# The client's address ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        # No proxy of ours: what the peer says of others counts for nothing.
        ("198.51.100.1", "", "198.51.100.1"),
        ("198.51.100.1", "203.0.113.9", "198.51.100.1"),
        ("198.51.100.1", "203.0.113.9, 10.0.0.1", "198.51.100.1"),
        # Behind proxies of ours: the rightmost that is none of them.
        ("10.1.2.3", "", "10.1.2.3"),
        ("10.1.2.3", "203.0.113.9", "203.0.113.9"),
        ("10.1.2.3", "203.0.113.9, 10.9.9.9", "203.0.113.9"),
        ("10.1.2.3", "203.0.113.9,10.9.9.9,192.0.2.7", "203.0.113.9"),
        ("192.0.2.7", "203.0.113.9", "203.0.113.9"),
        ("192.0.2.8", "203.0.113.9", "192.0.2.8"),
        ("11.0.0.1", "203.0.113.9", "11.0.0.1"),
        ("10.1.2.3", "10.0.0.1, 10.0.0.2", "10.0.0.1"),
        # What the client itself put before it.
        ("10.1.2.3", "127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("10.1.2.3", "10.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("10.1.2.3", "10.0.0.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.1.2.3", "evil, , <script>, 203.0.113.9", "203.0.113.9"),
        # Dual-stack sockets.
        ("::ffff:10.1.2.3", "203.0.113.9", "203.0.113.9"),
        ("::FFFF:10.1.2.3", "203.0.113.9", "203.0.113.9"),
        ("::ffff:a01:203", "203.0.113.9", "203.0.113.9"),
        ("::ffff:198.51.100.1", "203.0.113.9", "198.51.100.1"),
        ("::ffff:198.51.100.1", "", "198.51.100.1"),
        ("10.1.2.3", "::ffff:203.0.113.9", "203.0.113.9"),
        ("10.1.2.3", "203.0.113.9, ::ffff:10.0.0.1", "203.0.113.9"),
        # With ports.
        ("10.1.2.3", "203.0.113.9:51234", "203.0.113.9"),
        ("10.1.2.3", "203.0.113.9:51234, 10.0.0.1:80", "203.0.113.9"),
        ("10.1.2.3:4444", "203.0.113.9", "203.0.113.9"),
        # Zones are names on another machine, and no part of the address.
        ("10.1.2.3", "fe80::1%eth0", "fe80::1"),
        ("10.1.2.3", "fe80::1%" + "[" * 500, "fe80::1"),
        # IPv6, with brackets and without.
        ("2001:db8:1::5", "2001:db8:9::1", "2001:db8:9::1"),
        ("2001:db8:2::5", "2001:db8:9::1", "2001:db8:2::5"),
        ("10.1.2.3", "[2001:db8:9::1]", "2001:db8:9::1"),
        ("10.1.2.3", "[2001:db8:9::1]:443", "2001:db8:9::1"),
        ("10.1.2.3", "[::ffff:203.0.113.9]:443", "203.0.113.9"),
        ("10.1.2.3", "2001:DB8:9:0:0:0:0:1", "2001:db8:9::1"),
        ("[2001:db8:1::5]:8000", "2001:db8:9::1", "2001:db8:9::1"),
        # Where a proxy of ours names what is no address, the client's is not known.
        ("10.1.2.3", "unknown", ""),
        ("10.1.2.3", "203.0.113.9, unknown", ""),
        ("10.1.2.3", "203.0.113.9, unknown, 10.0.0.2", ""),
        ("10.1.2.3", "203.0.113.9,", ""),
        ("10.1.2.3", ",", ""),
        ("10.1.2.3", "203.0.113.256", ""),
        ("10.1.2.3", "203.0.113", ""),
        ("10.1.2.3", "3405803785", ""),
        ("10.1.2.3", "203.0.113.9:", ""),
        ("10.1.2.3", "[203.0.113.9", ""),
        ("10.1.2.3", "203.0.113.9 10.0.0.1", ""),
        ("10.1.2.3", "٢.٣.٤.٥", ""),
        # Blanks.
        ("10.1.2.3", "  203.0.113.9\t", "203.0.113.9"),
        # Unix sockets have no address, and nobody says whether who is behind them is trusted.
        ("", "", ""),
        ("", "203.0.113.9", ""),
        ("unix:", "203.0.113.9", "unix:"),
    ],
)
def test_the_clients_address(peer: str, forwarded_for: str, address: str) -> None:
    assert Clients(PROXIES).address(peer, forwarded_for) == address


@pytest.mark.parametrize("forwarded_for", ["", "203.0.113.9", "10.0.0.1, 127.0.0.1"])
@pytest.mark.parametrize("peer", ["10.1.2.3", "127.0.0.1", "::1"])
def test_without_trusted_proxies_it_is_the_peers(peer: str, forwarded_for: str) -> None:
    assert Clients(()).address(peer, forwarded_for) == peer


def test_a_network_may_be_written_with_its_host_bits() -> None:
    assert Clients(("10.9.8.7/8",)).address("10.1.2.3", "203.0.113.9") == "203.0.113.9"


def test_a_proxy_that_is_not_trusted_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    clients = Clients(("10.0.0.0/8",))
    with caplog.at_level(logging.WARNING, "kmsi_middleware"):
        clients.address("10.1.2.3", "203.0.113.9")
        clients.address("198.51.100.1", "")
        assert caplog.messages == []
        for _ in range(3):
            clients.address("::ffff:198.51.100.1", "203.0.113.9")
        clients.address("198.51.100.2", "203.0.113.9")
    (message,) = caplog.messages
    assert message.startswith("198.51.100.1 sends X-Forwarded-For and is not in trusted_proxies")


def test_a_peer_without_an_address_is_warned_about_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "kmsi_middleware"):
        Clients(("10.0.0.0/8",)).address("", "203.0.113.9\nforged line")
    (message,) = caplog.messages
    assert message.startswith("a peer without an address sends X-Forwarded-For")
    assert "forged" not in message


# Where the app is --------------------------------------------------------------------------------------------


def where(**settings: Any) -> Where:
    given = {"issuer": "https://login.example.com", "client_id": "app", "secret_keys": ("k" * 32,), **settings}
    return Where(Settings.resolve(given))


BASED = where(base_url="https://app.example.com")
BELOW = where(base_url="https://app.example.com:8443/sub/app")
LOOPBACK = where()
EMBEDDED = where(issuer="embedded", client_id="")

BAD_ROOTS = [
    "//evil.com",
    "//evil.com/",
    "//evil.com//",
    "///evil.com",
    "/a//b",
    "/../x",
    "/..",
    "/a/..",
    "/a/../b",
    "/a/./b",
    "/.",
    "/./",
    "/\\evil.com",
    "\\\\evil.com",
    "/a\\b",
    "/a\r\nset-cookie: x=y",
    "/a\n",
    "/a\x00b",
    "/a\tb",
    "/a\x7fb",
    "a",
    "evil.com",
    "https://evil.com",
    "https:/evil.com",
    "?x",
    " /a",
]


@pytest.mark.parametrize("root", BAD_ROOTS)
@pytest.mark.parametrize("here", [BASED, BELOW, LOOPBACK, EMBEDDED], ids=["based", "below", "loopback", "embedded"])
def test_a_root_path_that_is_not_in_normal_form_is_refused(here: Where, root: str) -> None:
    with pytest.raises(Refused) as caught:
        here.site("http", "localhost:8000", 8000, root)
    assert (caught.value.code, caught.value.status) == ("bad_root_path", 400)
    reply = plain(caught.value)
    assert reply.status == 400
    assert reply.body == b"bad_root_path: the app's root path is not in normal form\n"
    assert dict(reply.headers) == {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}


@pytest.mark.parametrize(
    ("root", "seen"),
    [
        ("", ""),
        ("/", ""),
        ("//", ""),
        ("/sub", "/sub"),
        ("/sub/", "/sub"),
        ("/sub//", "/sub"),
        ("/sub/app", "/sub/app"),
        ("/...", "/..."),
        ("/.auth", "/.auth"),
        ("/a..b/..c", "/a..b/..c"),
        ("/a b", "/a%20b"),
        ("/a?b#c", "/a%3Fb%23c"),
        ("/100%", "/100%25"),
        ("/%2e%2e", "/%252e%252e"),
        ("/ä", "/%C3%A4"),
        ("/a;b=c", "/a;b=c"),
        ('/"<>', "/%22%3C%3E"),
    ],
)
def test_a_root_path_is_written_as_a_browser_would(root: str, seen: str) -> None:
    assert BASED.site("http", "whatever", 8000, root).root == seen
    site = LOOPBACK.site("http", "localhost:8000", 8000, root)
    assert (site.origin, site.root) == ("http://localhost:8000", seen)


@pytest.mark.parametrize(
    ("root", "seen"),
    [
        ("", "/sub/app"),
        ("/", "/sub/app"),
        ("/sub/app", "/sub/app"),
        ("/sub/app/", "/sub/app"),
        ("/sub/app/inner", "/sub/app/inner"),
        ("/sub/apple", "/sub/app/sub/apple"),
        ("/inner", "/sub/app/inner"),
        ("/sub", "/sub/app/sub"),
    ],
)
def test_the_path_of_base_url_comes_first_whether_or_not_the_proxy_strips_it(root: str, seen: str) -> None:
    site = BELOW.site("http", "10.0.0.5:8000", 8000, root)
    assert (site.origin, site.root) == ("https://app.example.com:8443", seen)
    assert site.cookie_name == "__Host-kmsi"
    assert site.issuer == "https://login.example.com"


@pytest.mark.parametrize("host", ["", "evil.com", "app.example.com.evil.com", "a b", "localhost", "x" * 9_000])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_with_base_url_no_header_has_a_say(host: str, scheme: str) -> None:
    assert BASED.site(scheme, host, 1, "") == Site("https://app.example.com", "", BASED._settings.issuer, "__Host-kmsi")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost", "http://localhost"),
        ("localhost:8000", "http://localhost:8000"),
        ("LocalHost:8000", "http://localhost:8000"),
        ("localhost.", "http://localhost."),
        ("app.localhost:8000", "http://app.localhost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("127.8.9.10", "http://127.8.9.10"),
        ("[::1]", "http://[::1]"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_a_loopback_host_needs_no_base_url(host: str, origin: str) -> None:
    site = LOOPBACK.site("http", host, 8000, "/sub")
    assert (site.origin, site.root, site.cookie_name) == (origin, "/sub", "kmsi-8000")
    assert EMBEDDED.site("http", host, 8000, "/sub").issuer == f"{origin}/sub/.auth/idp"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "app.example.com",
        "localhost.example.com",
        "notlocalhost",
        "127.0.0.1.example.com",
        "128.0.0.1",
        "10.0.0.1:8000",
        "0.0.0.0:8000",
        "127.1",
        "2130706433",
        "::1",
        "[::]",
        "[::2]:8000",
        "[::1",
        "localhost:",
        "localhost:abc",
        "localhost:8000:9000",
        "localhost:123456",
        "localhost:8000/",
        "localhost/x",
        "localhost\n",
        "localhost,evil.com",
        "localhost, localhost",
        "evil.com@localhost",
        "localhost@evil.com",
        " localhost",
        "localhost evil.com",
        "localhost\\.evil.com",
        "localhost#",
    ],
)
@pytest.mark.parametrize("here", [LOOPBACK, EMBEDDED], ids=["provider", "embedded"])
def test_any_other_host_is_misdirected_without_base_url(here: Where, host: str) -> None:
    with pytest.raises(Refused) as caught:
        here.site("http", host, 8000, "")
    assert (caught.value.code, caught.value.status) == ("base_url_required", 421)


@pytest.mark.parametrize(
    ("base_url", "port", "name"),
    [
        ("https://app.example.com", 8000, "__Host-kmsi"),
        ("https://app.example.com:8443", 8000, "__Host-kmsi"),
        ("http://localhost:8000", 9000, "kmsi-8000"),
        ("http://localhost", 9000, "kmsi-80"),
        (None, 9000, "kmsi-9000"),
        (None, None, "kmsi-80"),
    ],
)
def test_the_cookies_name_follows_base_url_or_the_servers_port(
    base_url: str | None, port: int | None, name: str
) -> None:
    assert where(base_url=base_url).cookie_name(port) == name


# Headers and targets -----------------------------------------------------------------------------------------


def test_headers_that_came_twice_are_joined() -> None:
    pairs = [("Cookie", "a=b"), ("Accept", "x"), ("COOKIE", "c=d"), ("accept", "y"), ("cookie", "e=f")]
    assert joined_headers(pairs) == {"cookie": "a=b; c=d; e=f", "accept": "x, y"}


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        ("/", "", "/sub/"),
        ("/a b", "x=1&y=%2F", "/sub/a%20b?x=1&y=%2F"),
        ("/a?b", "", "/sub/a%3Fb"),
        ("/ä", "", "/sub/%C3%A4"),
        ("/a%2Fb", "", "/sub/a%252Fb"),
        ("/x\r\ny", "", "/sub/x%0D%0Ay"),
    ],
)
def test_the_target_is_what_the_browser_asked_for(path: str, query: str, target: str) -> None:
    assert raw_target(Site("https://app.example.com", "/sub", "", ""), path, query) == target


def test_a_path_of_ordinary_letters_is_left_as_it_is() -> None:
    ordinary = "/AZaz09/:@!$&'()*+,;=~-._"
    assert url_path(ordinary) == ordinary
