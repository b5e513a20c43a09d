"""Front-channel logout: told to us in a frame, where browsers send no cookies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.flows.flow_support import (
    ALICE,
    BOB,
    COOKIE,
    FRAME,
    IDP_ORIGIN,
    ISSUER,
    NAVIGATION,
    SCRIPT,
    SIGN_OUT_ORIGIN,
    Browser,
    World,
    cleared,
    forwarded,
    headers_of,
    location,
    problem_of,
    set_cookies,
)

from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import ProviderUnavailable
from kmsi_middleware.vocabulary.messages import Outcome, Reply


def framed(browser: Browser, headers: dict[str, str] = FRAME, *, cookies: bool = False, query: str = "") -> Outcome:
    """The provider's frame loads our address. Whatever happens, the answer is always of the same kind."""
    outcome = browser.get("/.auth/frontchannel-logout" + (f"?{query}" if query else ""), headers, cookies=cookies)
    assert isinstance(outcome, Reply)
    assert outcome.status == 200
    said = headers_of(outcome)
    assert said["cache-control"] == "no-store"
    assert "location" not in said
    assert "x-frame-options" not in said
    assert said["content-security-policy"].startswith("default-src 'none'; frame-ancestors ")
    assert outcome.page is None
    assert b"<script" not in outcome.body
    assert browser.world.asked_for(ask.Fetch, ask.SaveSession, ask.CreateSession) == []
    return outcome


def told(browser: Browser, *, cookies: bool = False, headers: dict[str, str] = FRAME, **given: str) -> Outcome:
    return framed(browser, headers, cookies=cookies, query=urlencode(given))


def signed_in(browser: Browser) -> bool:
    outcome = browser.get("/", SCRIPT)
    if isinstance(outcome, Reply):
        problem_of(outcome, 401)
        return False
    return forwarded(outcome) is not None


@pytest.fixture
def browser(world: World) -> Browser:
    made = Browser(world)
    made.sign_in(answer="yes")
    return made


@pytest.fixture
def other(browser: Browser) -> Browser:
    """Another person's browser."""
    made = Browser(browser.world, address="198.51.100.1")
    made.sign_in(BOB)
    return made


@pytest.mark.parametrize("given", [{"iss": ISSUER, "sid": "sid-1"}, {"sid": "sid-1"}])
def test_a_sid_ends_its_session_when_the_browser_sends_no_cookie_at_all(
    world: World, browser: Browser, other: Browser, given: dict[str, str]
) -> None:
    outcome = told(browser, **given)
    assert set_cookies(outcome) == ()
    document = problem_of(browser.get("/", SCRIPT), 401)
    assert (document["code"], document["reason"]) == ("signed_out", "front_channel")
    assert signed_in(other)


def test_where_the_cookie_comes_along_it_is_cleared_too(browser: Browser) -> None:
    assert cleared(told(browser, cookies=True, iss=ISSUER, sid="sid-1")) == [COOKIE]
    assert not signed_in(browser)


def test_a_sid_of_another_session_never_ends_the_one_whose_cookie_came_along(browser: Browser, other: Browser) -> None:
    outcome = told(browser, cookies=True, iss=ISSUER, sid="sid-2")
    assert set_cookies(outcome) == ()
    assert signed_in(browser)
    assert not signed_in(other)


def test_an_unknown_sid_does_not_end_the_session_whose_cookie_came_along(browser: Browser) -> None:
    assert set_cookies(told(browser, cookies=True, iss=ISSUER, sid="sid-9")) == ()
    assert signed_in(browser)


def test_a_sid_that_equals_the_subject_ends_nothing_without_the_cookie(world: World) -> None:
    browser, other = Browser(world), Browser(world)
    browser.sign_in({**ALICE, "sid": "alice"})
    other.sign_in({**ALICE, "sid": "alice"})
    told(browser, iss=ISSUER, sid="alice")
    assert signed_in(browser)
    assert cleared(told(browser, cookies=True, iss=ISSUER, sid="alice")) == [COOKIE]
    assert not signed_in(browser)
    assert signed_in(other)


@pytest.mark.parametrize(
    ("headers", "ends"),
    [
        (FRAME, True),
        ({**FRAME, "sec-fetch-site": "same-origin"}, True),
        ({**FRAME, "sec-fetch-site": "same-site"}, True),  # the issuer is of our site, and may not say its address
        ({**FRAME, "sec-fetch-site": "same-site", "referer": f"{IDP_ORIGIN}/"}, True),
        ({**FRAME, "sec-fetch-site": "same-site", "referer": "https://evil.example.com/"}, False),
        (NAVIGATION, False),
        ({**FRAME, "sec-fetch-dest": "document"}, False),
        ({**SCRIPT, "sec-fetch-dest": "image"}, False),
        ({**FRAME, "sec-fetch-dest": "frame"}, False),
        ({"accept": "text/html"}, False),
    ],
)
def test_without_parameters_the_cookies_session_ends_and_only_in_a_frame(
    browser: Browser, other: Browser, headers: dict[str, str], ends: bool
) -> None:
    outcome = framed(browser, headers, cookies=True)
    assert cleared(outcome) == ([COOKIE] if ends else [])
    assert signed_in(browser) is not ends
    assert signed_in(other)


def test_without_parameters_and_without_a_cookie_nothing_ends(world: World, browser: Browser) -> None:
    framed(browser)
    assert world.asked_for(ask.EndSession, ask.FindSessions) == []
    assert signed_in(browser)


@pytest.mark.parametrize("issuer", ["https://evil.example", ISSUER + "/", ""])
@pytest.mark.parametrize("cookies", [False, True])
def test_a_wrong_issuer_ends_nothing(world: World, browser: Browser, issuer: str, cookies: bool) -> None:
    told(browser, cookies=cookies, iss=issuer, sid="sid-1")
    assert world.asked_for(ask.EndSession) == []
    assert signed_in(browser)


@pytest.mark.parametrize("given", [{"iss": ISSUER}, {"iss": ISSUER, "sid": ""}, {"sid": ""}, {"sid": "s" * 2_049}])
@pytest.mark.parametrize("cookies", [False, True])
def test_an_issuer_alone_and_an_empty_or_endless_sid_end_nothing(
    world: World, browser: Browser, given: dict[str, str], cookies: bool
) -> None:
    told(browser, cookies=cookies, **given)
    assert world.asked_for(ask.EndSession, ask.FindSessions) == []
    assert signed_in(browser)


@pytest.mark.parametrize("query", ["sid=sid-1&sid=sid-1", "sid=sid-1&iss=a&iss=b", "sid=%ff", "&".join(["x=1"] * 99)])
@pytest.mark.parametrize("cookies", [False, True])
def test_repeated_and_unreadable_parameters_are_harmless(browser: Browser, query: str, cookies: bool) -> None:
    framed(browser, cookies=cookies, query=query)
    assert signed_in(browser)


def test_misses_are_counted_and_limited_by_address(world: World, browser: Browser, other: Browser) -> None:
    for number in range(3):
        told(browser, sid=f"guess-{number}")
        assert len(world.asked_for(ask.FindSessions)) == 1
    told(browser, sid="sid-1")
    assert world.asked_for(ask.FindSessions) == []
    assert signed_in(browser)
    told(other, sid="sid-2")
    assert not signed_in(other)
    world.now += 60
    told(browser, sid="sid-1")
    assert not signed_in(browser)
    assert world.unmatched.totals() == {"frontchannel-logout": 3}
    assert world.log[-1]["status"]["errorCode"] == 0


def test_hits_are_not_limited(world: World) -> None:
    """A whole office may sign out behind one address."""
    browsers = [Browser(world) for _ in range(8)]
    for browser in browsers:
        browser.sign_in()
    for number, browser in enumerate(browsers, 1):
        told(browser, iss=ISSUER, sid=f"sid-{number}")
        assert not signed_in(browser)


def test_a_guess_limit_at_ones_address_does_not_keep_ones_own_cookies_session(world: World, browser: Browser) -> None:
    """The limit is against guessing, and who brings the cookie guesses nothing."""
    for number in range(5):
        told(browser, sid=f"guess-{number}")
    assert cleared(told(browser, cookies=True, iss=ISSUER, sid="sid-1")) == [COOKIE]
    assert not signed_in(browser)


def test_an_ended_session_is_ended_once_and_a_second_call_is_harmless(world: World, browser: Browser) -> None:
    told(browser, iss=ISSUER, sid="sid-1")
    told(browser, cookies=True, iss=ISSUER, sid="sid-1")
    assert world.asked_for(ask.EndSession) == []
    assert problem_of(browser.get("/", SCRIPT), 401)["reason"] == "front_channel"


def test_an_older_sid_of_the_same_session_ends_it(world: World, browser: Browser) -> None:
    """The provider gives a new ``sid`` with each new sign-in, and a logout may name an older one."""
    at = location(browser.come_back(browser.begin("/.auth/login?prompt=login")))
    browser.reply_to(at, "no")
    told(browser, iss=ISSUER, sid="sid-1")
    assert not signed_in(browser)


def test_an_older_sid_of_another_person_in_the_same_browser_ends_nothing(world: World, browser: Browser) -> None:
    at = location(browser.come_back(browser.begin("/.auth/login?prompt=login"), BOB))
    browser.reply_to(at, "no")
    told(browser, iss=ISSUER, sid="sid-1")
    assert signed_in(browser)


def test_where_the_id_token_has_no_sid_the_session_state_names_the_session(world: World) -> None:
    browser = Browser(world)
    at = location(browser.come_back(browser.begin(), {**ALICE, "sid": None}, session_state="a/b+c=.d"))
    browser.reply_to(at, "no")
    told(browser, iss=ISSUER, sid="a/b+c=.d")
    assert not signed_in(browser)


def test_all_sessions_of_one_sid_end(world: World) -> None:
    browsers = [Browser(world), Browser(world)]
    for browser in browsers:
        browser.sign_in({**ALICE, "sid": "shared"})
    told(browsers[0], iss=ISSUER, sid="shared")
    assert not any(signed_in(browser) for browser in browsers)


def test_it_never_extends_the_session_whose_cookie_came_along(world: World, browser: Browser) -> None:
    world.now += 86_400 * 3
    told(browser, cookies=True, iss=ISSUER, sid="sid-9")
    assert browser.session is not None
    assert browser.session.version == 1


# Who may frame it ------------------------------------------------------------------------------------------


def ancestors(outcome: Outcome) -> list[str]:
    return headers_of(outcome)["content-security-policy"].rpartition("frame-ancestors ")[2].split()


def test_the_origins_of_the_issuers_endpoints_may_frame_it_and_nobody_else(world: World, browser: Browser) -> None:
    world.idp.metadata = replace(world.idp.metadata, authorization_endpoint="https://sign-in.example.net/authorize")
    assert ancestors(framed(browser)) == [IDP_ORIGIN, "https://sign-in.example.net", SIGN_OUT_ORIGIN]


def test_a_setting_allows_more_frames(world: World, browser: Browser) -> None:
    world.configure(frame_ancestors=("https://portal.example",))
    assert ancestors(framed(browser)) == [IDP_ORIGIN, SIGN_OUT_ORIGIN, "https://portal.example"]


def test_with_the_provider_away_the_session_ends_all_the_same(world: World, browser: Browser) -> None:
    """And before the provider is waited for, whose page may not wait for the frame."""
    world.broken[ask.GetProvider] = ProviderUnavailable("gone")
    outcome = told(browser, iss=ISSUER, sid="sid-1")
    assert ancestors(outcome) == [IDP_ORIGIN]
    kinds: list[Any] = [type(effect) for effect in world.asked]
    assert kinds.index(ask.EndSession) < kinds.index(ask.GetProvider)
    assert not signed_in(browser)


# Sign-ins that wait for an answer ------------------------------------------------------------------------------


@pytest.mark.parametrize("issuer", [None, ISSUER])
def test_a_sign_in_that_waits_at_the_question_waits_no_more(world: World, issuer: str | None) -> None:
    """Signed out at the provider, nobody may turn the open question into a session."""
    browser = Browser(world)
    at = browser.to_interrupt({**ALICE, "sid": "alice-sid"})
    told(browser, **{"sid": "alice-sid"} | ({"iss": issuer} if issuer else {}))
    outcome = browser.post("/.auth/kmsi", {"ticket": at.partition("=")[2], "answer": "yes"})
    assert isinstance(outcome, Reply)
    assert outcome.status == 400
    assert not signed_in(browser)


def test_a_wrong_issuer_or_another_sid_leaves_the_question_open(world: World) -> None:
    browser = Browser(world)
    at = browser.to_interrupt({**ALICE, "sid": "alice-sid"})
    told(browser, sid="alice-sid", iss="https://evil.example")
    told(browser, sid="another-sid")
    browser.post("/.auth/kmsi", {"ticket": at.partition("=")[2], "answer": "yes"})
    assert signed_in(browser)


def test_a_sid_that_arrives_with_blanks_for_its_pluses_is_found(world: World) -> None:
    browser = Browser(world)
    browser.sign_in({**ALICE, "sid": "a+b/c=="})
    framed(browser, query="sid=a+b/c==")
    assert not signed_in(browser)
