"""Sign-out: here, at the provider, and in the other apps."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

import pytest
from tests.shells.shell_servers import Answer
from tests.shells.shell_support import HOME, IDP, SECRET, Browser, Page, World, query_of

from kmsi_middleware.rules.seals import key_of

FAR = "http://app.localhost:8002"  # third-party to the provider, as HOME is


def copy_of(browser: Browser) -> Browser:
    """Somebody who stole the cookies, or a browser that does not forget."""
    return browser.world.browser(jar=dict(browser.jar))


def sid_of(browser: Browser, origin: str = HOME) -> str:
    sid: str = browser.fetch(f"{origin}/.auth/me", source=origin).json()["user"]["claims"]["sid"]
    return sid


def test_a_post_ends_the_session_first_then_the_cookie_goes_then_the_browser_goes_to_the_provider(
    any_world: World,
) -> None:
    any_world.app()
    browser = any_world.browser()
    browser.sign_in("mia", "yes")
    thief = copy_of(browser)
    page = browser.post("/.auth/logout", {})
    here, there = page.trail[0], page
    assert here.status == 303
    assert here.header("clear-site-data") == '"cache"'
    assert any(line.startswith("kmsi-8000=;") and "Max-Age=0" in line for line in here.cookies)
    asked = query_of(here.header("location"))
    assert here.header("location").startswith(f"{HOME}/.auth/idp/end-session?")
    assert {"id_token_hint", "client_id", "state", "post_logout_redirect_uri"} <= set(asked)
    assert asked["post_logout_redirect_uri"] == f"{HOME}/.auth/logged-out"
    assert browser.names() == []
    assert (thief.who(), thief.fetch("/page").json()["reason"]) == (None, "signed_out")
    end = browser.finish(there)
    assert end.url.startswith(f"{HOME}/.auth/logged-out")
    assert end.status == 200
    browser.close()
    assert "pick" in Page(browser.visit("/").text).buttons  # at the provider, too


def test_sign_out_goes_to_the_page_that_was_asked_for(world: World, browser: Browser) -> None:
    world.app(public_paths=["/bye"])
    browser.sign_in()
    page = browser.finish(browser.post("/.auth/logout", {"post_logout_redirect_uri": "/bye"}))
    assert page.url == f"{HOME}/bye"
    browser.sign_in()
    page = browser.finish(browser.post("/.auth/logout", {"post_logout_redirect_uri": "//evil.example"}))
    assert page.url.startswith(f"{HOME}/.auth/logged-out")
    assert browser.who() is None  # a page that we don't go to is no reason to leave anybody signed in


def test_a_get_signs_out_only_as_a_plain_navigation_within_this_origin(world: World, browser: Browser) -> None:
    world.app()
    browser.sign_in()
    asking = [
        browser.visit("/.auth/logout"),  # typed
        browser.visit("/.auth/logout", source="https://evil.example/"),
        browser.visit("/.auth/logout", source="http://localhost:9999/"),
        browser.request("GET", "/.auth/logout"),
    ]
    for page in asking:
        assert (page.status, page.trail, page.cookies) == (200, [], [])
        assert "Sign out?" in page.text
        assert browser.who() == "Mia Member"
    assert browser.prefetch("/.auth/logout").status == 403
    assert browser.who() == "Mia Member"
    page = browser.visit("/.auth/logout", source=f"{HOME}/page")
    assert page.trail[0].header("clear-site-data") == '"cache"'
    assert browser.who() is None


def test_a_get_asks_and_the_answer_is_a_post_from_this_origin(world: World, browser: Browser) -> None:
    world.provider(HOME)
    world.client()
    browser.sign_in()
    page = browser.visit("/.auth/logout?post_logout_redirect_uri=/page")
    end = browser.submit(page)  # keeps the page's form-action, which must name the provider
    assert any(hop.url.startswith(f"{IDP}/end-session") for hop in (*end.trail, end))
    assert browser.who() is None


@pytest.mark.parametrize("source", ["https://evil.example/", "http://localhost:9999/"])
def test_a_post_from_elsewhere_signs_nobody_out(world: World, browser: Browser, source: str) -> None:
    world.app()
    browser.sign_in()
    assert browser.post("/.auth/logout", {}, source=source).status == 403
    assert browser.request("POST", "/.auth/logout").status == 403
    assert browser.request("POST", "/.auth/logout", [("origin", "null")]).status == 403
    assert browser.who() == "Mia Member"


def test_signing_out_without_a_session_is_harmless(world: World, browser: Browser) -> None:
    world.app()
    assert browser.finish(browser.post("/.auth/logout", {})).url.startswith(f"{HOME}/.auth/")
    assert browser.visit("/.auth/logged-out?state=odd").status == 200
    assert browser.visit("/.auth/logged-out").status == 200
    assert browser.visit("/.auth/logged-out?state=1&state=2").status == 200


def test_a_return_from_sign_out_with_a_new_session_goes_home(world: World, browser: Browser) -> None:
    world.app()
    browser.sign_in()
    assert browser.visit("/.auth/logged-out?state=odd").url == f"{HOME}/"
    assert browser.who() == "Mia Member"


def test_a_provider_without_sign_out_is_told_of_truthfully(world: World, browser: Browser) -> None:
    world.app(issuer="http://127.0.0.1:1", client_id="app", secret_keys=[SECRET], base_url=HOME)
    page = browser.post("/.auth/logout", {})
    assert page.status == 200
    assert "127.0.0.1:1 did not answer" in page.text


# In the other apps --------------------------------------------------------------------------------------------


def test_signing_out_of_one_app_signs_out_of_the_other_without_any_cookie(any_world: World) -> None:
    any_world.provider(HOME, FAR)
    any_world.client()
    any_world.client(FAR)
    browser, stranger = any_world.browser(), any_world.browser()
    browser.sign_in("mia", "yes")
    browser.sign_in("mia", "yes", at=f"{FAR}/page")
    stranger.sign_in("mia", "yes")  # the same person at another device has another sid
    assert browser.who(FAR) == "Mia Member"
    browser.sign_out()  # the provider's page is on 127.0.0.1, and frames of localhost are third-party there
    assert browser.who() is None
    said = browser.fetch(f"{FAR}/page", source=FAR).json()
    assert (said["code"], said["reason"]) == ("signed_out", "front_channel")
    assert stranger.who() == "Mia Member"


def test_a_cookieless_frame_with_sid_ends_the_session_of_another_browser(any_world: World) -> None:
    app = any_world.app()
    issuer = f"{HOME}/.auth/idp"
    for query in ({"iss": issuer}, {}):  # Entra sends no iss
        browser, frame, third = any_world.browser(), any_world.browser(), any_world.browser()
        browser.sign_in("mia", "yes")
        third.sign_in("mia", "no")
        browser.visit("/page")  # settled: passes without the flow
        answer = frame.frame(f"{HOME}/.auth/frontchannel-logout?{urlencode({'sid': sid_of(browser), **query})}", HOME)
        assert_harmless_answer(answer)
        calls = len(app.small.calls)
        assert browser.fetch("/page").json()["reason"] == "front_channel"
        assert browser.who() is None
        assert len(app.small.calls) == calls
        assert third.who() == "Mia Member"


def assert_harmless_answer(answer: Answer) -> None:
    assert (answer.status, answer.header("cache-control"), answer.header("location")) == (200, "no-store", "")


@pytest.mark.parametrize(
    "query",
    [
        {"sid": "unknown"},
        {"sid": ""},
        {"iss": "{issuer}"},
        {"iss": "https://evil.example", "sid": "{sid}"},
        {"iss": "{issuer}", "sid": "{sub}"},
        {"iss": "{issuer}", "sid": "x" * 5_000},
        {"iss": "{issuer}", "sid": "{sid} "},
    ],
)
def test_a_frame_that_names_no_session_ends_none(world: World, browser: Browser, query: dict[str, str]) -> None:
    world.app()
    browser.sign_in()
    known = {"issuer": f"{HOME}/.auth/idp", "sid": sid_of(browser)}
    known["sub"] = browser.fetch("/.auth/me").json()["user"]["claims"]["sub"]
    given = {name: value.format(**known) for name, value in query.items()}
    url = f"{HOME}/.auth/frontchannel-logout?{urlencode(given)}"
    assert_harmless_answer(world.browser().frame(url, HOME))
    assert_harmless_answer(browser.frame(url, HOME))
    assert browser.who() == "Mia Member"


def test_a_repeated_parameter_ends_nothing(world: World, browser: Browser) -> None:
    world.app()
    browser.sign_in()
    sid = sid_of(browser)
    assert_harmless_answer(browser.frame(f"{HOME}/.auth/frontchannel-logout?sid={sid}&sid={sid}", HOME))
    assert browser.who() == "Mia Member"


def test_the_sid_of_another_session_never_ends_the_one_whose_cookie_came_along(world: World, browser: Browser) -> None:
    world.app()
    other = world.browser()
    browser.sign_in("mia")
    other.sign_in("gus", None)
    answer = browser.frame(f"{HOME}/.auth/frontchannel-logout?sid={sid_of(other)}", HOME)
    assert answer.cookies == []
    assert browser.who() == "Mia Member"
    assert other.who() is None


def test_a_sid_that_equals_sub_ends_nothing_without_the_cookie(any_world: World) -> None:
    app = any_world.app()
    browser = any_world.browser()
    browser.sign_in()
    cookie, store, now = browser.session_cookie(), app.parts.services.store, any_world.clock.now
    assert cookie is not None
    session = store.load(key_of(cookie.value), now)
    store.save(replace(session, sids=(session.subject,), version=session.version + 1), now)
    url = f"{HOME}/.auth/frontchannel-logout?sid={session.subject}"
    any_world.browser().frame(url, HOME)  # anybody may know a sub
    assert browser.who() == "Mia Member"
    browser.frame(url, HOME)
    assert browser.who() is None


def test_without_parameters_the_cookies_session_ends_and_only_in_a_frame(world: World, browser: Browser) -> None:
    world.app()
    browser.sign_in()
    url = f"{HOME}/.auth/frontchannel-logout"
    assert browser.visit(url).status == 200
    assert browser.fetch(url).status == 200
    assert_harmless_answer(world.browser().frame(url, HOME))
    assert browser.who() == "Mia Member"
    answer = browser.frame(url, HOME)
    assert_harmless_answer(answer)
    assert browser.session_cookie() is None
    assert browser.who() is None


def test_only_the_provider_and_who_is_named_may_frame_it(world: World, browser: Browser) -> None:
    world.provider(HOME)
    world.client(frame_ancestors=["https://portal.example"])
    url = f"{HOME}/.auth/frontchannel-logout?sid=x"
    for source in (f"{IDP}/end-session", "https://portal.example/"):
        browser.frame(url, source)
    for source in ("https://evil.example/", "http://localhost:9999/", f"{HOME}/"):
        with pytest.raises(AssertionError, match="must not frame"):
            browser.frame(url, source)


def test_who_tries_sids_keeps_nobody_at_the_same_address_signed_in(world: World, browser: Browser) -> None:
    """Misses are limited by address, but a sid that nobody can guess is looked up all the same."""
    app = world.app()
    browser.sign_in()
    hit = f"{HOME}/.auth/frontchannel-logout?sid={sid_of(browser)}"
    for number in range(70):
        browser.frame(f"{HOME}/.auth/frontchannel-logout?sid={number}", HOME)
    assert app.parts.services.unmatched.totals()["frontchannel-logout"] == 60
    browser.frame(hit, HOME)
    assert browser.who() is None
