"""``/.auth/me``, and the door that every request comes through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.flows.flow_support import (
    ALICE,
    DAY,
    HOUR,
    ISSUER,
    NAVIGATION,
    NOW,
    ORIGIN,
    PREFETCH,
    SCRIPT,
    Browser,
    World,
    forwarded,
    headers_of,
    page_of,
    problem_of,
    set_cookies,
    ways_of,
)

from kmsi_middleware.flows.dispatch import LONGEST_BODY, RESERVED
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.messages import Reply


def me(browser: Browser) -> dict[str, Any]:
    outcome = browser.get("/.auth/me", SCRIPT)
    assert isinstance(outcome, Reply)
    assert outcome.status == 200
    document: dict[str, Any] = json.loads(outcome.body)
    return document


@pytest.mark.parametrize("headers", [SCRIPT, NAVIGATION, {}])
def test_me_is_401_without_a_session_and_never_a_redirect(
    world: World, browser: Browser, headers: dict[str, str]
) -> None:
    document = problem_of(browser.get("/.auth/me", headers), 401)
    assert document["code"] == "no_session"
    assert document["login_url"].startswith("/.auth/login?")
    browser.sign_in()
    browser.post("/.auth/logout")
    assert world.live() == []


def test_me_says_why_there_is_no_session_any_more(world: World, browser: Browser) -> None:
    browser.sign_in()
    world.now += DAY
    assert problem_of(browser.get("/.auth/me", SCRIPT), 401)["code"] == "session_expired"


def test_me_shows_the_person_and_what_is_left_of_the_session(world: World, browser: Browser) -> None:
    browser.sign_in(answer="yes")
    world.now += 90
    document = me(browser)
    assert document["user"]["id"] == "alice"
    assert document["user"]["name"] == "Alice"
    assert document["user"]["issuer"] == ISSUER
    assert document["user"]["claims"]["preferred_username"] == "alice@example.com"
    assert document["session"] == {
        "persistent": True,
        "signed_in_at": NOW,
        "auth_time": NOW,
        "expires_at": NOW + 30 * DAY,
        "expires_in": 30 * DAY - 90,
        "expiry": "rolling",
    }


def test_me_names_the_user_by_the_claim_that_is_set(world: World, browser: Browser) -> None:
    world.configure(user_claim="preferred_username")
    browser.sign_in()
    assert me(browser)["user"]["id"] == "alice@example.com"


def test_me_has_no_tokens_no_cors_and_is_not_cacheable(world: World, browser: Browser) -> None:
    browser.sign_in()
    outcome = browser.get("/.auth/me", {**SCRIPT, "origin": "https://evil.example"})
    said = headers_of(outcome)
    assert said["cache-control"] == "no-store"
    assert said["vary"] == "Cookie"
    assert said["content-type"] == "application/json"
    assert not [name for name in said if name.startswith("access-control-")]
    assert isinstance(outcome, Reply)
    text = outcome.body.decode()
    assert "access token" not in text
    assert "id_token" not in text
    assert browser.token not in text
    assert browser.session is not None
    assert browser.session.key.hex() not in text


def test_me_never_extends_the_session(world: World, browser: Browser) -> None:
    browser.sign_in(answer="yes")
    before = browser.session
    world.now += 10 * DAY
    outcome = browser.get("/.auth/me", SCRIPT)
    assert set_cookies(outcome) == ()
    assert [type(effect) for effect in world.asked] == [ask.LoadSession]
    assert browser.session == before
    assert me(browser)["session"]["expires_in"] == 20 * DAY


def test_me_says_what_the_settings_in_force_leave_of_the_session(world: World, browser: Browser) -> None:
    browser.sign_in(answer="yes")
    world.configure(keep_me_signed_in_days=0)
    world.now += HOUR
    session = me(browser)["session"]
    assert (session["persistent"], session["expires_in"]) == (False, 23 * HOUR)
    assert forwarded(browser.get("/"))
    session = me(browser)["session"]
    assert (session["persistent"], session["expires_in"]) == (False, 23 * HOUR)


# The door --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RESERVED)
def test_head_on_a_reserved_path_does_nothing(world: World, browser: Browser, path: str) -> None:
    browser.sign_in()
    outcome = browser.send(
        browser.request("HEAD", f"/.auth{path}?sid=sid-1", {**NAVIGATION, "sec-fetch-dest": "iframe"})
    )
    assert isinstance(outcome, Reply)
    assert outcome.status == 204
    assert outcome.body == b""
    assert set_cookies(outcome) == ()
    assert world.asked == []
    assert len(world.live()) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "POST", "GET", "X"])
@pytest.mark.parametrize("path", RESERVED)
def test_a_method_that_a_reserved_path_does_not_take_is_405_with_allow(
    world: World, browser: Browser, path: str, method: str
) -> None:
    if method in RESERVED[path]:
        return
    outcome = browser.send(browser.request(method, f"/.auth{path}"))
    assert problem_of(outcome, 405)["code"] == "method_not_allowed"
    assert headers_of(outcome)["allow"] == ", ".join(RESERVED[path])
    assert world.asked == []


def test_the_reserved_paths_and_their_methods() -> None:
    assert {path: sorted(methods) for path, methods in RESERVED.items()} == {
        "/login": ["GET"],
        "/initiate-login": ["GET", "POST"],
        "/callback": ["GET", "POST"],
        "/kmsi": ["GET", "POST"],
        "/logout": ["GET", "POST"],
        "/logged-out": ["GET"],
        "/frontchannel-logout": ["GET"],
        "/backchannel-logout": ["POST"],
        "/me": ["GET"],
        "/sessions": ["GET", "POST"],
    }


@pytest.mark.parametrize(
    "path", ["/.auth", "/.auth/", "/.auth/nothing", "/.auth/login/", "/.auth/login/x", "/.auth//me"]
)
@pytest.mark.parametrize("signed_in", [False, True])
def test_an_unknown_reserved_path_is_404_and_never_the_apps(
    world: World, browser: Browser, path: str, signed_in: bool
) -> None:
    if signed_in:
        browser.sign_in()
    page = page_of(browser.get(path), 404)
    assert page.context["code"] == "not_found"
    assert ways_of(page) == {"Go to Shop": "/"}
    assert problem_of(browser.get(path, SCRIPT), 404)["code"] == "not_found"


@pytest.mark.parametrize("path", ["/.authentication", "/.auth2/me", "/x/.auth/me", "/.AUTH/me"])
def test_what_only_looks_reserved_is_the_apps(browser: Browser, path: str) -> None:
    browser.sign_in()
    assert forwarded(browser.get(path))


def test_the_reserved_paths_can_live_elsewhere(world: World, browser: Browser) -> None:
    world.configure(prefix="/account/auth")
    at = world.app.prefix
    url = browser.begin("/orders")
    assert "%2Faccount%2Fauth%2Fcallback" in url
    problem_of(browser.get(f"{at}/me", SCRIPT), 401)
    assert browser.begin("/.auth/me")


@pytest.mark.parametrize("path", ["/callback", "/kmsi", "/logout", "/initiate-login"])
@pytest.mark.parametrize(("size", "status"), [(LONGEST_BODY, None), (LONGEST_BODY + 1, 413)])
def test_a_body_that_is_too_large_is_413(
    world: World, browser: Browser, path: str, size: int, status: int | None
) -> None:
    headers = {**NAVIGATION, "sec-fetch-site": "same-origin", "origin": ORIGIN}
    headers["content-type"] = "application/x-www-form-urlencoded"
    outcome = browser.send(browser.request("POST", f"/.auth{path}", headers, body=b"a=" + b"x" * (size - 2)))
    assert isinstance(outcome, Reply)
    if status is None:
        assert outcome.status != 413
    else:
        assert page_of(outcome, 413).context["code"] == "body_too_large"
        assert world.asked == []


@pytest.mark.parametrize("path", [path for path in RESERVED if "GET" in RESERVED[path]])
def test_no_reserved_path_is_fetched_before_it_is_asked_for(world: World, browser: Browser, path: str) -> None:
    """A prefetch of the sign-in would start one, of the callback would use it up, of the sign-out would sign out."""
    browser.sign_in()
    assert problem_of(browser.get(f"/.auth{path}", PREFETCH), 403)["code"] == "prefetch_refused"
    assert world.asked == []


@pytest.mark.parametrize("path", RESERVED)
def test_no_reserved_path_is_a_websocket(world: World, browser: Browser, path: str) -> None:
    browser.sign_in()
    outcome = browser.get(f"/.auth{path}", {"origin": ORIGIN, "sec-fetch-mode": "websocket"}, websocket=True)
    assert problem_of(outcome, 404)["code"] == "not_found"


def test_a_query_that_cannot_be_read_is_refused(browser: Browser) -> None:
    for query in ("post_login_redirect_uri=%ff", "&".join(f"p{number}=1" for number in range(65))):
        assert page_of(browser.get(f"/.auth/login?{query}"), 400).context["code"] == "bad_parameters"


@pytest.mark.parametrize(
    ("link", "detail"),
    [
        ("login?prompt=perhaps", "Prompt can be consent, create, login, none, select_account."),
        ("login?post_login_redirect_uri=//evil.example", "The page to return to must be a path of this site."),
        ("login?user_flow=none", "This app has no such user flow."),
        ("login?prompt=login&prompt=login", "A parameter came twice."),
        ("login?prompt=%ff", "The request's parameters can't be read."),
        ("initiate-login?iss=https%3A%2F%2Fevil.example", "This app does not sign people in at that provider."),
    ],
)
def test_who_follows_a_broken_link_is_told_so_and_who_made_it_what_is_wrong(
    browser: Browser, link: str, detail: str
) -> None:
    page = page_of(browser.get(f"/.auth/{link}"), 400)
    assert page.context["title"] == "This link does not work"
    assert page.context["message"] == "There is a mistake in its address."
    assert page.context["detail"] == detail
    assert ways_of(page) == {"Go to Shop": "/"}


def test_the_way_to_the_app_leads_to_where_it_is_mounted() -> None:
    browser = Browser(World(base_url=f"{ORIGIN}/shop"))
    assert ways_of(page_of(browser.get("/shop/.auth/nothing"), 404)) == {"Go to Shop": "/shop/"}


def test_our_redirects_are_neither_stored_nor_shared(browser: Browser) -> None:
    for outcome in (browser.get("/orders"), browser.sign_in(ALICE), browser.post("/.auth/logout")):
        said = headers_of(outcome)
        assert said["cache-control"] == "no-store"
        assert said["vary"] == "Cookie"
