"""What the browser is given over a session's whole life: cookies of one make, and nothing that tells who the person is
or that would be of use to somebody else."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

import pytest
from tests.flows.flow_support import (
    ALICE,
    COOKIE,
    DAY,
    SIGN_OUT_ORIGIN,
    Browser,
    World,
    location,
    set_cookies,
)

from kmsi_middleware.vocabulary.messages import Outcome, Reply, Request

ALL_KINDS = {"", ".t.", ".p.", ".r", ".o"}
"""The session; sign-ins under way; questions that wait; a remembered answer; what ends a session in a frame."""


class WatchedBrowser(Browser):
    """A browser that remembers whatever it was given."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.given: list[Outcome] = []

    def send(self, request: Request) -> Outcome:
        outcome = super().send(request)
        self.given.append(outcome)
        return outcome

    @property
    def replies(self) -> list[Reply]:
        return [outcome for outcome in self.given if isinstance(outcome, Reply)]

    @property
    def cookies(self) -> list[tuple[str, str, Mapping[str, str]]]:
        """Kind, value and attributes of every cookie that was set."""
        found = []
        for line in [line for outcome in self.given for line in set_cookies(outcome)]:
            pair, *said = line.split("; ")
            assert len(pair) < 256
            name, _, value = pair.partition("=")
            assert name.startswith(COOKIE)
            attributes = dict(part.partition("=")[::2] for part in said)
            found.append((name.removeprefix(COOKIE)[:3], value, attributes))
        return found


def seen_in(reply: Reply) -> str:
    """All of a reply but its cookies."""
    headers = [f"{name}: {value}" for name, value in reply.headers if name != "set-cookie"]
    return "\n".join([*headers, reply.body.decode(), repr(reply.page.context) if reply.page else ""])


@pytest.fixture
def issued(monkeypatch: pytest.MonkeyPatch, world: World) -> list[str]:
    """Every ID token that the provider made."""
    made: list[str] = []
    sign = world.idp._signed

    def signed(claims: Mapping[str, Any]) -> str:
        made.append(sign(claims))
        return made[-1]

    monkeypatch.setattr(world.idp, "_signed", signed)
    return made


@pytest.fixture
def world() -> World:
    return World(front_channel_logout_cookie=True, scope="openid profile email offline_access", revalidate_every=300)


@pytest.fixture
def lived(world: World, issued: list[str]) -> WatchedBrowser:
    """From the first sign-in to the page after signing out."""
    browser = WatchedBrowser(world)
    browser.sign_in(answer="yes", dont_show_again="1")
    for path in ("/", "/.auth/me", "/.auth/sessions"):
        browser.get(path)
    world.now += 3 * DAY  # it is renewed, the issuer is asked, and the page of sessions wants a fresh sign-in
    for path in ("/", "/.auth/me", "/.auth/sessions"):
        browser.get(path)
    browser.come_back(browser.begin("/.auth/login?prompt=login"))
    browser.get("/.auth/sessions")
    browser.get("/.auth/logout")
    there = location(browser.post("/.auth/logout"))
    browser.get("/.auth/logged-out?state=" + there.rpartition("state=")[2])
    assert world.idp.refreshed
    assert len(issued) == 3
    return browser


def test_every_cookie_is_bound_to_its_host_secure_and_kept_from_scripts(lived: WatchedBrowser) -> None:
    assert {kind for kind, _, _ in lived.cookies} == ALL_KINDS
    for kind, _, attributes in lived.cookies:
        lasting = {"Max-Age", "Expires"} & attributes.keys()
        assert attributes.keys() - lasting == {"Path", "HttpOnly", "SameSite", "Secure"}  # and so without a Domain
        assert attributes["Path"] == "/"
        assert attributes["SameSite"] == ("None" if kind == ".o" else "Lax")


def test_no_cookie_tells_who_the_person_is(lived: WatchedBrowser) -> None:
    person = [str(value).encode() for value in (*ALICE.values(), "sid-1", "refresh-")]
    for _, value, _ in lived.cookies:
        parts = [value, *value.split(".")]
        for text in [value.encode(), *(urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts[1:])]:
            assert not [known for known in person if known.lower() in text.lower()]


def test_a_token_of_ours_is_nowhere_but_in_its_cookie(lived: WatchedBrowser) -> None:
    tokens = {value for kind, value, _ in lived.cookies if kind in ("", ".p.") and value}
    assert len(tokens) == 3
    for reply in lived.replies:
        assert not [token for token in tokens if token in seen_in(reply)]


def test_of_the_issuers_tokens_none_is_given_to_the_browser_but_the_id_token_at_the_sign_out(
    lived: WatchedBrowser, issued: list[str]
) -> None:
    """Which the issuer wants as ``id_token_hint`` (RP-Initiated Logout 1.0 §2)."""
    with_id_token = [reply for reply in lived.replies if any(token in seen_in(reply) for token in issued)]
    assert [location(reply).partition("/end?")[0] for reply in with_id_token] == [SIGN_OUT_ORIGIN]
    for reply in lived.replies:
        assert "an access token" not in seen_in(reply)
        assert "access for refresh-" not in seen_in(reply)
        assert "refresh-" not in "".join((*seen_in(reply).split("access for "), *set_cookies(reply)))
