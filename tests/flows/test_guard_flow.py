"""Who is sent to the identity provider, and what everybody else is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from tests.flows.flow_support import (
    ALICE,
    COOKIE,
    DAY,
    HOUR,
    ISSUER,
    NAVIGATION,
    ORIGIN,
    PREFETCH,
    SCRIPT,
    Browser,
    World,
    code_of,
    forwarded,
    headers_of,
    location,
    page_of,
    problem_of,
    query_of,
    set_cookies,
    ways_of,
)

from kmsi_middleware.flows import guard
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.errors import StoreUnavailable
from kmsi_middleware.vocabulary.messages import Forward, Reply

OLD_BROWSER = {"accept": "text/html"}


@pytest.mark.parametrize("headers", [NAVIGATION, OLD_BROWSER, {**NAVIGATION, "sec-fetch-site": "cross-site"}])
def test_a_top_level_navigation_by_get_is_sent_to_the_provider(browser: Browser, headers: dict[str, str]) -> None:
    outcome = browser.get("/orders?page=2", headers)
    assert location(outcome).startswith(f"{ISSUER}/authorize?")


def test_a_navigation_without_a_session_writes_nothing_on_the_server(world: World, browser: Browser) -> None:
    browser.get("/orders")
    assert [type(effect) for effect in world.asked] == [ask.GetProvider]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", SCRIPT),
        ("GET", {**SCRIPT, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}),
        ("GET", {**SCRIPT, "accept": "text/html", "x-requested-with": "XMLHttpRequest"}),
        ("GET", {"accept": "text/html", "x-requested-with": "XMLHttpRequest"}),
        ("GET", {"accept": "application/json"}),
        ("GET", {}),
        ("HEAD", NAVIGATION),
        ("HEAD", OLD_BROWSER),
        ("POST", SCRIPT),
        ("DELETE", {}),
        ("OPTIONS", {"accept": "*/*"}),
        ("GET", PREFETCH),
        ("GET", {**NAVIGATION, "sec-purpose": "prefetch;prerender"}),
        ("GET", {**OLD_BROWSER, "purpose": "prefetch"}),
    ],
)
def test_anything_else_gets_401_as_problem_json(
    world: World, browser: Browser, method: str, headers: dict[str, str]
) -> None:
    outcome = browser.send(browser.request(method, "/orders", headers))
    document = problem_of(outcome, 401)
    assert document["code"] == document["reason"] == "no_session"
    assert document["login_url"] == "/.auth/login?post_login_redirect_uri=%2F"
    assert headers_of(outcome)["www-authenticate"].startswith("Cookie ")
    assert set_cookies(outcome) == ()
    assert world.asked == []


def test_a_script_is_told_to_sign_in_and_return_to_the_page_that_it_runs_on(browser: Browser) -> None:
    outcome = browser.get("/api", {**SCRIPT, "referer": f"{ORIGIN}/orders?page=2"})
    target = query_of(problem_of(outcome, 401)["login_url"])["post_login_redirect_uri"]
    assert target == "/orders?page=2"
    outcome = browser.get("/api", {**SCRIPT, "referer": f"{ORIGIN}.evil.example/orders"})
    assert query_of(problem_of(outcome, 401)["login_url"])["post_login_redirect_uri"] == "/"


def test_htmx_is_told_where_to_go_by_its_own_header(browser: Browser) -> None:
    headers = {**SCRIPT, "hx-request": "true", "hx-current-url": f"{ORIGIN}/orders"}
    outcome = browser.get("/part", headers)
    assert headers_of(outcome)["hx-redirect"] == problem_of(outcome, 401)["login_url"]
    assert query_of(headers_of(outcome)["hx-redirect"])["post_login_redirect_uri"] == "/orders"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", NAVIGATION),
        ("POST", OLD_BROWSER),
        ("PUT", OLD_BROWSER),
        ("GET", {**SCRIPT, "accept": "text/html, application/xhtml+xml"}),
        ("GET", {**OLD_BROWSER, "turbo-frame": "cart"}),
        ("GET", {**NAVIGATION, "sec-fetch-dest": "iframe"}),
    ],
)
def test_a_form_post_and_a_fetch_of_html_get_a_page_that_says_the_session_ended(
    browser: Browser, method: str, headers: dict[str, str]
) -> None:
    outcome = browser.send(browser.request(method, "/orders", headers))
    page = page_of(outcome, 401)
    assert page.name == "session_ended.html"
    assert page.context["code"] == "no_session"
    assert page.context["login_url"].startswith("/.auth/login?")
    assert set_cookies(outcome) == ()


def test_a_fetched_page_can_be_signed_in_to_and_returned_to_but_a_posted_form_cannot(browser: Browser) -> None:
    fetched = page_of(browser.get("/orders", {**SCRIPT, "accept": "text/html"}), 401)
    assert query_of(fetched.context["login_url"])["post_login_redirect_uri"] == "/orders"
    posted = page_of(browser.send(browser.request("POST", "/orders", {**NAVIGATION, "referer": f"{ORIGIN}/cart"})), 401)
    assert query_of(posted.context["login_url"])["post_login_redirect_uri"] == "/cart"


@pytest.mark.parametrize(
    ("method", "headers", "is_lost"),
    [
        ("POST", {}, True),
        ("POST", {"sec-fetch-mode": "", "sec-fetch-dest": ""}, True),
        ("POST", {"sec-fetch-dest": "iframe"}, False),
        ("POST", {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}, False),
        ("POST", {"sec-fetch-mode": "", "sec-fetch-dest": "", "turbo-frame": "main"}, False),
        ("GET", {"sec-fetch-dest": "iframe"}, False),
    ],
)
def test_who_has_sent_a_form_is_told_that_it_was_not_saved(
    browser: Browser, method: str, headers: dict[str, str], is_lost: bool
) -> None:
    """And only where a reload of the page would send it again."""
    page = page_of(browser.send(browser.request(method, "/orders", {**NAVIGATION, **headers})), 401)
    assert page.context["is_lost"] is is_lost


PREFLIGHT = {"origin": "https://other.example", "access-control-request-method": "PUT", "sec-fetch-mode": "cors"}


def test_a_cors_preflight_passes_to_the_app_anonymously(world: World, browser: Browser) -> None:
    browser.sign_in()
    outcome = browser.send(browser.request("OPTIONS", "/orders", PREFLIGHT))
    assert forwarded(outcome) is None
    assert set_cookies(outcome) == ()
    assert world.asked == []


@pytest.mark.parametrize("missing", ["origin", "access-control-request-method"])
def test_an_options_request_that_is_no_preflight_does_not_pass(browser: Browser, missing: str) -> None:
    headers = {name: value for name, value in PREFLIGHT.items() if name != missing}
    problem_of(browser.send(browser.request("OPTIONS", "/orders", headers)), 401)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_only_options_can_be_a_preflight(browser: Browser, method: str) -> None:
    problem_of(browser.send(browser.request(method, "/orders", PREFLIGHT)), 401)


# Why there is no session -----------------------------------------------------------------------------------


def test_a_session_that_ran_out_is_told_from_one_that_never_was(world: World, browser: Browser) -> None:
    browser.sign_in()
    world.now += DAY
    document = problem_of(browser.get("/orders", SCRIPT), 401)
    assert (document["code"], document["reason"]) == ("session_expired", "idle")
    page = page_of(browser.send(browser.request("POST", "/orders", NAVIGATION)), 401)
    assert page.context["code"] == "session_expired"


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("idle", "session_expired"),
        ("absolute", "session_expired"),
        ("signed_out", "signed_out"),
        ("front_channel", "signed_out"),
        ("back_channel", "signed_out"),
        ("replaced", "session_replaced"),
        ("revoked", "session_revoked"),
        ("sign_in_frequency", "sign_in_frequency"),
        ("policy", "policy"),
    ],
)
def test_an_ended_session_is_told_why(world: World, browser: Browser, reason: ask.EndReason, code: str) -> None:
    browser.sign_in()
    session = browser.session
    assert session is not None
    world.store.end(session.key, reason, world.now)
    document = problem_of(browser.get("/orders", SCRIPT), 401)
    assert (document["code"], document["reason"]) == (code, reason)
    world.now += DAY
    assert problem_of(browser.get("/orders", SCRIPT), 401)["code"] == "no_session"


def test_a_cookie_that_never_was_a_session_is_no_session(browser: Browser) -> None:
    request = browser.request("GET", "/orders", {**SCRIPT, "cookie": f"{COOKIE}={'x' * 43}"})
    assert problem_of(browser.send(request), 401)["code"] == "no_session"


@pytest.mark.parametrize("header", ["authorization", "x-session", "cookie2", "x-ms-token-aad-id-token"])
def test_a_token_in_another_header_is_no_session(world: World, browser: Browser, header: str) -> None:
    """Nor is one of the issuer's."""
    browser.sign_in()
    assert browser.session is not None
    id_token = world.idp._signed(browser.session.claims)
    for text in (browser.token, f"{COOKIE}={browser.token}", "Bearer an access token", f"Bearer {id_token}"):
        request = browser.request("GET", "/orders", {**SCRIPT, header: text}, cookies=False)
        assert problem_of(browser.send(request), 401)["code"] == "no_session"
        assert world.asked == []


@pytest.mark.parametrize("value", ["", "short", "x" * 42, "x" * 44, "x" * 42 + "é", "x" * 42 + "!"])
def test_what_cannot_be_a_token_is_not_looked_up(world: World, browser: Browser, value: str) -> None:
    request = browser.request("GET", "/orders", {**SCRIPT, "cookie": f"{COOKIE}={value}"})
    problem_of(browser.send(request), 401)
    assert world.asked == []


def test_a_stale_cookie_beside_a_good_one_does_no_harm(world: World, browser: Browser) -> None:
    """Before or after it, and however many there are: only four are looked at."""
    browser.sign_in()
    good = f"{COOKIE}={browser.token}"
    stale = [f"{COOKIE}={letter * 43}" for letter in "abcdef"]
    for line in (f"{stale[0]}; {good}", f"{good}; {stale[0]}", "; ".join([good, *stale[:3]])):
        assert forwarded(browser.send(browser.request("GET", "/", {**SCRIPT, "cookie": line}, cookies=False)))
    many = "; ".join(stale)
    problem_of(browser.send(browser.request("GET", "/", {**SCRIPT, "cookie": many}, cookies=False)), 401)
    assert len(world.asked) == 4


# With a session --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("headers", [NAVIGATION, SCRIPT, PREFETCH])
def test_who_has_a_session_passes_whatever_the_request(
    world: World, browser: Browser, method: str, headers: dict[str, str]
) -> None:
    browser.sign_in()
    outcome = browser.send(browser.request(method, "/orders", headers))
    session = forwarded(outcome)
    assert session is not None
    assert session.subject == "alice"
    assert isinstance(outcome, Forward)
    assert outcome.set_cookies == ()
    assert [type(effect) for effect in world.asked] == [ask.LoadSession]


def test_a_prefetch_never_extends_a_session(world: World, browser: Browser) -> None:
    browser.sign_in()
    before = browser.session
    world.now += 20 * HOUR
    outcome = browser.get("/orders", PREFETCH)
    assert forwarded(outcome)
    assert set_cookies(outcome) == ()
    assert browser.session == before
    browser.get("/orders")
    assert browser.session != before


def test_a_prefetch_that_writes_app_data_leaves_the_session_no_younger(world: World, browser: Browser) -> None:
    """What a prefetch is shown can be saved by the app, and then it must be what the store holds."""
    browser.sign_in()
    world.now += 20 * HOUR
    assert forwarded(browser.get("/orders", PREFETCH)) == browser.session


# Stores that fail ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [NAVIGATION, SCRIPT, PREFETCH, OLD_BROWSER])
@pytest.mark.parametrize("path", ["/orders", "/about", "/.auth/me", "/.auth/login"])
def test_a_failing_store_is_503_never_a_redirect_and_never_a_pass(headers: dict[str, str], path: str) -> None:
    world = World(public_paths=("/about",))
    browser = Browser(world)
    browser.sign_in()
    jar = dict(browser.jar)
    world.broken[ask.LoadSession] = StoreUnavailable("the disk is gone")
    if path.startswith("/.auth") and ("sec-purpose" in headers or (headers is SCRIPT and path != "/.auth/me")):
        return  # refused before anything is asked
    outcome = browser.get(path, headers)
    assert isinstance(outcome, Reply)
    assert outcome.status == 503
    assert headers_of(outcome)["retry-after"] == "5"
    assert "location" not in headers_of(outcome)
    assert code_of(outcome) == "store_unavailable"
    assert "disk" not in str(outcome)
    assert set_cookies(outcome) == ()
    world.broken.clear()
    assert browser.jar == jar
    assert forwarded(browser.get("/orders"))


@pytest.mark.parametrize(
    ("method", "path", "words", "url"),
    [
        ("GET", "/orders?page=2", "Try again", "/orders?page=2"),
        ("GET", "/.auth/sessions", "Try again", "/.auth/sessions"),
        ("POST", "/orders", "Go to Shop", "/"),
        ("POST", "/.auth/logout", "Try again", "/.auth/logout"),
        ("GET", "//evil.example/x", "Go to Shop", "/"),
    ],
)
def test_while_the_store_fails_a_page_leads_to_what_was_asked_for(
    world: World, browser: Browser, method: str, path: str, words: str, url: str
) -> None:
    """A sign-out too: a click on a page of ours signs out. What was posted elsewhere no link can send again."""
    browser.sign_in()
    world.broken[ask.LoadSession] = world.broken[ask.EndSession] = StoreUnavailable("the disk is gone")
    outcome = browser.post(path) if method == "POST" else browser.get(path)
    assert ways_of(page_of(outcome, 503)) == {words: url}


def test_a_store_that_fails_at_the_renewal_signs_nobody_out(world: World, browser: Browser) -> None:
    browser.sign_in()
    world.now += 3 * HOUR
    world.broken[ask.SaveSession] = StoreUnavailable("read only")
    page = page_of(browser.get("/orders"), 503)
    assert "not been signed out" in page.context["message"]
    world.broken.clear()
    assert forwarded(browser.get("/orders"))


def test_who_has_no_cookie_is_not_stopped_by_a_failing_store(world: World, browser: Browser) -> None:
    world.broken[ask.LoadSession] = StoreUnavailable("the disk is gone")
    assert browser.begin("/orders")


# WebSockets ------------------------------------------------------------------------------------------------

HANDSHAKE = {"origin": ORIGIN, "sec-fetch-mode": "websocket", "sec-fetch-dest": "empty"}


def test_a_websocket_with_a_session_sees_it(browser: Browser) -> None:
    browser.sign_in()
    session = forwarded(browser.get("/feed", HANDSHAKE, websocket=True))
    assert session is not None
    assert session.subject == "alice"


def test_a_websocket_without_a_session_is_refused_with_401(browser: Browser) -> None:
    assert problem_of(browser.get("/feed", HANDSHAKE, websocket=True), 401)["code"] == "no_session"
    outcome = browser.get("/feed", {"origin": ORIGIN, "accept": "text/html"}, websocket=True)
    assert isinstance(outcome, Reply)
    assert outcome.status == 401


@pytest.mark.parametrize(
    "origin",
    [None, "null", "https://evil.example", f"{ORIGIN}.evil.example", "http://app.example.com", f"{ORIGIN}:444"],
)
def test_a_websocket_of_another_origin_is_refused_even_with_a_session(browser: Browser, origin: str | None) -> None:
    browser.sign_in()
    headers = {"sec-fetch-mode": "websocket"} | ({"origin": origin} if origin else {})
    assert problem_of(browser.get("/feed", headers, websocket=True), 403)["code"] == "websocket_origin"


def test_other_origins_can_be_allowed_to_open_websockets() -> None:
    browser = Browser(World(websocket_origins=("https://Other.example:443",)))
    browser.sign_in()
    assert forwarded(browser.get("/feed", {"origin": "https://other.example"}, websocket=True))


def test_a_websocket_does_not_extend_a_session(world: World, browser: Browser) -> None:
    """Its handshake can't carry the renewed cookie for sure."""
    browser.sign_in(answer="yes")
    before = browser.session
    world.now += 5 * DAY
    outcome = browser.get("/feed", HANDSHAKE, websocket=True)
    assert forwarded(outcome) == before == browser.session
    assert set_cookies(outcome) == ()


# Public paths and protect="none" ---------------------------------------------------------------------------


@pytest.fixture
def partly_public() -> Browser:
    return Browser(World(public_paths=("/about", "/static/*")))


@pytest.mark.parametrize("path", ["/about", "/static/app.css", "/static/deep/down.js"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_public_path_needs_no_session(partly_public: Browser, path: str, method: str) -> None:
    outcome = partly_public.send(partly_public.request(method, path))
    assert forwarded(outcome) is None
    assert isinstance(outcome, Forward)
    assert not outcome.invites


@pytest.mark.parametrize(
    "path", ["/about/", "/About", "/about/us", "/static", "/static/../secret", "/static//x", "/static/%2e%2e/x", "/x"]
)
def test_what_only_looks_public_is_protected(partly_public: Browser, path: str) -> None:
    assert partly_public.begin(path)


def test_a_public_path_shows_the_session_where_there_is_one(partly_public: Browser) -> None:
    partly_public.sign_in()
    outcome = partly_public.get("/about")
    assert forwarded(outcome)
    assert isinstance(outcome, Forward)


def sign_in_first(browser: Browser, target: str = "/", headers: Mapping[str, str] = NAVIGATION) -> Any:
    world = browser.world
    return world.play(guard.sign_in_first(world.app, browser.request("GET", target, headers), world.now))


def turned_away(browser: Browser, target: str, headers: Mapping[str, str] = NAVIGATION) -> Any:
    """What is answered when an app that decides by itself turns a request away."""
    outcome = browser.get(target, headers)
    assert isinstance(outcome, Forward)
    assert (outcome.session, outcome.invites) == (None, True)
    reply = sign_in_first(browser, target, headers)
    browser.take(reply)
    return reply


def test_with_protect_none_the_app_decides_and_its_refusal_of_a_navigation_becomes_a_sign_in() -> None:
    browser = Browser(World(protect="none"))
    asking = location(turned_away(browser, "/orders?page=2"))
    back = browser.reply_to(location(browser.come_back(asking, ALICE)), "no")
    assert location(back) == "/orders?page=2"
    assert forwarded(browser.get("/orders?page=2"))


@pytest.mark.parametrize("headers", [SCRIPT, PREFETCH])
def test_with_protect_none_a_script_is_told(headers: dict[str, str]) -> None:
    browser = Browser(World(protect="none"))
    problem = problem_of(turned_away(browser, "/orders", {**headers, "referer": f"{ORIGIN}/cart"}), 401)
    assert (problem["code"], problem["reason"]) == ("no_session", "no_session")
    assert problem["login_url"] == "/.auth/login?post_login_redirect_uri=%2Fcart"


BEARER = {"authorization": "Bearer x"}


@pytest.mark.parametrize(
    ("method", "headers"),
    [("POST", NAVIGATION), ("GET", {**SCRIPT, **BEARER}), ("GET", {**NAVIGATION, **BEARER})],
)
def test_with_protect_none_a_refusal_that_may_be_about_something_else_stays_the_apps(
    method: str, headers: dict[str, str]
) -> None:
    browser = Browser(World(protect="none"))
    outcome = browser.send(browser.request(method, "/orders", headers))
    assert isinstance(outcome, Forward)
    assert not outcome.invites


def test_who_has_a_session_is_not_sent_to_sign_in_again_and_again(browser: Browser) -> None:
    browser.sign_in()
    assert sign_in_first(browser) is None


def test_a_store_that_fails_meanwhile_is_told_of(browser: Browser) -> None:
    browser.sign_in()
    browser.world.broken[ask.LoadSession] = StoreUnavailable("the disk is gone")
    assert problem_of(sign_in_first(browser, headers=SCRIPT), 503)["code"] == "store_unavailable"


# Where one returns to --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["//evil.example/x", "/\\evil.example", "/" + "x" * 2_000])
def test_a_path_that_no_browser_would_be_sent_back_to_becomes_the_start_page(world: World, target: str) -> None:
    browser = Browser(world)
    assert location(browser.sign_in(target=target)) == "/"


LONG = "/orders?page=" + "2" * 1_100


@pytest.mark.parametrize("target", [LONG, f"/.auth/login?post_login_redirect_uri={quote(LONG)}"])
def test_a_page_that_is_too_long_to_return_to_is_noted_without_what_it_is(world: World, target: str) -> None:
    browser = Browser(world)
    browser.get(target)
    assert world.asked_for(ask.NoteLongTarget) == [ask.NoteLongTarget(len(LONG))]


def test_where_a_fresh_sign_in_falls_due_it_is_noted_too(world: World, browser: Browser) -> None:
    world.configure(revalidate_every=300)
    browser.sign_in()
    world.now += 300
    browser.get(LONG)
    assert world.asked_for(ask.NoteLongTarget) == [ask.NoteLongTarget(len(LONG))]


def test_of_a_page_that_can_be_returned_to_nothing_is_noted(world: World) -> None:
    browser = Browser(world)
    target = "/orders?page=" + "2" * 1_010
    browser.begin(target)
    assert world.asked_for(ask.NoteLongTarget) == []
    browser.get(f"/.auth/login?post_login_redirect_uri={quote(ORIGIN + target)}")
    assert world.asked_for(ask.NoteLongTarget) == []
    assert location(browser.sign_in(target=target)) == target


def test_below_a_root_path_everything_stays_below_it() -> None:
    world = World(base_url=f"{ORIGIN}/shop")
    browser = Browser(world)
    url = browser.begin("/shop/orders?page=2")
    assert query_of(url)["redirect_uri"] == f"{ORIGIN}/shop/.auth/callback"
    asking = location(browser.come_back(url))
    assert asking.startswith("/shop/.auth/kmsi?")
    assert location(browser.reply_to(asking, "no")) == "/shop/orders?page=2"
    assert forwarded(browser.get("/shop/orders"))
    document = problem_of(Browser(world).get("/shop/api", SCRIPT), 401)
    assert document["login_url"] == "/shop/.auth/login?post_login_redirect_uri=%2Fshop%2F"


# A path that is not where base_url says --------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/shop/.auth/callback", "/shop/.auth/idp/authorize", "/a/b/.auth/idp/t/v2.0/authorize"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_sign_in_begins_on_the_misplaced_path_of_one(method: str, path: str) -> None:
    browser = Browser(World(base_url=f"{ORIGIN}/shop"))
    outcome = browser.send(browser.request(method, f"/shop{path}?code=c0de&state=s3al"))
    page = page_of(outcome, 421)
    assert page.context["code"] == "base_url_mismatch"
    assert f"By base_url the app is at {ORIGIN}/shop, but the path below that is {path}:" in page.context["message"]
    assert not re.search("c0de|s3al", str(page))
    assert set_cookies(outcome) == ()


def test_a_script_there_is_told_so_too(world: World) -> None:
    problem = problem_of(Browser(world).get("/portal/.auth/callback", SCRIPT), 421)
    assert problem["code"] == "base_url_mismatch"


def test_the_path_is_shown_as_it_was_sent(world: World) -> None:
    problem = problem_of(Browser(world).get("/call us <now>/.auth/callback", SCRIPT), 421)
    assert "is /call%20us%20%3Cnow%3E/.auth/callback:" in problem["detail"]
    problem = problem_of(Browser(world).get(f"/{'x' * 9_000}/.auth/callback", SCRIPT), 421)
    assert len(problem["detail"]) < 1_500


def test_who_is_signed_in_gets_the_apps_answer_there(browser: Browser) -> None:
    browser.sign_in()
    assert forwarded(browser.get("/portal/.auth/callback"))
