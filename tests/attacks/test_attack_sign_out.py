"""Attacks that sign somebody out: by a page of another site, or by a logout token that was good once."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from tests.attacks.attack_support import always, weakened
from tests.flows.flow_support import (
    ALICE,
    FRAME,
    NAVIGATION,
    ORIGIN,
    Browser,
    World,
)
from tests.flows.test_back_channel_flow import logout_token, post

from kmsi_middleware.flows import sign_out
from kmsi_middleware.vocabulary.effects import EndSession

SIBLING = "https://evil.example.com"
FRONT = "/.auth/frontchannel-logout"


def signed_in(world: World, **claims: Any) -> Browser:
    victim = Browser(world)
    victim.sign_in(ALICE | claims)
    assert victim.session is not None
    return victim


# Cross-site logout -----------------------------------------------------------------------------------------------


def posts_a_sign_out(world: World, origin: str, fetch_site: str) -> bool:
    """A form on the attacker's page; where cookies come along, as within a site they do."""
    victim = signed_in(world)
    said = {**NAVIGATION, "origin": origin, "sec-fetch-site": fetch_site}
    victim.post("/.auth/logout", {}, {name: value for name, value in said.items() if value})
    return victim.session is None


@pytest.mark.parametrize(
    ("origin", "fetch_site"),
    [
        (SIBLING, "same-site"),
        (SIBLING, ""),
        ("https://evil.example", "cross-site"),
        ("null", "cross-site"),
        ("null", ""),
        ("http://app.example.com", ""),
        (f"{ORIGIN}.evil.example", ""),
        (ORIGIN, "cross-site"),
        ("", "none"),
        ("", ""),
    ],
)
def test_cross_site_logout_by_a_form_fails_on_its_origin(origin: str, fetch_site: str) -> None:
    with weakened("kmsi_middleware.flows.sign_out._is_meant", always):
        assert posts_a_sign_out(World(), origin, fetch_site)
    assert not posts_a_sign_out(World(), origin, fetch_site)


def links_to_the_sign_out(world: World, **said: str) -> bool:
    """A link, an image, a frame or a prefetch of ``GET /.auth/logout``."""
    victim = signed_in(world)
    victim.get("/.auth/logout", {**NAVIGATION, **{name.replace("_", "-"): value for name, value in said.items()}})
    return victim.session is None


@pytest.mark.parametrize(
    "said",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": ""},
        {"sec_fetch_site": "same-origin", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"},
        {"sec_fetch_site": "same-origin", "sec_fetch_dest": "iframe"},
        {"sec_fetch_site": "same-origin", "sec_fetch_mode": "cors", "sec_fetch_dest": "empty"},
    ],
    ids=lambda said: " ".join(said.values()) or "silent",
)
def test_cross_site_logout_by_a_link_asks_before_it_does_anything(said: dict[str, str]) -> None:
    with weakened("kmsi_middleware.flows.sign_out.is_plain_navigation", always):
        assert links_to_the_sign_out(World(), **said)
    assert not links_to_the_sign_out(World(), **said)


def test_cross_site_logout_by_a_front_channel_frame_needs_more_than_the_persons_name() -> None:
    """Some providers send the ``sub`` as ``sid``. It is no secret, so a frame elsewhere must not end by it."""
    with weakened("kmsi_middleware.flows.sign_out._end_named", by_any_name):
        assert frames_a_logout_by_name(World())
    assert not frames_a_logout_by_name(World())


def by_any_name(request: Any, sid: str, issuer: str | None, mine: Any) -> Any:
    found = yield sign_out.FindSessions(sid, issuer)
    for session in found:
        yield EndSession(session.key, "front_channel")
    return {session.key for session in found}


def frames_a_logout_by_name(world: World) -> bool:
    name = "alice-whose-name-is-long-enough"
    victim = signed_in(world, sub=name, sid=name)
    Browser(world).get(f"{FRONT}?sid={name}", FRAME)
    return victim.session is None


def frames_a_logout_within_the_site(world: World, referer: str) -> bool:
    """A neighbour's page frames the front-channel logout without naming any session: cookies come along."""
    world.idp.metadata = replace(
        world.idp.metadata,
        issuer="https://login.idp.example",
        authorization_endpoint="https://login.idp.example/authorize",
        end_session_endpoint=None,
    )
    world.configure(issuer="https://login.idp.example")
    victim = signed_in(world)
    said = {**FRAME, "sec-fetch-site": "same-site", **({"referer": referer} if referer else {})}
    victim.get(FRONT, said)
    return victim.session is None


@pytest.mark.parametrize(
    "referer", [f"{SIBLING}/", f"{ORIGIN}.evil.example/", "https://login.idp.example.evil.example/", ""]
)
def test_cross_site_logout_by_a_neighbours_frame_fails_on_who_frames_it(referer: str) -> None:
    """Also where the neighbour keeps its address to itself: no page of the issuer's is of our site."""
    with weakened("kmsi_middleware.flows.sign_out._may_frame", always):
        assert frames_a_logout_within_the_site(World(), referer)
    assert not frames_a_logout_within_the_site(World(), referer)


# Replay of a logout token ----------------------------------------------------------------------------------------


def signs_out_again(world: World) -> bool:
    """The attacker has seen a logout token. The person signs in again, in the same session of the issuer's, and the
    token is sent a second time."""
    token = logout_token(world, sid="the issuer's session")
    first = signed_in(world, sid="the issuer's session")
    post(world, logout_token=token)
    assert first.session is None
    world.now += 1
    second = signed_in(world, sid="the issuer's session")
    post(world, logout_token=token)
    return second.session is None


def noted_nowhere(token: str) -> bytes:
    """Another name for the same logout token each time, so that it is never met again."""
    return next(_names)


_names = (bytes([number]) * 32 for number in itertools.count())


def test_replay_of_a_logout_token_fails_because_its_name_is_noted() -> None:
    with weakened("kmsi_middleware.flows.back_channel.key_of", noted_nowhere):
        assert signs_out_again(World())
    assert not signs_out_again(World())


def signs_out_by_an_old_token(world: World) -> bool:
    """One that was never delivered, from two days ago."""
    token = logout_token(world, sid="the issuer's session")
    world.now += 2 * 86_400
    victim = signed_in(world, sid="the issuer's session")
    post(world, logout_token=token)
    return victim.session is None


def at_any_time(claims: Any, _skew: int, now: float) -> tuple[int, int]:
    return int(claims["iat"]), int(now) + 60


def test_replay_of_a_logout_token_of_another_day_fails_on_its_age() -> None:
    with weakened("kmsi_middleware.rules.oidc.logout_token._times", at_any_time):
        assert signs_out_by_an_old_token(World())
    assert not signs_out_by_an_old_token(World())
