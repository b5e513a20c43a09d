"""Attacks by what is said about a request on its way: who sends it, by which host, through which proxy, from which
page a WebSocket is opened."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest
from tests.attacks.attack_support import always, never, weakened
from tests.shells.shell_support import HOME, HTML, World

from kmsi_middleware.edges.asgi import ASGIShell
from kmsi_middleware.edges.wire import Where
from kmsi_middleware.edges.wsgi import WSGIShell
from kmsi_middleware.vocabulary.messages import Site

NAVIGATION = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("accept", HTML)]
ATTACKER = "203.0.113.66"
OFFICE = "198.51.100.1"

# Spoofed forwarding headers --------------------------------------------------------------------------------------


def passes_for_another_address(world: World, said: str, proxy: str | None) -> bool:
    """The address that the session and the sign-in log have, and that policies and limits go by."""
    world.provider(HOME)
    server = {"peer": proxy or ATTACKER, "adds": [("x-forwarded-for", said)]}
    world.client(HOME, server, trusted_proxies=["10.0.0.0/8"])
    world.browser().sign_in("mia", "no")
    assert world._last is not None
    kept = world._last.services.store._sessions.values()
    (address,) = [session.address for session in kept if hasattr(session, "address")]
    return bool(address == OFFICE)


@pytest.mark.parametrize(
    ("said", "proxy"),
    [
        (OFFICE, None),  # straight to the app, without any proxy
        (f"{OFFICE}, 10.0.0.1", None),
        (f"{OFFICE}, {ATTACKER}", "10.0.0.1"),  # the proxy appends who it was that came
        (f"{OFFICE},{ATTACKER},10.0.0.2", "10.0.0.1"),
        (f"{OFFICE}, [::ffff:{ATTACKER}]:4711", "10.0.0.1"),
    ],
)
def test_spoofed_forwarding_headers_of_who_is_no_proxy_of_ours_count_for_nothing(
    stage: Any, shell: str, said: str, proxy: str | None
) -> None:
    with weakened("kmsi_middleware.edges.wire.Clients._is_trusted", always):
        assert passes_for_another_address(stage(shell), said, proxy)
    assert not passes_for_another_address(stage(shell), said, proxy)


_site = Where.site


def by_the_host_header(where: Where, scheme: str, host: str, port: int | None, root: str) -> Site:
    """Where the app is, as the request says."""
    known = _site(where, scheme, host, port, root)
    return Site(f"{scheme}://{host}", known.root, known.issuer, known.cookie_name)


def is_sent_back_to_the_attacker(world: World, *said: tuple[str, str]) -> bool:
    """A request with a host of the attacker's, as a cache or a mail with a link to it would keep."""
    world.provider(HOME)
    server = world.client(HOME)
    answer = server("GET", f"{HOME}/page", [*NAVIGATION, *said])
    return "evil.example" in unquote(answer.header("location")) + answer.text


@pytest.mark.parametrize(
    "said",
    [
        [("host", "evil.example")],
        [("host", "evil.example:8000")],
        [("host", "localhost:8000@evil.example")],
    ],
)
def test_spoofed_forwarding_headers_a_host_never_becomes_our_origin(stage: Any, shell: str, said: Any) -> None:
    with weakened("kmsi_middleware.edges.wire.Where.site", by_the_host_header):
        assert is_sent_back_to_the_attacker(stage(shell), *said)
    assert not is_sent_back_to_the_attacker(stage(shell), *said)


def by_what_the_proxy_seems_to_say(original: Any) -> Any:
    """Where the app is, as headers say that anybody can send."""

    def site(shell: Any, request: Any) -> Site:
        said = {name.decode(): value.decode() for name, value in request.get("headers", ())}
        host = said.get("x-forwarded-host") or request.get("HTTP_X_FORWARDED_HOST")
        scheme = said.get("x-forwarded-proto") or request.get("HTTP_X_FORWARDED_PROTO")
        return replace(original(shell, request), origin=f"{scheme}://{host}")

    return site


SITES = {
    "asgi-asyncio": ("kmsi_middleware.edges.asgi.ASGIShell._site", by_what_the_proxy_seems_to_say(ASGIShell._site)),
    "wsgi": ("kmsi_middleware.edges.wsgi.WSGIShell._site", by_what_the_proxy_seems_to_say(WSGIShell._site)),
}
FORWARDED = [
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "http"),
    ("forwarded", "host=evil.example;proto=http"),
    ("x-original-host", "evil.example"),
    ("x-host", "evil.example"),
]


def test_spoofed_forwarding_headers_of_host_and_scheme_are_not_read(stage: Any, shell: str) -> None:
    with weakened(*SITES[shell]):
        assert is_sent_back_to_the_attacker(stage(shell), *FORWARDED)
    assert not is_sent_back_to_the_attacker(stage(shell), *FORWARDED)


def believes_the_host_without_base_url(world: World, host: str) -> bool:
    """Without ``base_url``, on loopback: a name that the attacker has pointed at this machine (DNS rebinding)."""
    server = world.app()
    answer = server("GET", f"{HOME}/page", [*NAVIGATION, ("host", host)])
    return answer.status != 421


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1:8000"])
def test_spoofed_forwarding_headers_a_rebound_name_is_refused(stage: Any, shell: str, host: str) -> None:
    with weakened("kmsi_middleware.edges.wire.is_loopback_host", always):
        assert believes_the_host_without_base_url(stage(shell), host)
    assert not believes_the_host_without_base_url(stage(shell), host)


# The embedded IdP ------------------------------------------------------------------------------------------------


def serves_its_sign_in_to_the_world(world: World, peer: str, said: list[tuple[str, str]], version: str) -> bool:
    """The page on which anybody may pick a user, from elsewhere."""
    server = world.app()
    scope, environ = server.scope, server.environ_of
    server.scope = lambda *args, **more: {**scope(*args, **more), "http_version": version}
    server.environ_of = lambda *args: {**environ(*args), "SERVER_PROTOCOL": f"HTTP/{version}"}
    answer = server("GET", f"{HOME}/.auth/idp/.well-known/openid-configuration", said, peer=peer)
    return answer.status == 200


@pytest.mark.parametrize(
    ("peer", "said", "version"),
    [
        ("127.0.0.1", [("x-forwarded-for", ATTACKER)], "1.1"),
        ("127.0.0.1", [("x-forwarded-for", "127.0.0.1")], "1.1"),
        ("127.0.0.1", [("forwarded", "for=127.0.0.1")], "1.1"),
        ("127.0.0.1", [("via", "1.1 proxy")], "1.1"),
        ("127.0.0.1", [("x-real-ip", "127.0.0.1")], "1.1"),
        ("127.0.0.1", [("x-forwarded-proto", "https")], "1.1"),
        ("127.0.0.1", [("cf-connecting-ip", "127.0.0.1")], "1.1"),
        ("127.0.0.1", [("host", "app.example.com")], "1.1"),
        ("127.0.0.1", [("host", "localhost.evil.example")], "1.1"),
        ("127.0.0.1", [], "1.0"),
        (ATTACKER, [], "1.1"),
        ("10.0.0.1", [], "1.1"),
    ],
)
def test_embedded_idp_through_a_proxy_is_not_served(
    stage: Any, shell: str, peer: str, said: list[tuple[str, str]], version: str
) -> None:
    with weakened("kmsi_middleware.idp.app.refusal", never):
        assert serves_its_sign_in_to_the_world(stage(shell), peer, said, version)
    assert not serves_its_sign_in_to_the_world(stage(shell), peer, said, version)


# Cross-site WebSocket --------------------------------------------------------------------------------------------


def talks_as_the_victim(world: World, source: str) -> bool:
    """The attacker's page opens a WebSocket in the victim's browser, whose cookies go along within a site, and in
    browsers that know no SameSite everywhere."""
    world.app()
    victim = world.browser()
    victim.sign_in()
    said = [json.loads(message["text"]) for message in victim.websocket("/chat", source) if "text" in message]
    return any(saying["user"] is not None for saying in said)


@pytest.mark.parametrize(
    "source",
    [
        "https://evil.example",
        "http://localhost:9000",
        "https://localhost:8000",
        "http://evil.localhost:8000",
        "http://localhost",
        f"{HOME}.evil.example",
        "http://127.0.0.1:8000",
        "null://null",
    ],
)
def test_cross_site_websocket_fails_on_the_origin_of_the_page(stage: Any, source: str) -> None:
    with weakened("kmsi_middleware.flows.guard._may_connect", always):
        assert talks_as_the_victim(stage("asgi-asyncio"), source)
    assert not talks_as_the_victim(stage("asgi-asyncio"), source)
