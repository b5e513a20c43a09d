"""Who is sent to the provider, and what everybody else is told."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from tests.shells.shell_servers import Answer
from tests.shells.shell_support import HOME, HOUR, HTML, Browser, Page, World

from kmsi_middleware import SessionRequired
from kmsi_middleware.rules.seals import key_of

NAVIGATION = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("accept", HTML)]
SCRIPT = [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"), ("accept", "*/*")]
PROBLEM = "application/problem+json"


def kind(answer: Answer) -> str:
    """One word for what came."""
    if answer.status == 303:
        assert "/idp/authorize?" in answer.header("location")
        return "sign-in"
    assert answer.status == 401, answer.status
    assert answer.header("www-authenticate")
    if answer.header("content-type") == PROBLEM:
        assert answer.json()["code"] == "no_session"
        assert answer.json()["status"] == 401
        assert answer.json()["login_url"].startswith("/.auth/login?")
        return "htmx" if answer.header("hx-redirect") == answer.json()["login_url"] else "problem"
    assert Page(answer.text).links[0].startswith("/.auth/login?")
    return "page"


@pytest.mark.parametrize(
    ("method", "headers", "what"),
    [
        ("GET", NAVIGATION, "sign-in"),
        ("GET", [("accept", HTML)], "sign-in"),  # a browser that says nothing about itself
        ("GET", [("sec-fetch-mode", "navigate")], "sign-in"),
        ("POST", NAVIGATION, "page"),
        ("PUT", SCRIPT, "problem"),
        ("GET", SCRIPT, "problem"),
        ("GET", [], "problem"),
        ("GET", [("accept", "application/json")], "problem"),
        ("POST", [("accept", HTML)], "page"),
        ("DELETE", [("accept", "application/json")], "problem"),
        ("GET", [*NAVIGATION[:1], ("sec-fetch-dest", "iframe"), ("accept", HTML)], "page"),
        ("GET", [*NAVIGATION[:1], ("sec-fetch-dest", "object"), ("accept", HTML)], "page"),
        ("GET", [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image"), ("accept", "image/*")], "problem"),
        ("GET", [("accept", HTML), ("x-requested-with", "XMLHttpRequest")], "problem"),
        ("GET", [*NAVIGATION, ("x-requested-with", "org.example.app")], "sign-in"),  # Android's WebView
        ("GET", [*SCRIPT[:2], ("accept", HTML)], "page"),  # Turbo and its kind
        ("GET", [("accept", f"text/vnd.turbo-stream.html, {HTML}")], "page"),
        ("GET", [*SCRIPT, ("hx-request", "true")], "htmx"),
        ("POST", [*SCRIPT, ("hx-request", "true")], "htmx"),
        ("GET", [*NAVIGATION, ("sec-purpose", "prefetch")], "problem"),
        ("HEAD", NAVIGATION, "head"),
        ("OPTIONS", SCRIPT, "problem"),
    ],
)
def test_only_a_navigation_is_sent_to_the_provider(
    world: World, browser: Browser, method: str, headers: list[tuple[str, str]], what: str
) -> None:
    app = world.app()
    answer = browser.request(method, "/page", headers)
    if what == "head":
        assert (answer.status, answer.body) == (401, b"")
    else:
        assert kind(answer) == what
    assert answer.header("vary") == "Cookie"
    assert answer.header("cache-control") == "no-store"
    assert bool(answer.cookies) == (what == "sign-in")
    assert app.small.calls == []


def test_the_401_says_why(any_world: World) -> None:
    any_world.app(session_lifetime=900)
    browser = any_world.browser()
    browser.sign_in("mia", "no")
    token = browser.session_cookie()
    assert token is not None
    browser.sign_out()
    copy = any_world.browser()
    copy.plant("kmsi-8000", token.value)
    said = copy.fetch("/page").json()
    assert (said["code"], said["reason"]) == ("signed_out", "signed_out")
    page = copy.fetch("/page", accept="text/html")
    assert page.status == 401
    assert "signed_out" in page.text
    other = any_world.browser()
    other.sign_in("mia", "no")
    any_world.clock.pass_(900)
    assert other.fetch("/page").json()["code"] == "session_expired"
    any_world.clock.pass_(24 * HOUR)  # and the day after nobody remembers
    assert copy.fetch("/page").json()["code"] == "no_session"


def test_who_was_interrupted_comes_back_to_the_page_where_it_happened(world: World, browser: Browser) -> None:
    world.app()
    htmx = [("hx-request", "true"), ("hx-current-url", f"{HOME}/list?page=2")]
    answer = browser.fetch("/part", headers=htmx)
    assert answer.header("hx-redirect") == "/.auth/login?post_login_redirect_uri=%2Flist%3Fpage%3D2"
    answer = browser.fetch("/part", source=f"{HOME}/list?page=2")
    assert answer.json()["login_url"] == "/.auth/login?post_login_redirect_uri=%2Flist%3Fpage%3D2"
    answer = browser.fetch("/part", source="https://evil.example/x")
    assert answer.json()["login_url"] == "/.auth/login?post_login_redirect_uri=%2F"
    page = browser.post("/save", {"x": "1"}, source=f"{HOME}/form")
    link = Page(page.text).links[0]
    assert browser.submit(browser.click(link, page), pick="gus").url == f"{HOME}/"


def test_a_preflight_passes_to_the_app_anonymous(world: World, browser: Browser) -> None:
    app = world.app()
    asks = [("origin", "https://other.example"), ("access-control-request-method", "PUT")]
    answer = browser.request("OPTIONS", "/page", asks)
    assert (answer.status, answer.json()["user"]) == (200, None)
    assert app.small.calls == ["OPTIONS /page"]
    for missing in asks:
        assert browser.request("OPTIONS", "/page", [pair for pair in asks if pair != missing]).status == 401
    assert browser.request("GET", "/page", asks).status == 401
    browser.sign_in()
    for _ in range(3):
        assert browser.request("OPTIONS", "/page", asks).json()["user"] is None  # even with a cookie, settled or not
        assert browser.request("OPTIONS", "/page").json()["user"]
        browser.visit("/page")


@pytest.mark.parametrize("path", ["login", "initiate-login", "callback", "kmsi", "logout", "logged-out", "me"])
def test_head_on_a_reserved_path_does_nothing(world: World, browser: Browser, path: str) -> None:
    app = world.app()
    browser.sign_in("mia", "no")
    calls = len(app.small.calls)
    answer = browser.request("HEAD", f"/.auth/{path}", NAVIGATION)
    assert (answer.status, answer.cookies, answer.header("location")) == (204, [], "")
    assert browser.who() == "Mia Member"
    assert len(app.small.calls) == calls


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/.auth", 404),
        ("GET", "/.auth/", 404),
        ("GET", "/.auth/other", 404),
        ("POST", "/.auth/login", 405),
        ("DELETE", "/.auth/logout", 405),
        ("POST", "/.auth/me", 405),
    ],
)
def test_no_reserved_path_reaches_the_app(world: World, browser: Browser, method: str, path: str, status: int) -> None:
    app = world.app()
    assert browser.request(method, path, SCRIPT).status == status
    browser.sign_in()
    calls = len(app.small.calls)
    answer = browser.request(method, path, SCRIPT)
    assert answer.status == status
    assert (status != 405) or answer.header("allow")
    assert len(app.small.calls) == calls
    assert browser.visit("/.authors").json()["path"] == "/.authors"  # only looks alike


def test_a_form_that_is_too_large_is_refused(world: World, browser: Browser) -> None:
    world.app()
    answer = browser.post("/.auth/kmsi", {"ticket": "x" * 70_000})
    assert answer.status == 413


# What protected replies say -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "cache", "vary"),
    [
        ("/html", ["no-store"], ["Cookie"]),
        ("/page", ["private"], ["Cookie"]),
        ("/stream", ["private"], ["Cookie"]),
        ("/empty", ["private"], ["Cookie"]),
        ("/cached", ["public, max-age=60"], ["Accept", "Cookie"]),
    ],
)
def test_a_protected_reply_says_what_may_keep_it(
    world: World, browser: Browser, path: str, cache: list[str], vary: list[str]
) -> None:
    world.app()
    browser.sign_in()
    for _ in ("first", "passing"):
        answer = browser.visit(path)
        assert answer.all("cache-control") == cache
        assert answer.all("vary") == vary


@pytest.mark.parametrize("path", ["/html", "/page", "/cached"])
def test_a_reply_that_carries_the_session_cookie_is_kept_by_no_cache(world: World, browser: Browser, path: str) -> None:
    world.app()
    browser.sign_in()
    world.clock.pass_(2 * HOUR)  # the session is renewed, and with it the persistent cookie
    answer = browser.visit(path)
    assert answer.cookies
    assert not any("public" in value for value in answer.all("cache-control"))
    assert "Cookie" in answer.all("vary")


def test_a_streamed_reply_passes_whole(world: World, browser: Browser) -> None:
    world.app()
    browser.sign_in()
    assert browser.visit("/stream").text == "one two three"
    assert browser.visit("/stream?x=1").text == "one two three"
    assert browser.request("HEAD", "/html", NAVIGATION).header("content-type").startswith("text/html")


# Public paths, and protect="none" -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "is_public"),
    [
        ("/public", True),
        ("/about%2Fus", True),
        ("/static/a/b.css", True),
        ("/st%61tic/a", True),
        ("/static/", True),
        ("/public/", False),
        ("/public/x", False),
        ("/static", False),
        ("/staticx", False),
        ("/Public", False),
        ("/static/../secret", False),
        ("/static/%2e%2e/secret", False),
        ("/static/..%2fsecret", False),
        ("/static//x", False),
        ("/static/.%5c..%5csecret", False),
        ("/static/%252e%252e/secret", False),
        ("/static/;/x", False),
        ("/static/x%00", False),
        ("/static/./x", False),
        ("//static/x", False),
    ],
)
def test_public_paths_are_matched_decoded_and_only_in_normal_form(
    world: World, browser: Browser, path: str, is_public: bool
) -> None:
    app = world.app(public_paths=["/public", "/about/us", "/static/*"])
    answer = browser.request("GET", f"{HOME}{path}", SCRIPT)
    assert answer.status == (200 if is_public else 401)
    assert bool(app.small.calls) is is_public
    if is_public:
        assert answer.json()["user"] is None
        assert answer.header("vary") == "Cookie"


def test_a_public_path_knows_who_is_signed_in(world: World, browser: Browser) -> None:
    world.app(public_paths=["/public"])
    assert browser.visit("/public").json()["kmsi"] is None
    browser.sign_in()
    assert browser.visit("/public").json()["kmsi"]["name"] == "Mia Member"


@pytest.mark.parametrize("path", ["/forbidden", "/unknown"])
def test_with_protect_none_the_apps_refusal_becomes_a_sign_in(world: World, browser: Browser, path: str) -> None:
    world.app(protect="none")
    assert browser.visit("/page").json()["user"] is None
    assert (browser.visit("/missing").status, browser.visit("/missing").body) == (404, b"not here")
    page = browser.visit(f"{path}?x=1")
    assert kind(page.trail[0]) == "sign-in"
    assert page.trail[0].body == b""
    page = browser.submit(page, pick="gus")
    assert (page.url, page.status, page.body) == (f"{HOME}{path}?x=1", 200, b"the app's own words")


@pytest.mark.parametrize("path", ["/forbidden", "/unknown"])
def test_with_protect_none_a_script_is_told_what_the_apps_refusal_means(
    world: World, browser: Browser, path: str
) -> None:
    app = world.app(protect="none")
    problem = browser.fetch(path, accept="application/json")
    assert (problem.status, problem.header("content-type")) == (401, "application/problem+json")
    assert problem.json()["code"] == "no_session"
    assert problem.json()["login_url"].startswith("/.auth/login?")
    assert "own words" not in problem.text
    assert browser.request("HEAD", path).status == 401
    browser.sign_in("gus", None, at=path)
    key = key_of(browser.session_cookie().value)  # type: ignore[union-attr]
    app.parts.services.store.end(key, "back_channel", world.clock())
    assert browser.fetch(path).json()["reason"] == "back_channel"
    told = browser.visit(path)
    assert told.status == 401
    assert "has ended your session" in told.text


def test_with_protect_none_what_may_be_no_matter_of_a_session_stays_the_apps(world: World, browser: Browser) -> None:
    world.app(protect="none")
    basic = [("authorization", "Basic bWlhOm1pYQ==")]
    for answer, status in (
        (browser.visit("/challenged"), 401),
        (browser.fetch("/challenged"), 401),
        (browser.post("/forbidden", {}), 403),
        (browser.post("/unknown", {}), 401),
        (browser.fetch("/forbidden", headers=basic), 403),
        (browser.fetch("/unknown", headers=basic), 401),
    ):
        assert (answer.status, answer.body) == (status, b"the app's own words")


@pytest.mark.parametrize("settings", [{"protect": "none"}, {"public_paths": ["/raise"]}])
def test_an_app_that_asks_for_a_session_by_an_error_gets_one(
    world: World, browser: Browser, settings: dict[str, Any]
) -> None:
    world.app(**settings)
    assert browser.fetch("/raise").json()["code"] == "no_session"
    assert kind(browser.visit("/raise").trail[0]) == "sign-in"
    with pytest.raises(SessionRequired):  # and who has one would be sent round and round
        browser.sign_in(at="/raise")


def test_the_apps_403_to_somebody_signed_in_stays_a_403(world: World, browser: Browser) -> None:
    app = world.app(protect="none")
    browser.visit("/.auth/login")
    browser.sign_in("gus", None, at="/forbidden")
    respond = app.small.respond
    app.small.respond = lambda seen: respond(type(seen)(**{**vars(seen), "user": None}))
    for _ in range(2):
        assert browser.visit("/forbidden").status == 403


def test_with_protect_all_the_apps_403_on_a_public_path_stays_a_403(world: World, browser: Browser) -> None:
    world.app(public_paths=["/forbidden"])
    assert browser.visit("/forbidden").body == b"the app's own words"


# A page that is too long to return to --------------------------------------------------------------------------


def test_who_asked_for_too_long_a_page_arrives_at_the_start_page_and_the_log_says_why(
    world: World, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    world.app()
    with caplog.at_level(logging.INFO, "kmsi_middleware"):
        page = browser.sign_in("mia", "yes", at=f"/page?x={'secret' * 200}")
    assert page.url == f"{HOME}/"
    (entry,) = [entry for entry in caplog.records if "too long" in entry.message]
    assert (entry.name, entry.levelname) == ("kmsi_middleware", "INFO")
    assert entry.message == "a page of 1208 characters is too long to return to: the sign-in leads to the start page"
