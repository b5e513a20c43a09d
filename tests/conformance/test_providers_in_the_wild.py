"""Odd but honest providers: what was seen at real ones, and must not keep anybody from signing in or out.

The sections follow what happens: the metadata, the answer, the ID token, asking again, signing out.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from tests.conformance.conformance_support import (
    AUTHORIZED,
    REDEEMED,
    WAYS,
    ConformanceWorld,
    code_on,
    go,
    notified,
    refreshed,
    refused,
    signs_in,
    signs_out,
    with_refresh_tokens,
)
from tests.conformance.misbehaving_provider import SECRET, Provider
from tests.rules.oidc.oidc_support import jwk
from tests.shells.shell_support import DAY, HOME, HOUR, IDP, Browser
from tests.shells.test_shell_policies import HOURLY

GUID = "8a1a2f0e-4b7e-4f1c-9a51-1d2c3b4a5f60"


@pytest.fixture
def browser(world: ConformanceWorld) -> Browser:
    return world.browser()


def frame(browser: Browser, **given: str) -> str | None:
    """The provider's page loads our frame, without our cookies. Answer: who is signed in afterwards."""
    return framed(browser, urlencode(given))


def framed(browser: Browser, query: str) -> str | None:
    answer = browser.frame(f"{HOME}/.auth/frontchannel-logout?{query}", f"{IDP}/end_session")
    assert answer.status == 200
    return browser.who()


# Metadata and keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/tenant", "/tenant/", "/realms/one/v2.0"])
def test_an_issuer_may_have_a_path_and_may_end_with_a_slash(world: ConformanceWorld, path: str) -> None:
    assert signs_in(world, world.deploy(issuer=IDP + path))


@pytest.mark.parametrize(("ours", "its"), [("/tenant", "/tenant/"), ("/tenant/", "/tenant")])
def test_and_yet_an_issuer_with_a_slash_is_not_the_one_without(world: ConformanceWorld, ours: str, its: str) -> None:
    assert refused(world, world.deploy(issuer=IDP + ours).sends(iss=IDP + its), code="id_token_iss")


def test_metadata_may_leave_the_logout_out_although_it_works(world: ConformanceWorld, provider: Provider) -> None:
    framed_out, signed_out = world.browser(), world.browser()
    assert signs_in(world, provider.publishes(end_session_endpoint=...).sends(sid=GUID), framed_out)
    assert frame(framed_out, iss=provider.issuer, sid=GUID) is None
    assert signs_in(world, provider, signed_out, asked=[*REDEEMED, "authorize", "token"])
    assert "You are still signed in at 127.0.0.1:8400" in signed_out.sign_out().text
    assert signed_out.who() is None


def test_metadata_may_name_too_few_scopes(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider.publishes(scopes_supported=["openid"]))
    assert provider.last("authorize")["scope"] == "openid profile email"


def test_metadata_may_offer_a_client_authentication_that_then_fails(world: ConformanceWorld) -> None:
    """What works is a setting then."""
    assert refused(world, world.deploy().refuses_basic(), code="token_refused", asked=[*AUTHORIZED, "token"])
    assert signs_in(world, world.deploy(token_endpoint_auth_method="client_secret_post").refuses_basic())


def test_metadata_may_offer_a_sign_out_that_then_fails(
    world: ConformanceWorld, provider: Provider, browser: Browser
) -> None:
    assert signs_in(world, provider.publishes(end_session_endpoint=f"{IDP}/nothing-here"), browser)
    assert browser.sign_out().status == 404
    assert browser.who() is None


@pytest.mark.parametrize("members", [{}, {"alg": "RS256"}, {"use": ...}, {"x5c": ["MIIC"], "x5t": "x", "issuer": "i"}])
def test_a_key_may_say_little_about_itself_and_may_say_much(
    world: ConformanceWorld, provider: Provider, members: dict[str, Any]
) -> None:
    assert signs_in(world, provider.publishes_keys(jwk(**members)))


# The answer ----------------------------------------------------------------------------------------------------


def test_an_answer_may_have_more_parameters(world: ConformanceWorld, provider: Provider) -> None:
    more = {"session_state": "a/b+c=.d", "scope": "openid profile", "client_id": world.client_id}
    assert signs_in(world, provider.answers(**more, authuser="0", prompt="none"))


def test_an_issuer_that_is_not_promised_need_not_be_named_and_may_be(world: ConformanceWorld) -> None:
    assert signs_in(world, world.deploy())
    assert signs_in(world, world.deploy().answers(iss=IDP))


def test_form_post_may_be_asked_for_and_not_honoured(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider.ignores_form_post())


@pytest.mark.parametrize("kind", ["bearer", "BEARER", ...])
def test_the_token_type_may_be_in_any_case_or_missing(world: ConformanceWorld, provider: Provider, kind: Any) -> None:
    assert signs_in(world, provider.gives(token_type=kind))


def test_a_code_is_never_sent_twice_because_that_revokes_what_it_brought(
    world: ConformanceWorld, provider: Provider, browser: Browser
) -> None:
    provider.shows(200)
    there = browser.visit(f"{HOME}/page")
    provider.shows(None)
    other = world.browser(jar=dict(browser.jar))
    page = go(browser, there.url)
    callback = next(hop.url for hop in page.trail if "/.auth/callback?" in hop.url)
    assert browser.visit(callback).url == f"{HOME}/page"
    assert code_on(other.visit(callback)) == "sign_in_used"
    assert provider.asked.count("token") == 1


# The ID token --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("azp", [..., HOME])
@pytest.mark.parametrize("aud", [HOME, [HOME]])
def test_the_audience_may_be_a_text_or_a_list_and_azp_there_or_not(
    world: ConformanceWorld, provider: Provider, aud: Any, azp: Any
) -> None:
    assert signs_in(world, provider.sends(aud=aud, azp=azp))


def test_the_audience_may_hold_others_where_azp_is_us(world: ConformanceWorld, provider: Provider) -> None:
    assert signs_in(world, provider.sends(aud=["another-app", HOME], azp=HOME))


@pytest.mark.parametrize("header", [{"kid": ...}, {"typ": ...}, {"kid": ..., "typ": ...}, {"typ": "ID+JWT"}])
def test_an_id_tokens_header_may_say_little(
    world: ConformanceWorld, provider: Provider, header: dict[str, Any]
) -> None:
    assert signs_in(world, provider.signs(**header))


@pytest.mark.parametrize("name", ["at_hash", "sid", "auth_time", "email"])
def test_an_id_token_may_leave_a_claim_out(world: ConformanceWorld, provider: Provider, name: str) -> None:
    assert signs_in(world, provider.sends(**{name: ...}))


@pytest.mark.parametrize("auth_time", [0, 1_799_999_999.875])
def test_auth_time_may_be_zero_or_have_a_fraction(
    world: ConformanceWorld, provider: Provider, auth_time: float
) -> None:
    assert signs_in(world, provider.sends(auth_time=auth_time))


@pytest.mark.parametrize("auth_time", [..., 0])
def test_a_missing_auth_time_can_be_made_up_for_by_the_sign_in_here(world: ConformanceWorld, auth_time: Any) -> None:
    strict = world.deploy(policies=[HOURLY]).sends(auth_time=auth_time)
    assert refused(world, strict, code="auth_time_missing", asked=[*REDEEMED, "authorize", "token"])
    lenient = world.deploy(policies=[HOURLY], missing_auth_time="trust_sign_in")
    assert signs_in(world, lenient.sends(auth_time=auth_time))


def test_auth_time_may_come_only_where_max_age_was_asked_for(world: ConformanceWorld, browser: Browser) -> None:
    provider = world.deploy(policies=[HOURLY])
    provider.tells_auth_time_only_with_max_age()
    assert signs_in(world, provider, browser, asked=[*REDEEMED, "authorize", "token"])


def test_subject_and_sid_are_opaque_and_others_for_each_app(
    world: ConformanceWorld, provider: Provider, browser: Browser
) -> None:
    there, odd = "http://localhost:8001", "A_7/+=~é§ " * 20
    assert signs_in(world, provider.sends(sub=odd, sid=GUID, name="Alice"), browser)
    world.client(there, client_secret=SECRET, show_option_to_remain_signed_in=False)
    provider.sends(sub="another", sid=f"{GUID}-2")
    go(browser, f"{there}/")
    assert browser.fetch("/.auth/me").json()["user"]["id"] == odd
    assert browser.fetch(f"{there}/.auth/me", source=there).json()["user"]["id"] == "another"
    assert frame(browser, iss=provider.issuer, sid=f"{GUID}-2") == "Alice"
    assert frame(browser, iss=provider.issuer, sid=GUID) is None
    assert browser.who(there) == "Alice"


@pytest.mark.parametrize("claims", [{"nonce": ...}, {"nonce": ..., "at_hash": ..., "sid": ..., "auth_time": ...}])
def test_a_refreshed_id_token_may_have_no_nonce_and_little_else(
    world: ConformanceWorld, claims: dict[str, Any]
) -> None:
    provider = with_refresh_tokens(world).refreshes(**claims)
    assert refreshed(world, provider) in provider.accepted


# Asking again --------------------------------------------------------------------------------------------------


def test_prompt_login_may_be_ignored_for_a_young_session(
    world: ConformanceWorld, provider: Provider, browser: Browser
) -> None:
    provider.sends(auth_time=int(world.clock.now))
    assert signs_in(world, provider, browser)
    world.clock.pass_(60)
    page = go(browser, f"{HOME}/.auth/login?prompt=login&post_login_redirect_uri=/page")
    assert (page.status, browser.who()) == (200, "Alice")
    assert provider.asked == [*REDEEMED, "authorize", "token"]


def test_max_age_may_be_ignored_and_nobody_is_sent_round_in_circles(world: ConformanceWorld, browser: Browser) -> None:
    provider = world.deploy(policies=[HOURLY])
    assert signs_in(world, provider.sends(auth_time=int(world.clock.now)), browser)
    world.clock.pass_(2 * HOUR)
    page = go(browser, f"{HOME}/page")
    assert (page.status, code_on(page)) == (403, "sign_in_too_old")
    assert provider.asked.count("authorize") == 3
    assert provider.last("authorize")["max_age"] == "3600"


@pytest.mark.parametrize("error", ["interaction_required", "login_required", "consent_required", "server_error"])
def test_prompt_none_may_be_declined_in_any_way_and_nobody_is_sent_round_in_circles(
    world: ConformanceWorld, provider: Provider, error: str
) -> None:
    provider.answers(code=..., error=error)
    at = "/.auth/login?prompt=none"
    assert refused(world, provider, code="provider_error", asked=AUTHORIZED, at=at)


@pytest.mark.parametrize("status", [200, 500])
def test_prompt_none_may_be_answered_by_a_page_and_the_next_sign_in_works(
    world: ConformanceWorld, provider: Provider, browser: Browser, status: int
) -> None:
    """A form or a failure that the provider shows itself: the person stays there, and comes back when they like."""
    provider.shows(status)
    page = browser.visit(f"{HOME}/.auth/login?prompt=none")
    assert (page.status, page.url.partition("?")[0]) == (status, provider.url("authorize"))
    provider.shows(None)
    assert signs_in(world, provider, browser, asked=[*AUTHORIZED, "token", "jwks"])


# The name of the provider's session ----------------------------------------------------------------------------


@pytest.mark.parametrize("sid", ["s" * 2_048, "kq3/+Zx0aW4=+/==", GUID, "ünïcode sid of a session", '{"a": [1]}'])
def test_a_sid_is_opaque(world: ConformanceWorld, provider: Provider, browser: Browser, sid: str) -> None:
    assert signs_in(world, provider.sends(sid=sid), browser)
    assert frame(browser, iss=provider.issuer, sid=sid) is None


def test_a_sid_may_change_with_each_sign_in_and_a_logout_may_name_an_older_one(
    world: ConformanceWorld, provider: Provider, browser: Browser
) -> None:
    assert signs_in(world, provider.sends(sid=GUID), browser)
    provider.sends(sid="another and a newer one")
    go(browser, f"{HOME}/.auth/login?prompt=login")
    assert browser.who() == "Alice"
    assert frame(browser, iss=provider.issuer, sid=GUID) is None


def test_a_sid_may_equal_the_subject_and_then_it_takes_the_cookie_to_sign_out(
    world: ConformanceWorld, provider: Provider, browser: Browser
) -> None:
    assert signs_in(world, provider.sends(sid="alice"), browser)
    assert frame(browser, iss=provider.issuer, sid="alice") == "Alice"
    browser.visit(f"{HOME}/.auth/frontchannel-logout?" + urlencode({"iss": provider.issuer, "sid": "alice"}))
    assert browser.who() is None


# Front-channel logout ------------------------------------------------------------------------------------------


def test_a_frame_may_name_the_issuer_without_encoding_it(
    world: ConformanceWorld, provider: Provider, browser: Browser
) -> None:
    assert signs_in(world, provider.sends(sid="kq3/+Zx0aW4=+/=="), browser)
    assert framed(browser, f"iss={provider.issuer}&sid=kq3/+Zx0aW4=+/==") is None


def test_a_frame_may_leave_the_issuer_out(world: ConformanceWorld, provider: Provider, browser: Browser) -> None:
    assert signs_in(world, provider.sends(sid=GUID), browser)
    assert frame(browser, sid=GUID) is None


def test_one_logout_channel_may_be_used_although_both_are_registered(
    world: ConformanceWorld, provider: Provider
) -> None:
    framed_only, told_only = world.browser(), world.browser()
    assert signs_in(world, provider.sends(sid=GUID), framed_only)
    assert frame(framed_only, iss=provider.issuer, sid=GUID) is None
    provider.requests.clear()
    assert signs_in(world, provider.sends(sid=f"{GUID}-2"), told_only, asked=["authorize", "token"])
    assert told(world, provider, sid=f"{GUID}-2") == 200
    assert told_only.who() is None


def test_a_frame_may_name_a_session_that_the_id_token_did_not(
    world: ConformanceWorld, provider: Provider, browser: Browser
) -> None:
    """As ``session_state`` has it, or not at all; then the sign-in after the next visit asks the provider anew."""
    assert signs_in(world, provider.sends(sid=...).answers(session_state=GUID), browser)
    assert frame(browser, iss=provider.issuer, sid="never heard of that one") == "Alice"
    assert frame(browser, iss=provider.issuer, sid=GUID) is None


def test_a_providers_page_that_allows_only_our_host_in_frames_is_led_nowhere_else(
    world: ConformanceWorld, provider: Provider, browser: Browser
) -> None:
    assert signs_in(world, provider.sends(sid=GUID), browser)
    answer = browser.frame(f"{HOME}/.auth/frontchannel-logout?sid={GUID}", f"{IDP}/end_session")
    assert (answer.status, answer.header("location"), answer.trail) == (200, "", [])


# Back-channel logout -------------------------------------------------------------------------------------------


def told(world: ConformanceWorld, provider: Provider, **changed: Any) -> int:
    """The status of the answer to a logout token for the session ``GUID``."""
    return notified(world, provider.logout_token(**{"aud": HOME, "sub": "alice", "sid": GUID} | changed)).status


@pytest.mark.parametrize(
    "changed",
    [
        {"header": {"typ": "JWT"}},
        {"header": {"typ": ...}},
        {"header": {"kid": ...}},
        {"exp": ...},
        {"exp": 1_800_000_000 + DAY},
        {"sub": ...},
        {"sid": ...},
        {"jti": "a1b2c3d4"},
        {"aud": [HOME]},
        {"aud": [HOME, "another-app"]},
        {"trace": {"id": [1]}},
    ],
)
def test_a_logout_token_may_look_like_that(
    world: ConformanceWorld, provider: Provider, browser: Browser, changed: dict[str, Any]
) -> None:
    assert signs_in(world, provider.sends(sid=GUID), browser)
    assert told(world, provider, **changed) == 200
    assert browser.who() is None


def test_a_logout_token_may_come_before_the_browser_is_sent_back_and_after_it(
    world: ConformanceWorld, provider: Provider
) -> None:
    answers: list[int] = []
    provider.sends(sid=GUID).notifies.append(lambda: answers.append(told(world, provider)))
    assert signs_out(world, provider)
    assert [*answers, told(world, provider)] == [200, 200]


def test_a_session_that_is_not_known_is_a_success(world: ConformanceWorld, provider: Provider) -> None:
    """A 400 could leave the person stranded at the provider."""
    assert told(world, provider) == 200


@pytest.mark.parametrize("world", [*WAYS, "http query"], indirect=True)
def test_keys_may_be_fetched_from_inside_the_request(
    world: ConformanceWorld, provider: Provider, browser: Browser
) -> None:
    """Over real sockets too: the provider waits for our answer while we wait for its keys."""
    assert signs_in(world, provider.sends(sid=GUID), browser)
    answers: list[int] = []
    provider.rotates(before="end_session").notifies.append(lambda: answers.append(told(world, provider)))
    browser.sign_out()
    assert answers == [200]
    assert provider.asked == [*REDEEMED, *world.asks_itself, "end_session", "jwks"]


# Signing out here ----------------------------------------------------------------------------------------------


def test_a_sign_out_is_sent_by_get_with_all_that_some_provider_needs(
    world: ConformanceWorld, provider: Provider
) -> None:
    assert signs_out(world, provider)
    assert provider.last("end_session").keys() >= {"id_token_hint", "client_id", "state", "post_logout_redirect_uri"}
    assert provider.requests[-1].method == "GET"


def test_a_provider_may_load_our_frame_and_not_come_back(
    world: ConformanceWorld, provider: Provider, browser: Browser
) -> None:
    assert signs_in(world, provider.sends(sid=GUID), browser)
    provider.frames = [f"{HOME}/.auth/frontchannel-logout?" + urlencode({"iss": provider.issuer, "sid": GUID})]
    page = browser.post(f"{HOME}/.auth/logout", {}, source=f"{HOME}/")
    browser.frame(provider.frames[0], page.url)
    assert browser.who() is None
    assert signs_in(world, provider, browser, asked=[*REDEEMED, "end_session", "authorize", "token"])


def test_a_second_sign_out_may_be_refused_by_the_provider(
    world: ConformanceWorld, provider: Provider, browser: Browser
) -> None:
    assert signs_in(world, provider, browser)
    assert browser.sign_out().status == 200
    assert browser.sign_out().status == 400
    assert browser.who() is None


@pytest.mark.parametrize("days", [0, 3])
def test_the_id_token_that_is_sent_as_a_hint_may_have_expired(
    world: ConformanceWorld, provider: Provider, browser: Browser, days: int
) -> None:
    """It is no proof of anything there: some providers take it, some ask, and the session here is over either way."""
    world.deploy(session_lifetime=DAY)
    assert signs_in(world, world.misbehaving, browser)
    world.clock.pass_(days * DAY / 6)
    assert browser.sign_out().status == 200
    assert world.misbehaving.last("end_session")["id_token_hint"]
