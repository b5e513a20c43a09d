"""Sign-out that is started here."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

import pytest
from tests.flows.flow_support import (
    ALICE,
    COOKIE,
    CROSS_SITE,
    DAY,
    HOUR,
    IDP_ORIGIN,
    NAVIGATION,
    ORIGIN,
    PREFETCH,
    SCRIPT,
    SIGN_OUT_ORIGIN,
    Browser,
    World,
    cleared,
    code_of,
    forwarded,
    headers_of,
    location,
    page_of,
    problem_of,
    query_of,
    set_cookies,
)

from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import ProtocolError, ProviderUnavailable, StoreUnavailable
from kmsi_middleware.vocabulary.messages import Reply

SAME_ORIGIN = {**NAVIGATION, "sec-fetch-site": "same-origin"}


@pytest.fixture
def browser(world: World) -> Browser:
    made = Browser(world)
    made.sign_in(answer="yes")
    return made


def test_the_session_ends_on_the_server_before_anything_else_is_fetched(world: World, browser: Browser) -> None:
    browser.post("/.auth/logout")
    assert [type(effect) for effect in world.asked] == [ask.LoadSession, ask.EndSession, ask.GetProvider]
    assert world.asked_for(ask.EndSession)[0].reason == "signed_out"
    assert world.live() == []


def test_then_the_cookie_goes_and_the_browser_is_taken_to_the_provider(world: World, browser: Browser) -> None:
    old = Browser(world, jar=dict(browser.jar))
    outcome = browser.post("/.auth/logout")
    url = location(outcome)
    assert url.startswith(f"{SIGN_OUT_ORIGIN}/end?")
    assert cleared(outcome) == [COOKIE]
    assert browser.jar == {}
    assert headers_of(outcome)["clear-site-data"] == '"cache"'
    assert headers_of(outcome)["cache-control"] == "no-store"
    assert problem_of(old.get("/", SCRIPT), 401)["code"] == "signed_out"


def test_what_the_provider_is_told(world: World, browser: Browser) -> None:
    asked = query_of(location(browser.post("/.auth/logout")))
    assert asked.keys() == {"id_token_hint", "client_id", "state", "post_logout_redirect_uri"}
    assert asked["id_token_hint"].count(".") == 2
    assert asked["client_id"] == "the-app"
    assert asked["post_logout_redirect_uri"] == f"{ORIGIN}/.auth/logged-out"


REVOKE = "https://login.example.com/tenant/revoke"


@pytest.fixture
def offline() -> Browser:
    """One with a refresh token, at a provider that takes tokens back."""
    world = World(scope="openid offline_access")
    world.idp.metadata = replace(world.idp.metadata, revocation_endpoint=REVOKE)
    made = Browser(world)
    made.sign_in()
    return made


def test_the_tokens_are_given_back_after_the_session_has_ended(offline: Browser) -> None:
    world = offline.world
    (token,) = world.idp.grants
    assert location(offline.post("/.auth/logout")).startswith(SIGN_OUT_ORIGIN)
    kinds = [type(effect) for effect in world.asked]
    assert kinds == [ask.LoadSession, ask.EndSession, ask.GetProvider, ask.MayAsk, ask.Tell]
    assert [(form["token_type_hint"], form["token"]) for form in world.told] == [
        ("refresh_token", token),
        ("access_token", "an access token"),
    ]
    (told,) = world.asked_for(ask.Tell)
    assert {request.url for request in told.requests} == {REVOKE}
    assert told.within == 2


def test_nothing_is_given_back_to_a_provider_that_is_away(offline: Browser) -> None:
    offline.world.may_ask = False
    assert location(offline.post("/.auth/logout")).startswith(SIGN_OUT_ORIGIN)
    assert offline.world.told == []


def test_nor_to_one_that_takes_none(world: World, browser: Browser) -> None:
    browser.post("/.auth/logout")
    assert world.told == []


def test_the_login_hint_claim_becomes_the_logout_hint(world: World) -> None:
    browser = Browser(world)
    browser.sign_in({**ALICE, "login_hint": "opaque+hint/="})
    assert query_of(location(browser.post("/.auth/logout")))["logout_hint"] == "opaque+hint/="


def test_an_end_session_endpoint_may_have_a_query_of_its_own(world: World, browser: Browser) -> None:
    world.idp.metadata = replace(world.idp.metadata, end_session_endpoint=f"{SIGN_OUT_ORIGIN}/end?policy=b2c")
    asked = query_of(location(browser.post("/.auth/logout")))
    assert asked["policy"] == "b2c"
    assert asked["client_id"] == "the-app"


def test_who_has_no_session_is_signed_out_at_the_provider_all_the_same(world: World) -> None:
    browser = Browser(world)
    asked = query_of(location(browser.post("/.auth/logout")))
    assert "id_token_hint" not in asked
    assert world.asked_for(ask.EndSession) == []


def test_signing_out_ends_the_persistence_too(world: World, browser: Browser) -> None:
    browser.post("/.auth/logout")
    browser.sign_in(answer="no")
    assert not browser.persistent


def test_a_store_that_cannot_end_the_session_is_told_so_and_nothing_is_pretended(
    world: World, browser: Browser
) -> None:
    world.broken[ask.EndSession] = StoreUnavailable("read only")
    outcome = browser.post("/.auth/logout")
    assert page_of(outcome, 503).context["code"] == "store_unavailable"
    assert set_cookies(outcome) == ()
    assert world.asked_for(ask.GetProvider) == []
    world.broken.clear()
    assert forwarded(browser.get("/"))


# What counts as meant --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/.auth/logout", "/.auth/logout?post_logout_redirect_uri=/bye"])
def test_a_plain_navigation_within_this_origin_signs_out(world: World, browser: Browser, path: str) -> None:
    outcome = browser.get(path, SAME_ORIGIN)
    assert location(outcome).startswith(f"{SIGN_OUT_ORIGIN}/end?")
    assert world.live() == []


@pytest.mark.parametrize(
    "headers",
    [
        NAVIGATION,
        CROSS_SITE,
        {**NAVIGATION, "sec-fetch-site": "same-site"},
        {**SAME_ORIGIN, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {**SAME_ORIGIN, "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"},
        {**SAME_ORIGIN, "sec-fetch-dest": "iframe"},
        {"accept": "text/html"},
        {"accept": "text/html", "referer": f"{ORIGIN}/"},
        {},
    ],
)
def test_any_other_get_asks(world: World, browser: Browser, headers: dict[str, str]) -> None:
    outcome = browser.get("/.auth/logout", headers)
    page = page_of(outcome)
    assert page.name == "sign_out.html"
    assert page.context["user_name"] == "Alice (alice@example.com)"
    assert page.form_action == ("'self'", IDP_ORIGIN, SIGN_OUT_ORIGIN)
    assert page.frame_ancestors == ("'none'",)
    assert set_cookies(outcome) == ()
    assert world.asked_for(ask.EndSession, ask.SaveSession) == []
    assert forwarded(browser.get("/"))


@pytest.mark.parametrize("headers", [PREFETCH, {**SAME_ORIGIN, "sec-purpose": "prefetch;prerender"}])
def test_a_prefetch_of_the_sign_out_is_refused(world: World, browser: Browser, headers: dict[str, str]) -> None:
    assert problem_of(browser.get("/.auth/logout", headers), 403)["code"] == "prefetch_refused"
    assert world.asked == []
    assert len(world.live()) == 1


def test_the_answer_to_the_question_signs_out_and_goes_where_was_asked_for(world: World, browser: Browser) -> None:
    page = page_of(browser.get("/.auth/logout?post_logout_redirect_uri=/bye", CROSS_SITE))
    assert page.context["cancel_url"] == "/bye"
    state = query_of(location(browser.post(page.context["action"], {"ticket": page.context["ticket"]})))["state"]
    assert location(browser.get("/.auth/logged-out?" + urlencode({"state": state}), CROSS_SITE)) == "/bye"


@pytest.mark.parametrize(
    "headers",
    [
        {**CROSS_SITE, "origin": "https://evil.example"},
        {**NAVIGATION, "sec-fetch-site": "same-site", "origin": "https://sibling.example.com"},
        {**SAME_ORIGIN, "origin": "null"},
        {**CROSS_SITE, "origin": ORIGIN},
        {"origin": "https://evil.example", "accept": "text/html"},
        {"accept": "text/html"},
    ],
)
def test_a_post_of_another_site_is_refused(world: World, browser: Browser, headers: dict[str, str]) -> None:
    outcome = browser.post("/.auth/logout", {}, headers)
    assert page_of(outcome, 403).context["code"] == "cross_site_form"
    assert world.asked == []
    assert forwarded(browser.get("/"))


def test_our_own_forms_ticket_speaks_for_a_browser_that_says_nothing_about_itself(
    world: World, browser: Browser
) -> None:
    silent = {"accept": "text/html"}
    ticket = page_of(browser.get("/.auth/logout", silent)).context["ticket"]
    for headers in ({**CROSS_SITE, "origin": "https://evil.example"}, {**silent, "origin": "null"}, CROSS_SITE):
        assert code_of(browser.post("/.auth/logout", {"ticket": ticket}, headers)) == "cross_site_form"
    assert code_of(browser.post("/.auth/logout", {"ticket": "x" + ticket}, silent)) == "cross_site_form"
    world.now += HOUR + 1
    assert code_of(browser.post("/.auth/logout", {"ticket": ticket}, silent)) == "cross_site_form"
    world.now -= 1
    assert location(browser.post("/.auth/logout", {"ticket": ticket}, silent))
    assert world.live() == []


def test_a_ticket_of_the_interrupt_is_not_one_for_signing_out(world: World, browser: Browser) -> None:
    at = location(browser.come_back(browser.begin("/.auth/login?prompt=login")))
    outcome = browser.post("/.auth/logout", {"ticket": query_of(at)["ticket"]}, {"accept": "text/html"})
    assert code_of(outcome) == "cross_site_form"


def test_the_question_shows_although_the_provider_is_away(world: World, browser: Browser) -> None:
    world.broken[ask.GetProvider] = ProviderUnavailable("gone")
    assert page_of(browser.get("/.auth/logout", CROSS_SITE)).form_action == ("'self'",)


# Coming back -----------------------------------------------------------------------------------------------


def back(browser: Browser, outcome: object) -> object:
    """Follow the redirect of a sign-out, with the provider sending the browser back."""
    assert isinstance(outcome, Reply)
    asked = query_of(location(outcome))
    return browser.get(f"{asked['post_logout_redirect_uri']}?{urlencode({'state': asked['state']})}", CROSS_SITE)


def test_back_from_the_provider_a_page_says_that_one_is_signed_out(browser: Browser) -> None:
    page = page_of(back(browser, browser.post("/.auth/logout")))  # type: ignore[arg-type]
    assert page.name == "logged_out.html"
    assert page.context["still_signed_in"] == []
    assert page.context["login_url"] == "/.auth/login?post_login_redirect_uri=%2F"


def test_the_browser_forgets_the_pages_it_kept_on_the_way_out_and_on_the_way_back(browser: Browser) -> None:
    for target in ("", "/bye"):
        there = browser.post("/.auth/logout", {"post_logout_redirect_uri": target})
        for outcome in (there, back(browser, there)):
            assert headers_of(outcome)["clear-site-data"] == '"cache"'  # type: ignore[arg-type]
        browser.sign_in()


def test_back_from_the_provider_one_goes_where_the_app_wants(browser: Browser) -> None:
    outcome = browser.post("/.auth/logout", {"post_logout_redirect_uri": f"{ORIGIN}/bye?x=1"})
    assert location(back(browser, outcome)) == "/bye?x=1"  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "bye"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_where_one_wants_to_go_after_signing_out_is_a_path_of_this_origin(
    world: World, browser: Browser, target: str, method: str
) -> None:
    given = {"post_logout_redirect_uri": target}
    if method == "GET":
        outcome = browser.get("/.auth/logout?" + urlencode(given), SAME_ORIGIN)
    else:
        outcome = browser.post("/.auth/logout", given)
    assert world.live() == [], "a page that we don't go to is no reason to leave anybody signed in"
    assert page_of(back(browser, outcome)).name == "logged_out.html"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "query", ["", "?state=", "?state=odd", "?state=a&state=b", "?state=%ff", "?error=x", "?state=" + "A" * 9_000]
)
def test_an_odd_or_missing_state_on_return_is_harmless(browser: Browser, query: str) -> None:
    browser.post("/.auth/logout")
    page = page_of(browser.get(f"/.auth/logged-out{query}", CROSS_SITE))
    assert page.name == "logged_out.html"
    assert page.context["still_signed_in"] == []
    assert page.context["session_ended"] is False


def test_who_is_not_signed_in_is_told_of_no_session_that_ended(world: World, browser: Browser) -> None:
    for has_session in (True, False):
        page = page_of(browser.get("/.auth/logout", CROSS_SITE))
        assert bool(page.context["user_name"]) is has_session
        outcome = browser.post(page.context["action"], {"ticket": page.context["ticket"]})
        there = location(outcome)
        assert there.startswith(f"{SIGN_OUT_ORIGIN}/end?")  # at the provider in any case
        assert page_of(back(browser, outcome)).context["session_ended"] is has_session  # type: ignore[arg-type]


def test_the_state_of_a_sign_in_leads_nowhere_after_a_sign_out(world: World) -> None:
    browser = Browser(world)
    state = query_of(browser.begin("/secret"))["state"]
    assert page_of(browser.get("/.auth/logged-out?" + urlencode({"state": state}))).name == "logged_out.html"


def test_a_late_return_goes_to_the_page_and_not_to_the_target(world: World, browser: Browser) -> None:
    outcome = browser.post("/.auth/logout", {"post_logout_redirect_uri": "/bye"})
    world.now += HOUR
    assert location(back(browser, outcome)) == "/bye"  # type: ignore[arg-type]
    world.now += 1
    assert page_of(back(browser, outcome)).name == "logged_out.html"  # type: ignore[arg-type]


def test_the_page_is_not_shown_to_who_is_signed_in(world: World, browser: Browser) -> None:
    """To say "you are signed out" would be untrue, and anybody can link to the page."""
    for _ in range(2):
        assert location(browser.get("/.auth/logged-out", CROSS_SITE)) == "/"
    assert world.asked_for(ask.EndSession, ask.SaveSession) == []


def test_looking_at_the_page_extends_no_session(world: World, browser: Browser) -> None:
    world.now += 3 * DAY
    browser.get("/.auth/logged-out")
    assert world.asked_for(ask.SaveSession) == []


# What can't be done at the provider ------------------------------------------------------------------------


def test_without_an_end_session_endpoint_the_page_says_truthfully_what_is_still_signed_in(
    world: World, browser: Browser
) -> None:
    world.idp.metadata = replace(world.idp.metadata, end_session_endpoint=None)
    outcome = browser.post("/.auth/logout", {"post_logout_redirect_uri": "/bye"})
    assert location(outcome).startswith("/.auth/logged-out?state=")
    assert cleared(outcome) == [COOKIE]
    assert world.live() == []
    page = page_of(browser.get(location(outcome)))
    (sentence,) = page.context["still_signed_in"]
    assert "still signed in at login.example.com" in sentence


@pytest.mark.parametrize("error", [ProviderUnavailable("gone"), ProtocolError("issuer_mismatch", "another")])
def test_with_the_provider_out_of_reach_the_session_is_over_all_the_same(
    world: World, browser: Browser, error: Exception
) -> None:
    world.broken[ask.GetProvider] = error  # type: ignore[assignment]
    outcome = browser.post("/.auth/logout")
    assert cleared(outcome) == [COOKIE]
    assert world.live() == []
    page = page_of(browser.get(location(outcome)))
    (sentence,) = page.context["still_signed_in"]
    assert "may still be signed in there" in sentence
