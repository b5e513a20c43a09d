"""Who is sent to sign in: by the headers that browsers and their libraries really send."""

from __future__ import annotations

import pytest

from kmsi_middleware.rules.navigation import (
    Kind,
    is_from_this_origin,
    is_plain_navigation,
    is_prefetch,
    is_sent_form,
    kind_of,
)
from kmsi_middleware.vocabulary.messages import Request, Site

SITE = Site("https://app.example", "", "https://idp.example", "__Host-kmsi")

CHROME_ACCEPT = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
FIREFOX_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,image/png,image/svg+xml,*/*;q=0.8"
SAFARI_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
TURBO_ACCEPT = "text/html, application/xhtml+xml"
TURBO_STREAM_ACCEPT = "text/vnd.turbo-stream.html, text/html, application/xhtml+xml"

Headers = dict[str, str]


def request(method: str, headers: Headers) -> Request:
    return Request(SITE, method, "/page", "", headers, target="/page")


def fetch(mode: str, dest: str, site: str = "same-origin", **more: str) -> Headers:
    return {"sec-fetch-mode": mode, "sec-fetch-dest": dest, "sec-fetch-site": site} | {
        name.replace("_", "-"): value for name, value in more.items()
    }


NAVIGATION = fetch("navigate", "document", "none", accept=CHROME_ACCEPT, sec_fetch_user="?1")

TABLE: list[tuple[str, str, Headers, Kind]] = [
    # Top-level navigations
    ("Chrome, typed address", "GET", NAVIGATION | {"upgrade-insecure-requests": "1"}, Kind.NAVIGATION),
    ("Chrome, link from another site", "GET", NAVIGATION | {"sec-fetch-site": "cross-site"}, Kind.NAVIGATION),
    ("Firefox", "GET", fetch("navigate", "document", "none", accept=FIREFOX_ACCEPT), Kind.NAVIGATION),
    ("Safari", "GET", fetch("navigate", "document", "none", accept=SAFARI_ACCEPT), Kind.NAVIGATION),
    ("a browser that sends no Sec-Fetch-Dest", "GET", {"sec-fetch-mode": "navigate"}, Kind.NAVIGATION),
    ("Safari 15, no Sec-Fetch at all", "GET", {"accept": SAFARI_ACCEPT}, Kind.NAVIGATION),
    ("a download link, saved as", "GET", fetch("navigate", "document", accept="*/*"), Kind.NAVIGATION),
    (
        "an app's WebView on Android",
        "GET",
        NAVIGATION | {"x-requested-with": "com.example.mail"},
        Kind.NAVIGATION,
    ),
    # Navigations that can't come back to where they were
    ("a posted form", "POST", fetch("navigate", "document", accept=CHROME_ACCEPT), Kind.PAGE),
    ("a posted form of an old browser", "POST", {"accept": SAFARI_ACCEPT}, Kind.PAGE),
    ("a frame", "GET", fetch("navigate", "iframe", accept=CHROME_ACCEPT), Kind.PAGE),
    ("a frame of another site", "GET", fetch("navigate", "iframe", "cross-site", accept=CHROME_ACCEPT), Kind.PAGE),
    ("an old frameset", "GET", fetch("navigate", "frame", accept=FIREFOX_ACCEPT), Kind.PAGE),
    ("an embedded document", "GET", fetch("navigate", "embed", accept=CHROME_ACCEPT), Kind.PAGE),
    ("an object", "GET", fetch("navigate", "object", accept=CHROME_ACCEPT), Kind.PAGE),
    ("HEAD, by a link checker", "HEAD", {"accept": "text/html"}, Kind.SCRIPT),
    ("HEAD, as a navigation", "HEAD", fetch("navigate", "document", accept=CHROME_ACCEPT), Kind.SCRIPT),
    # Scripts
    ("fetch()", "GET", fetch("cors", "empty", accept="*/*"), Kind.SCRIPT),
    ("fetch() of JSON", "GET", fetch("cors", "empty", accept="application/json"), Kind.SCRIPT),
    ("fetch(), same-origin mode", "GET", fetch("same-origin", "empty", accept="*/*"), Kind.SCRIPT),
    ("fetch() with POST", "POST", fetch("cors", "empty", accept="*/*", origin=SITE.origin), Kind.SCRIPT),
    ("fetch() with DELETE", "DELETE", fetch("cors", "empty", accept="*/*"), Kind.SCRIPT),
    ("XMLHttpRequest", "GET", fetch("cors", "empty", accept="*/*"), Kind.SCRIPT),
    ("jQuery", "GET", {"accept": "text/html, */*; q=0.01", "x-requested-with": "XMLHttpRequest"}, Kind.SCRIPT),
    (
        "jQuery in a browser with Sec-Fetch",
        "GET",
        fetch("cors", "empty", accept="text/html, */*; q=0.01", x_requested_with="XMLHttpRequest"),
        Kind.SCRIPT,
    ),
    ("an old browser's script", "GET", {"accept": "application/json, text/plain, */*"}, Kind.SCRIPT),
    ("EventSource", "GET", fetch("cors", "empty", accept="text/event-stream"), Kind.SCRIPT),
    ("a WebSocket's handshake", "GET", fetch("websocket", "websocket", origin=SITE.origin), Kind.SCRIPT),
    # What a page is made of
    ("an image", "GET", fetch("no-cors", "image", accept="image/avif,image/webp,*/*;q=0.8"), Kind.SCRIPT),
    ("a style sheet", "GET", fetch("no-cors", "style", accept="text/css,*/*;q=0.1"), Kind.SCRIPT),
    ("a module", "GET", fetch("cors", "script", accept="*/*"), Kind.SCRIPT),
    ("an old browser's image", "GET", {"accept": "image/png,image/svg+xml,*/*;q=0.8"}, Kind.SCRIPT),
    # Libraries that show the HTML they fetch
    ("htmx", "GET", fetch("cors", "empty", accept="*/*", hx_request="true"), Kind.HTMX),
    (
        "htmx, boosted link",
        "GET",
        fetch("cors", "empty", accept="*/*", hx_request="true", hx_boosted="true"),
        Kind.HTMX,
    ),
    ("htmx, form", "POST", fetch("cors", "empty", accept="*/*", hx_request="true"), Kind.HTMX),
    ("htmx in an old browser", "GET", {"accept": "*/*", "hx-request": "true"}, Kind.HTMX),
    ("Turbo Drive", "GET", fetch("same-origin", "empty", accept=TURBO_ACCEPT), Kind.PAGE),
    ("Turbo Drive, form", "POST", fetch("same-origin", "empty", accept=TURBO_STREAM_ACCEPT), Kind.PAGE),
    ("Turbo Frame", "GET", fetch("same-origin", "empty", accept=TURBO_ACCEPT, turbo_frame="inbox"), Kind.PAGE),
    ("Turbo Frame in an old browser", "GET", {"accept": TURBO_ACCEPT, "turbo-frame": "inbox"}, Kind.PAGE),
    ("Turbo Stream in an old browser", "GET", {"accept": TURBO_STREAM_ACCEPT}, Kind.PAGE),
    # Nobody has gone there yet
    ("Chrome, prefetch", "GET", NAVIGATION | {"sec-purpose": "prefetch"}, Kind.SCRIPT),
    ("Chrome, prerender", "GET", NAVIGATION | {"sec-purpose": "prefetch;prerender"}, Kind.SCRIPT),
    ("Chrome, anonymous prefetch", "GET", NAVIGATION | {"sec-purpose": "prefetch;anonymous-client-ip"}, Kind.SCRIPT),
    ("Safari, prefetch", "GET", NAVIGATION | {"purpose": "prefetch"}, Kind.SCRIPT),
    ("Firefox, prefetch", "GET", fetch("no-cors", "empty", accept=FIREFOX_ACCEPT, x_moz="prefetch"), Kind.SCRIPT),
    (
        "Turbo, prefetch",
        "GET",
        fetch("same-origin", "empty", accept=TURBO_ACCEPT, x_sec_purpose="prefetch"),
        Kind.SCRIPT,
    ),
    # Not browsers
    ("curl", "GET", {"accept": "*/*", "user-agent": "curl/8.5.0"}, Kind.SCRIPT),
    ("a monitor without Accept", "GET", {}, Kind.SCRIPT),
    # CORS
    (
        "a preflight",
        "OPTIONS",
        fetch("cors", "empty", "cross-site", origin="https://b.example", access_control_request_method="PUT"),
        Kind.PREFLIGHT,
    ),
    (
        "an old browser's preflight",
        "OPTIONS",
        {"origin": "null", "access-control-request-method": "GET", "accept": "*/*"},
        Kind.PREFLIGHT,
    ),
    ("OPTIONS that is no preflight: no method", "OPTIONS", {"origin": "https://b.example"}, Kind.SCRIPT),
    ("OPTIONS that is no preflight: no origin", "OPTIONS", {"access-control-request-method": "GET"}, Kind.SCRIPT),
    (
        "a GET with a preflight's headers",
        "GET",
        fetch("cors", "empty", origin="https://b.example", access_control_request_method="GET"),
        Kind.SCRIPT,
    ),
]


@pytest.mark.parametrize(("method", "headers", "kind"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_a_request_without_a_session_gets(method: str, headers: Headers, kind: Kind) -> None:
    assert kind_of(request(method, headers)) is kind


@pytest.mark.parametrize("name", ["sec-fetch-mode", "sec-fetch-dest", "hx-request", "accept"])
def test_values_are_compared_without_case(name: str) -> None:
    for _, method, headers, kind in TABLE:
        loud = headers | ({name: headers[name].upper()} if name in headers else {})
        assert kind_of(request(method, loud)) is kind


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
def test_only_get_is_ever_a_navigation(method: str) -> None:
    for _, _, headers, _ in TABLE:
        assert kind_of(request(method, headers)) is not Kind.NAVIGATION


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"sec-purpose": "prefetch"}, True),
        ({"sec-purpose": "prefetch;prerender"}, True),
        ({"sec-purpose": "Prerender"}, True),
        ({"purpose": "prefetch"}, True),
        ({"x-moz": "prefetch"}, True),
        ({"x-sec-purpose": "prefetch"}, True),
        ({"sec-purpose": "something-new", "purpose": "prefetch"}, True),
        ({"sec-purpose": ""}, False),
        ({"sec-purpose": "something-new"}, False),
        ({}, False),
    ],
)
def test_prefetch_and_prerender(headers: Headers, expected: bool) -> None:
    assert is_prefetch(request("GET", headers)) is expected


@pytest.mark.parametrize(
    ("method", "changed", "plain"),
    [
        ("GET", {}, True),
        ("GET", {"sec-fetch-dest": ""}, True),
        ("GET", {"sec-fetch-mode": "Navigate", "sec-fetch-site": "Same-Origin"}, True),
        ("POST", {}, False),
        ("HEAD", {}, False),
        ("GET", {"sec-fetch-site": "none"}, False),
        ("GET", {"sec-fetch-site": "same-site"}, False),
        ("GET", {"sec-fetch-site": "cross-site"}, False),
        ("GET", {"sec-fetch-site": ""}, False),
        ("GET", {"sec-fetch-mode": "cors"}, False),
        ("GET", {"sec-fetch-mode": "no-cors"}, False),
        ("GET", {"sec-fetch-mode": ""}, False),
        ("GET", {"sec-fetch-dest": "iframe"}, False),
        ("GET", {"sec-fetch-dest": "image"}, False),
        ("GET", {"sec-purpose": "prefetch"}, False),
        ("GET", {"sec-purpose": "prefetch;prerender"}, False),
        ("GET", {"purpose": "prefetch"}, False),
    ],
)
def test_a_plain_navigation_is_a_click_within_this_origin(method: str, changed: Headers, plain: bool) -> None:
    assert is_plain_navigation(request(method, fetch("navigate", "document") | changed)) is plain


@pytest.mark.parametrize(
    ("method", "headers", "sent"),
    [
        ("POST", fetch("navigate", "document", accept=CHROME_ACCEPT), True),
        ("POST", {"accept": SAFARI_ACCEPT}, True),
        ("POST", fetch("navigate", "document", site="cross-site", accept=CHROME_ACCEPT), True),
        ("POST", fetch("navigate", "iframe", accept=CHROME_ACCEPT), False),
        ("POST", fetch("cors", "empty", accept=TURBO_ACCEPT), False),
        ("POST", {"accept": TURBO_STREAM_ACCEPT}, False),
        ("POST", {"accept": SAFARI_ACCEPT, "turbo-frame": "main"}, False),
        ("POST", {"accept": SAFARI_ACCEPT, "hx-request": "true"}, False),
        ("POST", {"accept": "*/*"}, False),
        ("PUT", {"accept": SAFARI_ACCEPT}, False),
        ("GET", fetch("navigate", "document", accept=CHROME_ACCEPT), False),
    ],
)
def test_a_sent_form_is_what_a_reload_sends_again(method: str, headers: Headers, sent: bool) -> None:
    assert is_sent_form(request(method, headers)) is sent


def test_a_browser_without_sec_fetch_makes_no_plain_navigation() -> None:
    assert not is_plain_navigation(request("GET", {"accept": SAFARI_ACCEPT}))


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"origin": "https://app.example", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "https://app.example"}, True),
        ({"origin": "HTTPS://App.Example"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({}, False),
        ({"origin": "null"}, False),
        ({"origin": "null", "sec-fetch-site": "same-origin"}, False),
        ({"origin": "null", "sec-fetch-site": "cross-site"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "https://evil.example", "sec-fetch-site": "same-origin"}, False),
        ({"origin": "https://app.example", "sec-fetch-site": "cross-site"}, False),
        ({"origin": "https://app.example", "sec-fetch-site": "same-site"}, False),
        ({"origin": "https://app.example", "sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"origin": "http://app.example"}, False),
        ({"origin": "https://app.example:8443"}, False),
        ({"origin": "https://app.example.evil.example"}, False),
        ({"origin": "https://sub.app.example"}, False),
        ({"origin": "https://app.example, https://app.example"}, False),
        ({"origin": "https://app.example/"}, False),
        ({"referer": "https://app.example/page"}, False),
    ],
)
def test_a_form_is_ours_only_by_the_browsers_own_word(headers: Headers, ours: bool) -> None:
    assert is_from_this_origin(request("POST", headers)) is ours
