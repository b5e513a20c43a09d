"""The page on which a developer does an administrator's work, and what apps notice of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

import anyio
import httpx
import pytest
from tests.idp.idp_support import (
    BLOG,
    EVERYTHING,
    ISSUER,
    SHOP,
    Browser,
    Clock,
    Page,
    Party,
    answer_of,
    verified,
)

from kmsi_middleware.idp import EmbeddedIdP, IdPConfig

USERS = f"{ISSUER}/users"
ENDINGS = [{"event": "disable"}, {"event": "change_password", "password": "new"}, {"event": "revoke"}]


def do(browser: Browser, event: str, user: str = "mia", **more: str) -> httpx.Response:
    data = {"user": user, "event": event, **more}
    return browser.post(USERS, data=data, headers={"Origin": ISSUER})


def error_of(response: httpx.Response) -> str:
    assert response.status_code == 400, response.text
    return str(response.json()["error"])


def section(browser: Browser, user: str = "mia") -> str:
    """What the page says of one person."""
    (found,) = [part for part in browser.get(USERS).text.split("<section")[1:] if f">{user}</bdi>" in part]
    return found


# What ends everything ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: str(ending["event"]))
def test_tokens_codes_and_sessions_end_in_every_browser(
    shop: Party, blog: Party, browser: Browser, idp: EmbeddedIdP, ending: dict[str, str]
) -> None:
    tokens, others = shop.sign_in(scope=EVERYTHING), blog.sign_in(scope=EVERYTHING)
    code = answer_of(shop.authorize())["code"]
    with Browser(idp) as admin:
        assert do(admin, **ending).headers["location"] == f"/users?done={ending['event']}&user=mia#user-1"
    assert error_of(shop.refresh(tokens["refresh_token"])) == "invalid_grant"
    assert error_of(blog.refresh(others["refresh_token"])) == "invalid_grant"
    assert error_of(shop.redeem(code)) == "invalid_grant"
    assert shop.userinfo(tokens["access_token"]).status_code == 401
    assert answer_of(shop.authorize(prompt="none"))["error"] == "login_required"


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: str(ending["event"]))
def test_nobody_else_notices(
    shop: Party, browser: Browser, idp: EmbeddedIdP, received: list[httpx.Request], ending: dict[str, str]
) -> None:
    """Not even the person's apps."""
    with Browser(idp) as other:
        gus = Party(BLOG, other)
        tokens = gus.sign_in("gus", scope=EVERYTHING)
        Party(BLOG, browser).sign_in("mia")
        do_to_the_end(browser, **ending)
        assert gus.refresh(tokens["refresh_token"]).status_code == 200
        assert "code" in answer_of(gus.authorize(prompt="none"))
    assert received == []


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: str(ending["event"]))
def test_a_device_no_longer_answers_for_its_owner(shop: Party, browser: Browser, ending: dict[str, str]) -> None:
    laptop = "d0e1c2b3-0001-4a5b-8c9d-1e2f3a4b5c6d"
    for event in ("use", "device_sign_in"):
        browser.post(f"{ISSUER}/devices", data={"device": laptop, "event": event})
    assert "code" in answer_of(shop.authorize(prompt="none"))
    do(browser, **ending)
    assert answer_of(shop.authorize(prompt="none"))["error"] == "login_required"


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: str(ending["event"]))
def test_a_sign_in_that_is_half_way_through_goes_no_further(
    shop: Party, browser: Browser, ending: dict[str, str]
) -> None:
    """The password was right when it was asked for; the second factor comes too late."""
    page = browser.submit(shop.authorize(acr_values="c1"), username="mia", password="mia-password")
    do(browser, **ending)
    late = browser.submit(page, code="100001")
    assert (late.status_code, "page_expired" in late.text) == (400, True)


# Disabled ---------------------------------------------------------------------------------------------------------


def test_whoever_is_disabled_cannot_sign_in_until_enabled(shop: Party, browser: Browser) -> None:
    do(browser, "disable")
    page = shop.authorize()
    for answers in ({"pick": "mia"}, {"username": "mia", "password": "mia-password"}):
        refused = browser.submit(page, **answers)
        assert (refused.status_code, "Mia Member is disabled, and can’t sign in." in refused.text) == (400, True)
    wrong = browser.submit(page, username="mia", password="wrong")
    assert "is disabled" not in wrong.text
    do(browser, "enable")
    assert answer_of(browser.submit(page, pick="mia"))["code"]


def test_enabling_brings_nothing_back(shop: Party, browser: Browser) -> None:
    tokens = shop.sign_in(scope=EVERYTHING)
    do(browser, "disable")
    do(browser, "enable")
    assert error_of(shop.refresh(tokens["refresh_token"])) == "invalid_grant"
    assert answer_of(shop.authorize(prompt="none"))["error"] == "login_required"


def test_who_signs_in_without_a_password_is_disabled_too(shop: Party, browser: Browser) -> None:
    assert answer_of(shop.authorize(login_hint="iwa", prompt="none"))["code"]
    do(browser, "disable", "iwa")
    assert answer_of(shop.authorize(login_hint="iwa", prompt="none"))["error"] == "login_required"
    assert "is disabled" in browser.submit(shop.authorize(), pick="iwa").text


def test_disabled_in_the_file_is_disabled(tmp_path: Path, config: IdPConfig, clock: Clock) -> None:
    users = tuple(replace(user, disabled=user.username == "mia") for user in config.users)
    idp = EmbeddedIdP(replace(config, users=users), folder=tmp_path, issuer=ISSUER, clock=clock)
    with Browser(idp) as browser:
        party = Party(SHOP, browser)
        do(browser, "change_password", password="new")
        assert "is disabled" in browser.submit(party.authorize(), pick="mia").text
        do(browser, "enable")
        do(browser, "change_password", password="mia-password")
        assert party.sign_in()["claims"]["name"] == "Mia Member"
    idp.close()


def test_what_was_begun_ends_when_the_file_disables(
    shop: Party, browser: Browser, tmp_path: Path, config: IdPConfig, clock: Clock
) -> None:
    """A session, a sign-in half way through, and a device that answers for its owner."""
    shop.sign_in()
    page = browser.submit(shop.authorize(acr_values="c1", prompt="login"), username="mia", password="mia-password")
    laptop = "d0e1c2b3-0001-4a5b-8c9d-1e2f3a4b5c6d"
    users = tuple(replace(user, disabled=user.username == "mia") for user in config.users)
    idp = EmbeddedIdP(replace(config, users=users), folder=tmp_path, issuer=ISSUER, clock=clock)
    with Browser(idp) as later:
        later.cookies.update(browser.cookies)
        party = Party(SHOP, later)
        assert answer_of(party.authorize(prompt="none"))["error"] == "login_required"
        assert "page_expired" in later.submit(page, code="100001").text
        for event in ("use", "device_sign_in"):
            later.post(f"{ISSUER}/devices", data={"device": laptop, "event": event})
        assert answer_of(party.authorize(prompt="none"))["error"] == "login_required"
    idp.close()


# Passwords --------------------------------------------------------------------------------------------------------


def test_the_new_password_takes_the_old_one_s_place_and_outlives_a_restart(
    shop: Party, browser: Browser, tmp_path: Path, clock: Clock, config: IdPConfig
) -> None:
    do(browser, "change_password", password="correct horse ü")
    idp = EmbeddedIdP(config, folder=tmp_path, issuer=ISSUER, clock=clock)
    with Browser(idp) as later:
        party = Party(SHOP, later)
        page = party.authorize()
        assert "correct horse ü" in page.text
        assert later.submit(page, username="mia", password="mia-password").status_code == 400
        assert answer_of(later.submit(page, username="mia", password="correct horse ü"))["code"]
    idp.close()


def test_a_file_without_a_password_wins_over_one_that_was_changed(
    browser: Browser, tmp_path: Path, clock: Clock, config: IdPConfig
) -> None:
    do(browser, "change_password", password="new")
    users = tuple(replace(user, password=None) for user in config.users)
    idp = EmbeddedIdP(replace(config, users=users), folder=tmp_path, issuer=ISSUER, clock=clock)
    with Browser(idp) as later:
        assert answer_of(Party(SHOP, later).authorize(login_hint="mia", prompt="none"))["code"]
    idp.close()


# Out everywhere ---------------------------------------------------------------------------------------------------


def do_to_the_end(browser: Browser, event: str, user: str = "mia", **more: str) -> None:
    """Waits for what the provider does after its answer too; the browser would not."""

    async def post() -> None:
        async with httpx.AsyncClient(transport=browser.idp.async_transport()) as client:
            await client.post(USERS, data={"user": user, "event": event, **more}, headers={"Origin": ISSUER})

    anyio.run(post)


def test_signing_out_everywhere_ends_every_browser_s_session_and_leaves_refresh_tokens(
    shop: Party, browser: Browser, idp: EmbeddedIdP
) -> None:
    tokens = shop.sign_in(scope=EVERYTHING)
    with Browser(idp) as other:
        elsewhere = Party(SHOP, other)
        elsewhere.sign_in()
        do(browser, "sign_out")
        for party in (shop, elsewhere):
            assert answer_of(party.authorize(prompt="none"))["error"] == "login_required"
    assert shop.refresh(tokens["refresh_token"]).status_code == 200


def test_every_app_is_told_once_for_all_its_sessions(
    blog: Party, shop: Party, browser: Browser, idp: EmbeddedIdP, received: list[httpx.Request], clock: Clock
) -> None:
    """Back-Channel Logout, 2.4: ``sub`` without ``sid``. BC-16 is what it is for."""
    sub = blog.sign_in()["claims"]["sub"]
    with Browser(idp) as other:
        Party(BLOG, other).sign_in()
        shop.sign_in()
        do_to_the_end(browser, "sign_out")
    (request,) = received
    assert str(request.url) == BLOG.backchannel_logout_uri
    token = dict(parse_qsl(request.content.decode()))["logout_token"]
    claims = verified(token, browser.get(f"{ISSUER}/jwks").json())
    assert claims.pop("jti")
    assert claims == {
        "iss": ISSUER,
        "aud": "blog",
        "iat": int(clock.now),
        "exp": int(clock.now) + 120,
        "sub": sub,
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }


def test_nobody_is_told_twice_or_of_somebody_else(
    blog: Party, browser: Browser, idp: EmbeddedIdP, received: list[httpx.Request]
) -> None:
    blog.sign_in("gus")
    do_to_the_end(browser, "sign_out", "mia")
    assert received == []
    do_to_the_end(browser, "sign_out", "gus")
    do_to_the_end(browser, "sign_out", "gus")
    assert len(received) == 1


# The page ---------------------------------------------------------------------------------------------------------


def test_the_page_shows_where_a_person_is_signed_in_and_who_holds_tokens(
    shop: Party, blog: Party, browser: Browser, idp: EmbeddedIdP
) -> None:
    assert "nowhere" in section(browser)
    shop.sign_in(scope=EVERYTHING)
    blog.sign_in()
    with Browser(idp) as other:
        Party(SHOP, other).sign_in()
    said = section(browser)
    assert "2 browsers, to <bdi>Blog, Shop</bdi>" in said
    assert "<dt>Refresh tokens</dt><dd><bdi>Shop</bdi>" in said
    assert "<bdi>mia-password</bdi>" in said
    assert "nowhere" in section(browser, "gus")
    do(browser, "revoke")
    said = section(browser)
    assert "nowhere" in said
    assert "<dt>Refresh tokens</dt><dd><bdi>none</bdi>" in said
    assert "<dt>Revoked</dt><dd>15 January 2027, 08:00:00 UTC" in said


def test_what_has_expired_is_not_shown(shop: Party, browser: Browser, clock: Clock, idp: EmbeddedIdP) -> None:
    shop.sign_in(scope=EVERYTHING)
    clock.now += 3_600
    with Browser(idp) as other:
        Party(BLOG, other).sign_in()
    clock.now += 82_800
    assert "1 browser, to <bdi>Blog</bdi>" in section(browser)
    clock.now += 3_600
    assert "nowhere" in section(browser)
    assert "<bdi>Shop</bdi>" in section(browser)
    clock.now += 13 * 86_400
    assert "<bdi>Shop</bdi>" not in section(browser)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ("disable", "Disabled. "),
        ("enable", "Enabled."),
        ("revoke", "Sessions and tokens have ended."),
        ("sign_out", "Signed out in every browser."),
        ("change_password", "The password is changed."),
    ],
)
def test_the_page_says_what_was_done_and_to_whom(browser: Browser, event: str, said: str) -> None:
    more = {"password": "new"} if event == "change_password" else {}
    text = browser.get(f"{ISSUER}{do(browser, event, **more).headers['location']}").text
    (mia,) = [part for part in text.split("<section")[1:] if 'role="status"' in part]
    assert ">mia</bdi>" in mia
    assert f'role="status">{said}' in mia
    assert 'role="status"' not in browser.get(USERS).text


@pytest.mark.parametrize("query", ["done=explode&user=mia", "done=disable&user=nobody", "done=disable", "user=mia"])
def test_the_page_says_nothing_else_whatever_its_address_says(browser: Browser, query: str) -> None:
    assert browser.get(f"{USERS}?{query}").text == browser.get(USERS).text


def test_the_page_leads_back_to_the_app_whose_sign_in_led_there_also_after_something_was_done(
    shop: Party, browser: Browser
) -> None:
    (there,) = [link for link in Page(shop.authorize().text).links if "/users" in link]
    page = browser.get(f"{ISSUER}{there}")
    assert Page(page.text).links == ["http://shop.localhost:9001/"]
    fields = Page(page.text).fields
    assert fields["client_id"] == "shop"
    done = do(browser, "disable", client_id="shop").headers["location"]
    assert Page(browser.get(f"{ISSUER}{done}").text).links == ["http://shop.localhost:9001/"]


@pytest.mark.parametrize("query", ["", "?client_id=nobody", "?client_id=https://evil.example"])
def test_it_leads_to_no_app_that_is_not_known(browser: Browser, query: str) -> None:
    assert Page(browser.get(f"{USERS}{query}").text).links == []


def test_the_page_offers_what_there_is_to_do(browser: Browser) -> None:
    assert ('value="disable"' in section(browser), 'value="enable"' in section(browser)) == (True, False)
    do(browser, "disable")
    assert ('value="disable"' in section(browser), 'value="enable"' in section(browser)) == (False, True)
    assert "change_password" in section(browser)
    assert "change_password" not in section(browser, "iwa")


def test_the_sign_in_page_leads_there_and_marks_the_disabled(shop: Party, browser: Browser) -> None:
    do(browser, "disable")
    page = shop.authorize()
    assert "/users?client_id=shop" in Page(page.text).links
    assert page.text.count("Disabled</span>") == 1


@pytest.mark.parametrize(
    "data",
    [
        {"user": "nobody", "event": "revoke"},
        {"event": "revoke"},
        {"user": "mia"},
        {"user": "mia", "event": "explode"},
        {"user": "mia", "event": "change_password"},
        {"user": "mia", "event": "change_password", "password": "  "},
        {"user": "iwa", "event": "change_password", "password": "new"},
    ],
)
def test_what_is_not_known_is_refused_and_does_nothing(shop: Party, browser: Browser, data: dict[str, str]) -> None:
    shop.sign_in()
    before = browser.get(USERS).text
    assert browser.post(USERS, data=data).status_code == 400
    assert browser.get(USERS).text == before
    assert "code" in answer_of(shop.authorize(prompt="none"))


def test_another_site_can_do_nothing_to_users(shop: Party, browser: Browser) -> None:
    shop.sign_in()
    refused = browser.post(USERS, data={"user": "mia", "event": "revoke"}, headers={"Origin": "http://evil.localhost"})
    assert (refused.status_code, "foreign_origin" in refused.text) == (403, True)
    assert "code" in answer_of(shop.authorize(prompt="none"))


def test_there_is_no_page_where_passwords_are_hidden(tmp_path: Path, config: IdPConfig, clock: Clock) -> None:
    idp = EmbeddedIdP(replace(config, show_passwords=False), folder=tmp_path, issuer=ISSUER, clock=clock)
    with Browser(idp) as browser:
        assert browser.get(USERS).status_code == 404
        assert do(browser, "revoke").status_code == 404
        assert "/users" not in Party(SHOP, browser).authorize().text
    idp.close()
