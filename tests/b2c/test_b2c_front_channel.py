"""Front-channel logout where the issuer names no session, as in Azure AD B2C: by a cookie that can end it, no more."""

from __future__ import annotations

import pytest
from tests.b2c.b2c_tenant import EDIT, ISSUER, Tenant, flows, signed_in, through
from tests.flows.flow_support import (
    BOB,
    COOKIE,
    DAY,
    FRAME,
    NOW,
    SCRIPT,
    Browser,
    Reply,
    cleared,
    forwarded,
    location,
    set_cookies,
)

from kmsi_middleware.vocabulary.errors import SettingsError
from kmsi_middleware.vocabulary.messages import Outcome
from kmsi_middleware.vocabulary.settings import Settings

SIGN_OUT = f"{COOKIE}.o"
PATH = "/.auth/frontchannel-logout"


@pytest.fixture
def tenant() -> Tenant:
    kept = {"keep_me_signed_in_days": 14}
    return Tenant(flows(sign_up_and_sign_in=kept), front_channel_logout_cookie=True)


def told(browser: Browser, query: str = "", value: str | None = None, **headers: str) -> Outcome:
    """In a frame on another site: only what is SameSite=None comes along."""
    value = browser.jar[SIGN_OUT].value if value is None else value
    said = {**FRAME, **headers, **({"cookie": f"{SIGN_OUT}={value}"} if value else {})}
    outcome = browser.get(f"{PATH}?{query}" if query else PATH, said, cookies=False)
    assert isinstance(outcome, Reply)
    assert outcome.status == 200
    return outcome


def is_in(browser: Browser) -> bool:
    return not isinstance(browser.get("/", SCRIPT), Reply)


@pytest.mark.parametrize("query", ["", "iss=" + ISSUER, "sid=one-that-no-token-had-before", "what=ever"])
def test_it_ends_its_session_whatever_the_issuer_sends(tenant: Tenant, query: str) -> None:
    browser, other = signed_in(tenant), signed_in(tenant, person=BOB)
    outcome = told(browser, query)
    assert cleared(outcome) == [SIGN_OUT]
    assert not is_in(browser)
    assert is_in(other)


def test_without_the_setting_there_is_no_such_cookie_and_none_is_heeded(tenant: Tenant) -> None:
    value = signed_in(tenant).jar[SIGN_OUT].value
    plain = Tenant()
    browser = signed_in(plain)
    assert set(browser.jar) == {COOKIE}
    told(browser, value=value)
    assert is_in(browser)


def test_without_the_cookie_nothing_ends(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    assert set_cookies(told(browser, value="")) == ()
    assert is_in(browser)


def test_it_signs_nobody_in(tenant: Tenant) -> None:
    """Not by its own name, nor as the session's cookie, which it names by the store's key and not by the token."""
    browser = signed_in(tenant)
    value = browser.jar[SIGN_OUT].value
    thief = Browser(tenant)
    for name in (SIGN_OUT, COOKIE):
        outcome = thief.get("/", {**SCRIPT, "cookie": f"{name}={value}"}, cookies=False)
        assert isinstance(outcome, Reply)
        assert outcome.status == 401
    outcome = thief.get("/.auth/me", {**SCRIPT, "cookie": f"{SIGN_OUT}={value}"}, cookies=False)
    assert isinstance(outcome, Reply)
    assert outcome.status == 401
    assert browser.jar[COOKIE].value not in value


@pytest.mark.parametrize("path", ["/", "/.auth/logout", "/.auth/logged-out", "/.auth/login"])
def test_it_is_read_nowhere_else(tenant: Tenant, path: str) -> None:
    browser = signed_in(tenant)
    browser.get(path, {**FRAME, "cookie": f"{SIGN_OUT}={browser.jar[SIGN_OUT].value}"}, cookies=False)
    assert is_in(browser)


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {"sec-fetch-dest": "image"}),
        ("", {"sec-fetch-dest": "document"}),
        ("", {"referer": "https://evil.example/"}),
        ("iss=https%3A%2F%2Fevil.example", {}),
    ],
)
def test_only_a_frame_that_may_be_the_issuers_ends_it(tenant: Tenant, query: str, headers: dict[str, str]) -> None:
    browser = signed_in(tenant)
    told(browser, query, **headers)
    assert is_in(browser)


def test_a_value_that_was_altered_or_is_of_another_purpose_ends_nothing(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    value = browser.jar[SIGN_OUT].value
    for wrong in (value[:-2] + "AA", value[:20], "x", tenant.app.seals.seal("state", {"key": "AAAA"}, tenant.now)):
        told(browser, value=wrong)
    assert is_in(browser)


def test_where_the_session_has_a_sid_that_decides(tenant: Tenant) -> None:
    browser = Browser(tenant)
    browser.reply_to(_question(browser), "no")
    told(browser, "sid=a-sid-of-another-session-than-this")
    assert is_in(browser)
    told(browser, "sid=a-sid-that-the-token-has", value="")
    assert not is_in(browser)


def _question(browser: Browser) -> str:
    """Where the person is asked to stay signed in."""
    tenant = browser.world
    assert isinstance(tenant, Tenant)
    return location(browser.get(tenant.answered(location(browser.get("/")), sid="a-sid-that-the-token-has")))


def test_it_lasts_as_long_as_its_session_and_goes_with_it(tenant: Tenant) -> None:
    for answer, until in (("yes", NOW + 14 * DAY), ("no", None)):
        browser = signed_in(tenant, answer)
        assert browser.jar[SIGN_OUT].until == browser.jar[COOKIE].until == until
        assert set(cleared(browser.post("/.auth/logout"))) >= {COOKIE, SIGN_OUT}
        assert SIGN_OUT not in browser.jar


def test_a_new_session_has_a_new_one(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    old = browser.jar[SIGN_OUT].value
    through(browser, EDIT)
    assert browser.jar[SIGN_OUT].value != old
    told(browser, value=old)
    assert is_in(browser)
    told(browser)
    assert not is_in(browser)


def test_it_is_renewed_with_a_rolling_session(tenant: Tenant) -> None:
    browser = signed_in(tenant)
    tenant.now += 10 * DAY
    assert forwarded(browser.get("/")) is not None
    assert browser.jar[SIGN_OUT].until == tenant.now + 14 * DAY
    told(browser)
    assert not is_in(browser)


def test_a_sign_in_that_waits_for_an_answer_has_none_yet(tenant: Tenant) -> None:
    browser = Browser(tenant)
    _question(browser)
    assert SIGN_OUT not in browser.jar


def test_on_http_the_setting_stops_the_start_up() -> None:
    given = {"client_id": "a", "secret_keys": ["k" * 32], "user_flows": flows(), "front_channel_logout_cookie": True}
    with pytest.raises(SettingsError, match="front_channel_logout_cookie = True: browsers take such a cookie on https"):
        Settings.resolve({**given, "base_url": "http://localhost:8000"})
    Settings.resolve({**given, "base_url": "https://app.example.com"})
    Settings.resolve({"issuer": "embedded", "front_channel_logout_cookie": True})
