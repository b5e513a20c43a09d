"""How long a session holds, and what the browser keeps of it. All by the clock that was handed in."""

from __future__ import annotations

import pytest
from tests.shells.shell_support import DAY, HOME, HOUR, MINUTE, Browser, Page, World


def test_a_persistent_cookie_survives_the_browsers_close_and_a_non_persistent_one_does_not(any_world: World) -> None:
    any_world.app()
    kept, gone = any_world.browser(), any_world.browser()
    kept.sign_in("mia", "yes")
    gone.sign_in("mia", "no")
    cookie = kept.session_cookie()
    assert cookie is not None
    assert cookie.until == any_world.clock.now + 30 * DAY
    assert (cookie.http_only, cookie.same_site, cookie.path) == (True, "lax", "/")
    cookie = gone.session_cookie()
    assert cookie is not None
    assert cookie.until is None
    for browser in (kept, gone):
        assert browser.who() == "Mia Member"
        browser.close()
    assert kept.who() == "Mia Member"
    assert gone.who() is None


def test_a_browser_that_restored_its_session_cookie_after_the_lifetime_is_not_signed_in(any_world: World) -> None:
    any_world.app(session_lifetime=3_600)
    browser = any_world.browser()
    browser.sign_in("mia", "no")
    browser.close(restores=True)
    any_world.clock.pass_(3_599)
    assert browser.who() == "Mia Member"
    any_world.clock.pass_(1)
    browser.close(restores=True)
    assert browser.session_cookie() is not None
    answer = browser.fetch("/page")
    assert answer.status == 401
    assert (answer.json()["code"], answer.json()["reason"]) == ("session_expired", "idle")
    page = browser.visit("/page")
    assert page.status == 401
    assert "Your session has ended" in page.text
    (sign_in,) = Page(page.text).links
    assert "/authorize" in browser.click(sign_in, on=page).trail[0].header("location")


@pytest.mark.parametrize(
    ("answer", "settings", "lifetime"),
    [
        ("no", {"session_expiry": "absolute", "session_lifetime": 900}, 900),
        ("no", {"session_lifetime": 900}, 900),
        ("yes", {"session_expiry": "absolute", "keep_me_signed_in_days": 2}, 2 * DAY),
        ("yes", {"keep_me_signed_in_days": 2}, 2 * DAY),
        ("yes", {"keep_me_signed_in_days": 90, "session_max_age": 1}, DAY),
    ],
)
def test_a_session_is_over_at_the_very_second(
    world: World, browser: Browser, answer: str, settings: dict[str, object], lifetime: int
) -> None:
    app = world.app(**settings)
    browser.sign_in("mia", answer)
    browser.close(restores=True)
    token = browser.session_cookie()
    assert token is not None
    world.clock.pass_(lifetime - 1)
    copy = world.browser()  # sends the cookie whatever a real browser would have done with it
    copy.plant("kmsi-8000", token.value)
    before = copy.prefetch("/page")  # extends nothing
    assert (before.status, app.small.calls[-1]) == (200, "GET /page")
    world.clock.pass_(1)
    calls = len(app.small.calls)
    assert copy.fetch("/page").status == 401
    assert copy.prefetch("/page").status == 401
    assert len(app.small.calls) == calls
    world.clock.pass_(1)
    assert copy.fetch("/page").status == 401


def test_activity_extends_a_rolling_session_only_after_a_share_of_its_lifetime(any_world: World) -> None:
    any_world.app(session_lifetime=3_600)
    browser = any_world.browser()
    start = any_world.clock.now
    browser.sign_in("mia", "no")

    def expires_at() -> float:
        return browser.fetch("/.auth/me").json()["session"]["expires_at"] - start

    any_world.clock.pass_(359)
    assert browser.visit("/page").status == 200
    assert expires_at() == 3_600
    any_world.clock.pass_(1)
    assert expires_at() == 3_600  # asking does not extend
    assert browser.visit("/page").status == 200
    assert expires_at() == 3_960
    any_world.clock.pass_(3_599)
    assert browser.visit("/page").status == 200
    assert expires_at() == 3_959 + 3_600
    any_world.clock.pass_(3_600)
    assert browser.fetch("/page").status == 401


def test_activity_extends_no_absolute_session(world: World, browser: Browser) -> None:
    world.app(session_expiry="absolute", session_lifetime=3_600)
    browser.sign_in("mia", "no")
    for _ in range(9):
        world.clock.pass_(360)
        assert browser.visit("/page").cookies == []
    world.clock.pass_(360)
    answer = browser.fetch("/page")
    assert (answer.status, answer.json()["reason"]) == (401, "absolute")


def test_set_cookie_comes_only_when_something_changed(any_world: World) -> None:
    any_world.app()
    kept, gone = any_world.browser(), any_world.browser()
    kept.sign_in("mia", "yes")
    gone.sign_in("mia", "no")
    for _ in range(5):
        assert kept.visit("/page").cookies == []
        assert gone.visit("/set?x=1").cookies == []
        any_world.clock.pass_(11 * MINUTE)
    any_world.clock.pass_(HOUR)
    renewed = kept.visit("/page")
    assert len(renewed.cookies) == 1
    assert f"Max-Age={30 * DAY};" in renewed.cookies[0]
    assert kept.visit("/page").cookies == []
    any_world.clock.pass_(2 * HOUR)
    assert gone.visit("/page").cookies == []  # renewed on the server; the browser has nothing to learn
    assert gone.fetch("/.auth/me").json()["session"]["expires_in"] == DAY


def test_a_renewed_persistent_cookie_says_what_is_left_of_the_greatest_age(world: World, browser: Browser) -> None:
    world.app(keep_me_signed_in_days=30, session_max_age=31)
    browser.sign_in("mia", "yes")
    world.clock.pass_(10 * DAY)
    (cookie,) = browser.visit("/page").cookies
    assert f"Max-Age={21 * DAY};" in cookie
    world.clock.pass_(21 * DAY - 1)
    assert browser.who() == "Mia Member"
    world.clock.pass_(1)
    assert browser.session_cookie().fits(HOME, world.clock.now) is False  # type: ignore[union-attr]


@pytest.mark.parametrize("purpose", ["prefetch", "prefetch;prerender"])
def test_a_prefetch_starts_no_sign_in_and_extends_no_session(world: World, browser: Browser, purpose: str) -> None:
    world.app(session_lifetime=3_600)
    assert browser.prefetch("/page", purpose).status == 401
    assert browser.prefetch("/.auth/login", purpose).status == 403
    assert browser.names() == []
    browser.sign_in("mia", "no")
    end = browser.fetch("/.auth/me").json()["session"]["expires_at"]
    world.clock.pass_(HOUR // 2)
    answer = browser.prefetch("/page", purpose)
    assert (answer.status, answer.cookies) == (200, [])
    assert browser.fetch("/.auth/me").json()["session"]["expires_at"] == end
    assert browser.prefetch("/.auth/logout", purpose).status == 403
    assert browser.who() == "Mia Member"


def test_a_tightened_setting_ends_the_sessions_that_no_longer_fit(kept_world: World) -> None:
    kept_world.app(session_lifetime=7_200).parts.services.close()
    browser = kept_world.browser()
    browser.sign_in("mia", "no")
    kept_world.clock.pass_(1_800)
    assert browser.who() == "Mia Member"
    kept_world.app(session_lifetime=1_800)
    assert browser.who() is None


def test_keeping_switched_off_makes_a_kept_session_a_short_one(kept_world: World) -> None:
    kept_world.app()
    browser = kept_world.browser()
    browser.sign_in("mia", "yes")
    kept_world.clock.pass_(HOUR)
    kept_world.app(keep_me_signed_in_days=0)
    (cookie,) = browser.visit("/page").cookies
    assert "Max-Age" not in cookie
    assert browser.visit("/page").cookies == []
    browser.close()
    assert browser.who() is None


def test_me_says_what_is_left_and_no_more(any_world: World) -> None:
    any_world.app(user_claim="preferred_username")
    browser = any_world.browser()
    assert browser.fetch("/.auth/me").status == 401
    browser.sign_in("mia", "yes")
    any_world.clock.pass_(5 * HOUR)
    answer = browser.fetch("/.auth/me")
    assert (answer.header("cache-control"), answer.header("vary"), answer.cookies) == ("no-store", "Cookie", [])
    assert not any(name.startswith("access-control-") for name, _ in answer.headers)
    told = answer.json()
    assert told["user"]["name"] == "Mia Member"
    assert told["user"]["id"] == told["user"]["claims"]["preferred_username"]
    assert told["session"]["expires_in"] == 30 * DAY - 5 * HOUR
    assert told["session"]["persistent"] is True
    assert "token" not in answer.text
