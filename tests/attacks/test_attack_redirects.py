"""Attacks on where a browser is sent, and on the headers that say so."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import pytest
from tests.attacks.attack_support import never, unchanged, weakened
from tests.flows.flow_support import (
    CROSS_SITE,
    NAVIGATION,
    ORIGIN,
    SIGN_OUT_ORIGIN,
    Browser,
    World,
    headers_of,
    location,
    query_of,
)
from tests.shells.shell_support import HOME
from tests.shells.shell_support import World as RealWorld

from kmsi_middleware.edges.pages import PageRenderer
from kmsi_middleware.vocabulary.messages import Outcome, Reply

EVIL = "evil.example"


def host_that_a_browser_goes_to(target: str, at: str = f"{ORIGIN}/.auth/login") -> str:
    """By the URL standard (url.spec.whatwg.org, "basic URL parser"), as far as Python's own differs from it: blanks at
    the ends and tabs and line ends anywhere are dropped, a backslash is a slash, and any number of slashes, also none,
    comes before the host of a scheme that is not the page's own."""
    target = re.sub(r"[\t\n\r]", "", target.strip("".join(map(chr, range(33))))).replace("\\", "/")
    scheme = re.match(r"(https?):(/*)", target, re.IGNORECASE)
    if scheme and (scheme[1].lower() != urlsplit(at).scheme or scheme[2][:2] == "//"):
        target = f"{scheme[1]}://{target[scheme.end() :]}"
    elif scheme:
        target = target[len(scheme[1]) + 1 :]
    if target.startswith("//"):
        target = "//" + target.lstrip("/")
    host = urlsplit(urljoin(at, target)).hostname or ""
    return host.replace("\u3002", ".").replace("%2e", ".")


# Open redirect ---------------------------------------------------------------------------------------------------

SPELLINGS = [
    "https://evil.example",
    "https://evil.example/page",
    "HTTPS://EVIL.EXAMPLE/",
    "http://evil.example/",
    "http:evil.example",
    "http:/evil.example",
    "https:///evil.example",
    "https:\\\\evil.example",
    "https:/\\evil.example",
    "//evil.example",
    "///evil.example",
    "////evil.example/",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "\x01//evil.example",
    "h\tttps://evil.example",
    "//evil\u3002example",
    "//evil%2eexample",
    f"{ORIGIN}@evil.example/",
    f"{ORIGIN}:x@evil.example/",
    f"https://app.example.com%2f@{EVIL}/",
    f"//app.example.com@{EVIL}",
    f"//{EVIL}\\@app.example.com",
    f"https://{EVIL}#{ORIGIN}/",
    f"https://{EVIL}?{ORIGIN}/",
    f"//{EVIL}/%2e%2e",
    f"//{EVIL}:443/",
]


def by_login(world: World, target: str) -> Outcome:
    """Somebody who is signed in follows a link to a sign-in."""
    victim = Browser(world)
    victim.sign_in()
    return victim.get(f"/.auth/login?post_login_redirect_uri={quote(target, safe='')}", CROSS_SITE)


def by_a_sign_in(world: World, target: str) -> Outcome:
    """Somebody who is not follows it, and signs in."""
    victim = Browser(world)
    begun = victim.get(f"/.auth/login?post_login_redirect_uri={quote(target, safe='')}", CROSS_SITE)
    if isinstance(begun, Reply) and begun.status != 303:
        return begun
    return victim.reply_to(location(victim.come_back(location(begun))), "no")


def by_a_third_party(world: World, target: str) -> Outcome:
    """Another site starts a sign-in for somebody who is signed in."""
    victim = Browser(world)
    victim.sign_in()
    issuer = quote(world.app.settings.issuer, safe="")
    return victim.get(f"/.auth/initiate-login?iss={issuer}&target_link_uri={quote(target, safe='')}", CROSS_SITE)


def by_a_sign_out(world: World, target: str) -> Outcome:
    """A sign-out says where to go after it."""
    victim = Browser(world)
    victim.sign_in()
    begun = location(victim.post("/.auth/logout", {"post_logout_redirect_uri": target}))
    assert begun.startswith(SIGN_OUT_ORIGIN)
    return victim.get(f"/.auth/logged-out?state={query_of(begun)['state']}", CROSS_SITE)


DOORS = {
    "login": (by_login, "sign_in"),
    "sign-in": (by_a_sign_in, "sign_in"),
    "third party": (by_a_third_party, "sign_in"),
    "sign-out": (by_a_sign_out, "sign_out"),
}


def leads_away(door: Any, target: str) -> bool:
    """Whether a browser ends up at the attacker's."""
    outcome = door(World(), target)
    to = headers_of(outcome).get("location", "")
    return bool(to) and host_that_a_browser_goes_to(to).lower().endswith(EVIL)


@pytest.mark.parametrize("target", SPELLINGS)
@pytest.mark.parametrize("door", DOORS)
def test_open_redirect_fails_in_every_spelling_at_every_door(door: str, target: str) -> None:
    way, module = DOORS[door]
    with weakened(f"kmsi_middleware.flows.{module}.return_target", unchanged):
        assert leads_away(way, target)
    assert not leads_away(way, target)


def leads_away_from_a_page(target: str) -> bool:
    """The page that was asked for is itself spelled like another host; after the sign-in the browser goes back."""
    victim = Browser(World())
    request = victim.request("GET", "/", NAVIGATION)
    request.target = request.path = target
    url = location(victim.send(request))
    at = location(victim.come_back(url))
    to = location(victim.reply_to(at, "no"))
    return host_that_a_browser_goes_to(to).endswith(EVIL)


@pytest.mark.parametrize("target", ["//evil.example/", "///evil.example", "/\\evil.example", "/\t/evil.example"])
def test_open_redirect_by_the_path_that_was_asked_for_leads_home(target: str) -> None:
    with weakened("kmsi_middleware.flows.sign_in.return_target", unchanged):
        assert leads_away_from_a_page(target)
    assert not leads_away_from_a_page(target)


def leads_away_by_the_mount_path(world: RealWorld, root: str) -> bool:
    """A proxy passes on the mount path that the client named, as with X-Forwarded-Prefix."""
    world.app()
    server = world.at[HOME]
    scope, environ = server.scope, server.environ_of
    server.scope = lambda *args, **more: {**scope(*args, **more), "root_path": root}  # type: ignore[method-assign]
    server.environ_of = lambda *args: {**environ(*args), "SCRIPT_NAME": root}  # type: ignore[method-assign]
    said = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("accept", "text/html")]
    answer = server("GET", f"{HOME}/.auth/logged-out", said)
    links = re.findall(r'href="([^"]+)"', answer.text)
    return any(host_that_a_browser_goes_to(link, f"{HOME}/").endswith(EVIL) for link in links)


@pytest.mark.parametrize("root", ["//evil.example", "///evil.example"])
def test_open_redirect_by_the_mount_path_is_refused(stage: Any, shell: str, root: str) -> None:
    with weakened("kmsi_middleware.edges.wire.is_odd_root", never):
        assert leads_away_by_the_mount_path(stage(shell), root)
    assert not leads_away_by_the_mount_path(stage(shell), root)


# Header injection ------------------------------------------------------------------------------------------------


def splits_a_header(door: Any, target: str) -> bool:
    """Whether what the attacker gave begins a line of its own in the answer's head."""
    outcome = door(World(), target)
    assert isinstance(outcome, Reply)
    return any(re.search(r"[\r\n\0]", name + value) for name, value in outcome.headers)


LINES = ["/page\r\nset-cookie: kmsi=planted", "/page\nlocation: //evil.example", "/page\r\n\r\n<script>", "/\0"]


@pytest.mark.parametrize("target", LINES)
@pytest.mark.parametrize("door", DOORS)
def test_header_injection_by_a_return_target_is_refused(door: str, target: str) -> None:
    way, module = DOORS[door]
    with weakened(f"kmsi_middleware.flows.{module}.return_target", unchanged):
        assert splits_a_header(way, target)
    assert not splits_a_header(way, target)


def adds_a_directive(origin: str) -> bool:
    """An issuer's metadata name an endpoint whose origin goes on as another directive of our policy."""
    context = {"app_name": "Shop", "name": "Alice", "user_name": "", "action": "/.auth/kmsi", "ticket": "x", "days": 30}
    try:
        _, headers = PageRenderer().render("kmsi.html", context, form_action=("'self'", origin))
    except ValueError:
        return False
    return "script-src *" in dict(headers)["Content-Security-Policy"]


@pytest.mark.parametrize(
    "origin", ["https://login.example.com; script-src *", "x, script-src *", "'self' 'x'; script-src *"]
)
def test_header_injection_into_the_content_security_policy_is_refused(origin: str) -> None:
    with weakened("kmsi_middleware.edges.pages._SOURCE", re.compile(".+")):
        assert adds_a_directive(origin)
    assert not adds_a_directive(origin)
