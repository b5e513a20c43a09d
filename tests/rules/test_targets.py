"""Where a browser may be sent back to, and which paths are public."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsi_middleware.rules.oidc.authorization import new_transaction, sealed_state
from kmsi_middleware.rules.seals import Seals
from kmsi_middleware.rules.targets import (
    LONGEST_TARGET,
    AuthContexts,
    PublicPaths,
    is_misplaced,
    is_normal,
    login_url,
    return_target,
)
from kmsi_middleware.vocabulary.errors import Refused
from kmsi_middleware.vocabulary.messages import Site

SITE = Site("https://app.example", "", "https://idp.example", "__Host-kmsi")
MOUNTED = Site("https://app.example:8443", "/sub", "https://idp.example", "__Host-kmsi")
PREFIX = "/.auth"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("", "/"),
        ("/", "/"),
        ("/page", "/page"),
        ("/page?a=1&b=2#part", "/page?a=1&b=2#part"),
        ("/a//b", "/a//b"),
        ("/page?next=//evil.example", "/page?next=//evil.example"),
        ("/page?next=https://evil.example/", "/page?next=https://evil.example/"),
        ("/page?next=/../..", "/page?next=/../.."),
        ("/@evil.example", "/@evil.example"),
        ("/:80", "/:80"),
        ("/;x", "/;x"),
        # What is encoded stays encoded, once
        ("/a%20b", "/a%20b"),
        ("/a%252fb", "/a%252fb"),
        ("/%0d%0aset-cookie:x", "/%0d%0aset-cookie:x"),
        ("/%2f/evil.example", "/%2f/evil.example"),
        ("/%5cevil.example", "/%5cevil.example"),
        ("/100%", "/100%"),
        # What is not ASCII is encoded
        ("/café", "/caf%C3%A9"),
        ("/?q=東京", "/?q=%E6%9D%B1%E4%BA%AC"),
        ("/\u2028", "/%E2%80%A8"),
        ("/\x85", "/%C2%85"),
        ("/\uff0f\uff0fevil.example", "/%EF%BC%8F%EF%BC%8Fevil.example"),
        ('/"<script>', "/%22%3Cscript%3E"),
        # A URL of this very origin counts as its path
        ("https://app.example", "/"),
        ("https://app.example/", "/"),
        ("https://app.example/page?a=1", "/page?a=1"),
        ("https://app.example?a=1", "/?a=1"),
        ("https://app.example#part", "/#part"),
        ("HTTPS://App.Example/Page", "/Page"),
        # Our own paths lead home, also where a browser would resolve them to
        ("/.auth", "/"),
        ("/.auth/", "/"),
        ("/.auth/logout", "/"),
        ("/.auth/login?post_login_redirect_uri=/x", "/"),
        ("/.auth?x", "/"),
        ("/.auth#x", "/"),
        ("/%2eauth/logout", "/"),
        ("/%2Eauth%2Flogout", "/"),
        ("https://app.example/.auth/logout", "/"),
        ("/./.auth/logout", "/"),
        ("/x/../.auth/logout", "/"),
        ("/x/%2e%2e/.auth/logout", "/"),
        ("/x/.%2E/.auth/logout", "/"),
        ("/..", "/"),
        ("/x/.", "/"),
        ("/.authentic", "/.authentic"),
        ("/docs/.auth", "/docs/.auth"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
        ("/a..b/.c", "/a..b/.c"),
    ],
)
def test_a_target_is_a_path_of_this_site(text: str, target: str) -> None:
    assert return_target(text, SITE, PREFIX) == target


@pytest.mark.parametrize(
    "text",
    [
        "//evil.example",
        "//evil.example/page",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "\\/evil.example",
        "/page\\x",
        "/\t/evil.example",
        "/\n/evil.example",
        "/\r\nset-cookie: x",
        "/page\x00",
        "/\x1f",
        "/\x7f",
        " /page",
        "/a page",
        "/page ",
        "page",
        "./page",
        "../page",
        "?a=1",
        "#part",
        ":80",
        "javascript:alert(1)",
        "data:text/html,x",
        "http:/page",
        "https:/page",
        "https:page",
        "https:///evil.example",
        "https://evil.example",
        "https://evil.example/page",
        "http://app.example/page",
        "https://app.example:8443/page",
        "https://app.example:443/page",
        "https://app.example.evil.example/page",
        "https://app.example@evil.example/page",
        "https://app.example:x@evil.example/",
        "https://user@app.example/page",
        "https://app.example//evil.example",
        "https://app.example/\\evil.example",
        "https://app.example\\evil.example",
        "https://app.example\t.evil.example/",
        "https://app.exampleevil.example/",
        "/\ud800",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        return_target(text, SITE, PREFIX)
    assert refused.value.code == "bad_return_target"
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("", "/sub/"),
        ("/sub/page", "/sub/page"),
        ("/other/page", "/other/page"),
        ("https://app.example:8443/sub/page", "/sub/page"),
        ("/sub/.auth/logout", "/sub/"),
        ("/sub/.auth", "/sub/"),
        ("/.auth/logout", "/.auth/logout"),
        ("/sub/x/../.auth/logout", "/sub/"),
    ],
)
def test_home_is_where_the_app_is_mounted(text: str, target: str) -> None:
    assert return_target(text, MOUNTED, PREFIX) == target


def test_a_target_that_is_too_long_becomes_home() -> None:
    longest = "/" + "a" * (LONGEST_TARGET - 1)
    assert return_target(longest, SITE, PREFIX) == longest
    assert return_target(longest + "a", SITE, PREFIX) == "/"
    assert return_target("/?q=" + "a" * 100_000, SITE, PREFIX) == "/"
    encoded = "/" + "é" * 171  # six characters each, once encoded
    assert len(encoded) < LONGEST_TARGET < len(encoded) * 6
    assert return_target(encoded, SITE, PREFIX) == "/"


def test_the_way_back_fits_into_the_request_line_of_every_server() -> None:
    """gunicorn takes 4,094 characters unless it is told otherwise; Entra ID's codes are the longest, near 1,500."""
    transaction, _ = new_transaction("/" + "a" * (LONGEST_TARGET - 1), 1.8e9, bytes)
    state = sealed_state(transaction, Seals(("k" * 32,), bytes), 1.8e9)
    answer = {"code": "c" * 2_000, "state": state, "session_state": "s" * 36, "iss": "i" * 100}
    assert len(f"GET /.auth/callback?{urlencode(answer)} HTTP/1.1\r\n") < 4_094


odd = r"/ // \ . .. %2e %2f %5c @ : ? # ; % é .auth a https: https://app.example evil.example".split(" ")  # noqa: SIM905
pieces = st.sampled_from([*odd, " ", "\t", "\n", "\x00", "\u2028", "\U0001f600", "\ud800"])


@given(st.lists(pieces, max_size=12).map("".join) | st.text(max_size=40).map("/".__add__))
def test_whatever_is_asked_for_a_browser_stays_at_this_origin(text: str) -> None:
    try:
        target = return_target(text, SITE, PREFIX)
    except Refused:
        return
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target
    there = urlsplit(urljoin("https://app.example/start", target))
    assert (there.scheme, there.netloc) == ("https", "app.example")
    assert not there.path.startswith("/.auth/")
    assert return_target(target, SITE, PREFIX) == target, "checking twice changes nothing"


@pytest.mark.parametrize("target", ["/", "/page?a=1&b=2#part", "/caf%C3%A9", "/a+b?c=d%26"])
def test_the_login_url_brings_its_target_back(target: str) -> None:
    url = login_url(MOUNTED, PREFIX, target)
    path, _, query = url.partition("?")
    assert path == "/sub/.auth/login"
    assert parse_qs(query) == {"post_login_redirect_uri": [target]}


# Public paths ---------------------------------------------------------------------------------------------

PUBLIC = PublicPaths(["/", "/about", "/static/*", "/café", "/docs/*", "/open/"])


@pytest.mark.parametrize(
    ("path", "public"),
    [
        ("/", True),
        ("/about", True),
        ("/café", True),
        ("/open/", True),
        ("/static/app.css", True),
        ("/static/", True),
        ("/static/a/b/c.js", True),
        ("/static/..hidden", True),
        ("/static/a b", True),
        # Neither more nor less than what was named
        ("/about/", False),
        ("/about/us", False),
        ("/aboutus", False),
        ("/open", False),
        ("/open/door", False),
        ("/static", False),
        ("/staticfile", False),
        ("/private/static/app.css", False),
        ("/About", False),
        ("/STATIC/app.css", False),
        ("", False),
        ("about", False),
        ("*", False),
        # What a router or a proxy might take for another path
        ("/static/../admin", False),
        ("/static/..", False),
        ("/static/./admin", False),
        ("/static/.", False),
        ("/static/a/../../admin", False),
        ("/static//admin", False),
        ("//static/app.css", False),
        ("//about", False),
        ("/static/%2e%2e/admin", False),
        ("/static/%2E%2E/admin", False),
        ("/static/%252e", False),
        ("/static/..%2fadmin", False),
        ("/static/100%", False),
        ("/static/..;/admin", False),
        ("/static/;x", False),
        ("/static/\\..\\admin", False),
        ("/static\\..\\admin", False),
        ("/static/..\\admin", False),
        ("/static/a\x00b", False),
        ("/static/a\nb", False),
        ("/static/a\x7fb", False),
        ("/about\n", False),
        ("/about\x00", False),
        ("/about;x", False),
        ("/about?x", False),
    ],
)
def test_only_a_named_path_in_its_normal_form_is_public(path: str, public: bool) -> None:
    assert (path in PUBLIC) is public


def test_without_public_paths_nothing_is_public() -> None:
    assert "/" not in PublicPaths([])
    assert "" not in PublicPaths([])
    assert None not in PublicPaths(["/"])


def test_a_star_at_the_root_is_for_every_normal_path() -> None:
    everything = PublicPaths(["/*"])
    assert "/" in everything
    assert "/any/path" in everything
    assert "/any/../path" not in everything


@given(st.lists(st.sampled_from(["static", "admin", "..", ".", "", "%2e%2e", "a;b", "a\\b", "a.b"]), max_size=6))
def test_a_public_path_resolves_to_itself(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    if path in PUBLIC:
        assert urlsplit(urljoin("https://app.example/", path)).path == path
        assert is_normal(path)


@pytest.mark.parametrize("path", ["", "page", "//", "/a//b", "/a/./b", "/..", "/a;b", "/a%41", "/a\\b", "/a\x00"])
def test_paths_that_are_not_in_their_normal_form(path: str) -> None:
    assert not is_normal(path)


# Authentication contexts ----------------------------------------------------------------------------------

CONTEXTS = AuthContexts(
    {"/payments/*": "c1", "/payments/large/*": "c2", "/payments/large/help": "c3", "/admin/": "c4", "/café": "c5"}
)


@pytest.mark.parametrize(
    ("path", "context"),
    [
        ("/", None),
        ("", None),
        ("/payments", "c1"),
        ("/payments/", "c1"),
        ("/payments/pay", "c1"),
        ("/paymentsx", None),
        ("/payments/large", "c2"),
        ("/payments/large/1", "c2"),
        ("/payments/larger", "c1"),
        # Exact
        ("/payments/large/help", "c3"),
        ("/payments/large/help/", "c3"),
        ("/payments/large/help/1", "c2"),
        ("/admin", "c4"),
        ("/admin/", "c4"),
        ("/admin/x", None),
        ("/café", "c5"),
        # As some router might take it
        ("/payments//1", "c1"),
        ("//payments/1", "c1"),
        ("/payments/..", "c1"),
        ("/payments/pay/../../x", "c1"),
        ("/payments/%2e%2e/x", "c1"),
        ("/payments/..%2fx", "c1"),
        ("/payments%2fpay", "c1"),
        ("/%70ayments/pay", "c1"),
        ("/%70ayments/../x", "c1"),
        ("/x/../payments/1", "c1"),
        ("/x/%2e%2e/payments/1", "c1"),
        ("/x/../payments//../y", "c1"),
        ("/x/../payments/%2e%2e/y", "c1"),
        ("/payments/./large/1", "c2"),
        ("/payments/large/../1", "c2"),
        ("/../admin", "c4"),
        ("/admin/.", "c4"),
        ("/x/../y", None),
        ("/x/%2e%2e/y", None),
    ],
)
def test_which_context_a_path_needs(path: str, context: str | None) -> None:
    assert CONTEXTS.of(path) == context


def test_an_exact_path_comes_before_any_folder() -> None:
    contexts = AuthContexts({"/a/*": "c1", "/a": "c2", "/*": "c3"})
    assert [contexts.of(path) for path in ("/a", "/a/", "/a/b", "/b", "/", "")] == ["c2", "c2", "c1", "c3", "c3", "c3"]
    assert AuthContexts({"/": "c1"}).of("/") == "c1"
    assert AuthContexts({"/": "c1"}).of("/a") is None
    assert not AuthContexts({})
    assert AuthContexts({}).of("/a/../b") is None


@given(st.lists(st.sampled_from(["payments", "x", "..", ".", "", "%2e%2e", "%2f", "large"]), max_size=7))
def test_no_spelling_goes_round_a_context(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    resolved = urlsplit(urljoin("https://app.example/", f"https://app.example{path}")).path
    if path.startswith("/payments/") or resolved.startswith("/payments/"):
        assert CONTEXTS.of(path) in ("c1", "c2")


def test_a_context_in_capitals_is_the_same_context() -> None:
    assert AuthContexts({"/pay/*": "C1"}).of("/pay/now") == "c1"


@pytest.mark.parametrize(
    ("path", "is_so"),
    [
        ("/.auth/callback", False),
        ("/.auth/idp/authorize", False),
        ("/.auth/idp/x/.auth/callback", False),
        ("/.authentic/callback", False),
        ("/portal/.auth/login", False),
        ("/portal/x.auth/callback", False),
        ("/portal/.auth/callback/x", False),
        ("/portal/.auth/idp", False),
        ("/portal/.auth/callback", True),
        ("/a/b/.auth/callback", True),
        ("/portal/.auth/idp/tenant/flow/authorize", True),
    ],
)
def test_a_path_of_a_sign_in_that_is_not_where_the_prefix_is(path: str, is_so: bool) -> None:
    assert is_misplaced(path, PREFIX) is is_so
