"""What is read off the wire: cookies, hosts, proxies, mount paths."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from tests.shells.shell_servers import Answer
from tests.shells.shell_support import DAY, HOME, HTML, Browser, World, query_of

SCRIPT = [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"), ("accept", "*/*")]
NAVIGATION = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("accept", HTML)]
OLD = "A" * 43


def token_of(browser: Browser, name: str = "kmsi-8000") -> str:
    cookie = browser.session_cookie(name)
    assert cookie is not None
    return cookie.value


# Cookies ------------------------------------------------------------------------------------------------------

HARMLESS = [
    "kmsi-8000={token}",
    "kmsi-8000={token};",
    "a=b; kmsi-8000={token}",
    "kmsi-8000={token}; a=b",
    "a=b;kmsi-8000={token};c=d",
    "a=b;   kmsi-8000={token}  ; c=d",
    "xkmsi-8000={old}; kmsi-8000={token}",
    "kmsi-80001={old}; kmsi-8000={token}",
    "kmsi-8000x={old}; kmsi-8000={token}; kmsi-8000.z={old}",
    "kmsi-8000={old}; kmsi-8000={token}",
    "kmsi-8000={token}; kmsi-8000={old}",
    "kmsi-8000={token}; kmsi-8000={token}",
    "kmsi-8000=; kmsi-8000={token}",
    "kmsi-8000=short; kmsi-8000={token}",
    "kmsi-8000={token}x; kmsi-8000={token}",
    "kmsi-8000={token}; kmsi-8000={token}x",
    "=; ;;; ,=,; kmsi-8000={token}; \xff\xfe=\xe4",
    'kmsi-8000="{token}"',
    "a=kmsi-8000={old}; kmsi-8000={token}",
    "a=x kmsi-8000={old}; kmsi-8000={token}",
    "kmsi-8000={token}; a=x kmsi-8000={old}",
    "big=" + "x" * 8_000 + "; kmsi-8000={token}",
]
WORTHLESS = [
    "",
    "kmsi-8000",
    "kmsi-8000=",
    "kmsi-8000={old}",
    "kmsi-8000={token}x",
    "kmsi-8000=x{token}",
    "kmsi-8000={token} x",
    "kmsi-8000 x={token}",
    "xkmsi-8000={token}",
    "x-kmsi-8000={token}",
    "kmsi-8001={token}",
    "kmsi={token}",
    "KMSI-8000={token}",
    "kmsi-8000.t.x={token}",
    "a=kmsi-8000={token}",
    "a=x kmsi-8000={token}",
    "a=x\tkmsi-8000={token}",
    "a=x,kmsi-8000={token}",
    "kmsi-8000=\xe4\xf6" + "x" * 41,
    "kmsi-8000={token}\xe4",
]


def test_the_session_is_found_among_whatever_else_comes(world: World, browser: Browser) -> None:
    world.app()
    browser.sign_in()
    for header in HARMLESS:
        cookie = ("cookie", header.format(token=token_of(browser), old=OLD))
        world.clock.pass_(3_600)  # no longer settled
        for way in ("by the flow, renewed", "by the flow", "settled"):
            answer = world.at[HOME]("GET", f"{HOME}/page", [*SCRIPT, cookie])
            assert answer.status == 200, (header, way)
            assert answer.json()["kmsi"]["name"] == "Mia Member", (header, way)


def test_nothing_else_passes_for_a_session(world: World, browser: Browser) -> None:
    app = world.app()
    browser.sign_in()
    for header in WORTHLESS:
        cookie = ("cookie", header.format(token=token_of(browser), old=OLD))
        for settled in (False, True):
            calls = len(app.small.calls)
            answer = world.at[HOME]("GET", f"{HOME}/page", [*SCRIPT, cookie])
            assert answer.status == 401, (header, settled)
            assert len(app.small.calls) == calls
            browser.visit("/page")
            browser.visit("/page")
        world.clock.pass_(3_600)  # no longer settled
        assert browser.who() == "Mia Member"


def test_the_last_of_two_good_cookies_holds_settled_or_not(world: World, browser: Browser) -> None:
    """Browsers send cookies of longer paths first, so a planted one comes before ours."""
    world.app()
    other = world.browser()
    browser.sign_in("mia")
    other.sign_in("gus", None)
    browser.plant("kmsi-8000", token_of(other), path="/page")
    for _ in range(2):
        assert browser.visit("/page").json()["kmsi"]["name"] == "Mia Member"
        other.visit("/page")  # settles the planted one
        browser.visit("/")


def test_cookies_may_come_in_several_headers(world: World) -> None:
    world.app()
    browser = world.browser(split_cookies=True)
    browser.plant("kmsi-8000", OLD, path="/page")
    for number in range(5):
        browser.plant(f"c{number}", "x")
    browser.sign_in(at="/page")
    for _ in range(3):
        assert browser.visit("/page").json()["kmsi"]["name"] == "Mia Member"


def test_an_oversized_cookie_header_does_no_harm(world: World, browser: Browser) -> None:
    world.app()
    browser.sign_in()
    flood = "; ".join(f"kmsi-8000.t.{number}={'x' * 90}" for number in range(1_000))
    assert world.at[HOME]("GET", f"{HOME}/page", [*SCRIPT, ("cookie", flood)]).status == 401
    answer = world.at[HOME]("GET", f"{HOME}/page", [*NAVIGATION, ("cookie", flood)])
    assert answer.status == 303
    assert browser.who() == "Mia Member"


def test_the_cookie_of_another_app_on_another_port_is_left_alone(world: World, browser: Browser) -> None:
    world.app()
    world.app("http://localhost:8001", store=world.store_of("other"))
    browser.sign_in("mia", "no")
    browser.sign_in("gus", None, at="http://localhost:8001/")
    assert sorted(browser.names()) == ["kmsi-8000", "kmsi-8001"]
    assert browser.who() == "Mia Member"
    assert browser.who("http://localhost:8001") == "Gus Guest"
    browser.sign_out("http://localhost:8001")
    assert browser.names() == ["kmsi-8000"]
    assert browser.who() == "Mia Member"


# Hosts and origins --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "app.localhost:8000"])
def test_loopback_needs_no_base_url(world: World, host: str) -> None:
    world.app()
    origin = f"http://{host}"
    world.at[origin] = world.at[HOME]
    browser = world.browser()
    page = browser.sign_in("gus", None, at=f"{origin}/page")
    assert page.url == f"{origin}/page"
    assert [cookie.name for cookie in browser.jar.values() if "idp" not in cookie.name] == ["kmsi-8000"]


@pytest.mark.parametrize("host", ["app.example.com", "192.0.2.1:8000", "localhost.evil.example", "", "a b", "x@[::1]"])
def test_any_other_host_is_refused_without_base_url(world: World, browser: Browser, host: str) -> None:
    app = world.app()
    browser.sign_in()
    calls = len(app.small.calls)
    for method, path in (("GET", "/page"), ("HEAD", "/page"), ("GET", "/.auth/login"), ("GET", "/.auth/me")):
        answer = app(method, f"{HOME}{path}", [("host", host), *NAVIGATION])
        assert answer.status == 421
        assert answer.body.startswith(b"base_url_required" if method == "GET" else b"")
    assert len(app.small.calls) == calls


def test_the_embedded_provider_answers_nobody_but_this_machine(world: World, browser: Browser) -> None:
    app = world.app()
    page = browser.visit("/page")
    assert page.status == 200
    assert browser.visit(page.url, headers=[("x-forwarded-for", "127.0.0.1")]).status == 403
    assert world.browser(address="192.0.2.1").visit(page.url).status == 403
    foreign = [("host", "evil.example"), *NAVIGATION]
    assert app("GET", page.url, foreign).status == 403


def test_https_gives_host_bound_secure_cookies(world: World) -> None:
    origin = "https://app.example"
    world.provider(origin)
    world.client(origin, {"behind_tls": True})
    browser = world.browser()
    first = browser.visit(f"{origin}/page")
    (line,) = first.trail[0].cookies
    assert line.startswith("__Host-kmsi.t.")
    assert query_of(first.trail[0].header("location"))["redirect_uri"] == f"{origin}/.auth/callback"
    page = browser.sign_in("mia", "yes", at=f"{origin}/page")
    assert page.url == f"{origin}/page"
    cookie = browser.session_cookie("__Host-kmsi", "app.example")
    assert cookie is not None
    assert (cookie.secure, cookie.http_only, cookie.same_site, cookie.path) == (True, True, "lax", "/")
    assert cookie.until == world.clock.now + 30 * DAY
    for lines in [hop.cookies for hop in page.trail]:
        for line in lines:
            assert "Domain" not in line
    for _ in range(2):
        assert browser.visit(f"{origin}/page").json()["kmsi"]["name"] == "Mia Member"
    tossed = world.browser()  # what a sibling domain can set has no such prefix
    for name in ("kmsi", "kmsi-443", "__Secure-kmsi"):
        tossed.plant(name, cookie.value, host="app.example")
    tossed.plant("theirs", f"x __Host-kmsi={cookie.value}", host="app.example")
    assert tossed.fetch(f"{origin}/page", source=origin).status == 401


def test_base_url_alone_says_where_the_app_is(world: World, browser: Browser) -> None:
    origin = "https://app.example"
    world.provider(origin)
    server = world.client(origin, {"behind_tls": True, "adds": [("x-forwarded-host", "evil.example")]})
    answer = server("GET", "https://evil.example/page", NAVIGATION)
    assert query_of(answer.header("location"))["redirect_uri"] == f"{origin}/.auth/callback"
    assert answer.cookies[0].startswith("__Host-kmsi.t.")


# The client's address -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "address"),
    [
        ([], "198.51.100.1", "203.0.113.9", "198.51.100.1"),
        (["10.0.0.0/8"], "10.1.2.3", "203.0.113.9", "203.0.113.9"),
        (["10.0.0.0/8"], "10.1.2.3", "6.6.6.6, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
        (["10.0.0.0/8"], "10.1.2.3", "nonsense", ""),
        (["10.0.0.0/8"], "198.51.100.1", "203.0.113.9", "198.51.100.1"),
        (["10.0.0.0/8"], "10.1.2.3", "2001:db8::7", "2001:db8::7"),
    ],
)
def test_the_log_has_the_clients_address(
    world: World, browser: Browser, trusted: list[str], peer: str, forwarded: str, address: str
) -> None:
    world.provider(HOME)
    app = world.client(HOME, {"peer": peer, "adds": [("x-forwarded-for", forwarded)]}, trusted_proxies=trusted)
    browser.sign_in("gus", None)
    (record,) = app.parts.services.log.read(now=world.clock.now)
    assert record["ipAddress"] == address
    assert record["userAgent"] == "Test-Browser/1.0"
    assert record["userPrincipalName"] == "gus@fabrikam.example"


# Mount paths --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["", "/sub", "/%C3%BCber", "/%E6%97%A5%20%25"])
def test_paths_come_back_as_the_browser_sent_them(world: World, browser: Browser, root: str) -> None:
    world.provider(HOME + root)
    world.at[HOME] = world.client(HOME + root, {"root": unquote(root)}, public_paths=["/straße/*"], base_url=HOME)
    assert world.browser().fetch(f"{root}/stra%C3%9Fe/x").status == 200
    asked = f"{root}/caf%C3%A9%20x/100%25/%2541?q=%C3%A9&r=%26"
    page = browser.sign_in("mia", "yes", at=asked)
    assert page.url == HOME + asked
    assert page.status == 200
    for _ in range(2):
        assert browser.visit(asked).status == 200
    assert browser.fetch(f"{root}/.auth/me").status == 200
    assert browser.finish(browser.visit(f"{root}/.auth/logout", source=f"{HOME}{root}/")).status == 200
    assert browser.fetch(f"{root}/.auth/me").status == 401
    assert world.browser().fetch(f"{root}/stra%C3%9Fe/%ff%fe").status == 200  # bytes that are no text


@pytest.mark.parametrize("strips", [False, True])
def test_an_app_below_a_mount_path(world: World, browser: Browser, strips: bool) -> None:
    app = world.app(server={"root": "/sub", "strips_root": strips}, public_paths=["/public"])
    page = browser.visit("/sub/page?x=1")
    asked = query_of(page.trail[-1].header("location"))
    assert page.trail[-1].header("location").startswith(f"{HOME}/sub/.auth/idp/authorize?")
    assert asked["redirect_uri"] == f"{HOME}/sub/.auth/callback"
    page = browser.submit(browser.submit(page, pick="mia"), answer="yes")
    assert page.url == f"{HOME}/sub/page?x=1"
    assert (page.json()["root"], page.json()["path"]) == ("/sub", "/page")
    for _ in range(2):
        assert browser.visit("/sub/page").json()["path"] == "/page"
    assert browser.fetch("/sub/.auth/me").status == 200
    assert world.browser().fetch("/sub/public").status == 200
    assert world.browser().fetch("/sub/page").json()["login_url"].startswith("/sub/.auth/login?")
    page = browser.visit("/sub/.auth/logout", source=f"{HOME}/sub/")
    browser.finish(page)
    assert browser.fetch("/sub/.auth/me").status == 401
    assert not any(call.startswith("GET /.auth") for call in app.small.calls)


@pytest.mark.parametrize(("asked", "end"), [("/sub/page", "/sub/page"), ("/sub/.auth/logout", "/sub/"), ("", "/sub/")])
def test_return_targets_below_a_mount_path(world: World, browser: Browser, asked: str, end: str) -> None:
    world.app(server={"root": "/sub"})
    page = browser.visit(f"/sub/.auth/login?post_login_redirect_uri={asked}")
    assert browser.submit(page, pick="gus").url == HOME + end


@pytest.mark.parametrize("issuer", ["embedded", "another"])
@pytest.mark.parametrize("passes_root", [False, True])
def test_a_path_in_base_url_that_a_proxy_strips(world: World, browser: Browser, passes_root: bool, issuer: str) -> None:
    root = "/base" if passes_root else ""
    if issuer == "embedded":
        server = world.app(f"{HOME}/base", {"root": root}, base_url=f"{HOME}/base")
    else:
        world.provider(f"{HOME}/base")
        server = world.client(f"{HOME}/base", {"root": root})
    del world.at[f"{HOME}/base"]

    def proxy(method: str, url: str, headers: Any, body: bytes = b"", peer: str = "127.0.0.1") -> Answer:
        inside = url if passes_root else url.replace(f"{HOME}/base", "http://127.0.0.1:9000")
        answer = server(method, inside, headers, body, peer)
        answer.url = url
        return answer

    world.at[HOME] = proxy  # type: ignore[assignment]
    page = browser.sign_in("mia", "yes", at="/base/page")
    assert page.url == f"{HOME}/base/page"
    assert page.json()["path"] == "/page"
    if issuer == "embedded":
        assert {item.path for item in browser.jar.values() if "-idp-" in item.name} == {"/base/.auth/idp"}
    end = browser.sign_out(f"{HOME}/base")
    assert end.url.startswith(f"{HOME}/base/.auth/logged-out")
    assert browser.fetch("/base/page").json()["login_url"].startswith("/base/.auth/login?")


@pytest.mark.parametrize("issuer", ["embedded", "another"])
def test_a_path_in_base_url_that_the_proxy_does_not_strip(world: World, browser: Browser, issuer: str) -> None:
    if issuer == "embedded":
        world.at[HOME] = world.app(f"{HOME}/base", base_url=f"{HOME}/base")
    else:
        world.provider(f"{HOME}/base")
        world.at[HOME] = world.client(f"{HOME}/base")
    page = browser.visit("/base/page")
    page = browser.submit(page, pick="gus") if issuer == "another" else page
    assert page.status == 421
    assert f"By base_url the app is at {HOME}/base," in page.text
    assert "is /base/.auth/" in page.text


def test_such_a_proxys_path_belongs_into_the_prefix(world: World, browser: Browser) -> None:
    app = world.app(base_url=HOME, prefix="/base/.auth")
    page = browser.sign_in("mia", "yes", at="/base/page?x=1")
    assert (page.url, page.status) == (f"{HOME}/base/page?x=1", 200)
    assert browser.fetch("/base/.auth/me").status == 200
    assert browser.sign_out(f"{HOME}/base").url.startswith(f"{HOME}/base/.auth/logged-out")
    assert browser.fetch("/base/.auth/me").status == 401
    assert not any("/.auth/" in call for call in app.small.calls)


def test_a_root_path_that_no_proxy_adds(asgi_world: World) -> None:
    """``uvicorn --root-path /portal``, and no proxy: the server puts it before every path that comes."""
    server = asgi_world.app(server={"root": "/portal"})

    def uvicorn(method: str, url: str, headers: Any, body: bytes = b"", peer: str = "") -> Answer:
        return server(method, url.replace(HOME, f"{HOME}/portal", 1), headers, body, peer)

    asgi_world.at[HOME] = uvicorn  # type: ignore[assignment]
    page = asgi_world.browser().visit("/page")
    assert page.status == 421
    assert "By the Host and the server&#39;s root path the app is at http://localhost:8000/portal, but" in page.text
