"""Attacks by a path that the middleware takes for one thing, and the app, a proxy or a browser for another."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote, urljoin

import pytest
from tests.attacks.attack_support import always, never, weakened
from tests.flows.flow_support import CROSS_SITE, ORIGIN, Browser, World, location
from tests.shells.shell_support import HOME, Page
from tests.shells.shell_support import World as RealWorld
from tests.shells.test_shell_policies import PAYMENTS

from kmsi_middleware.flows import dispatch
from kmsi_middleware.rules.targets import PublicPaths

SCRIPT = [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"), ("accept", "*/*")]

# Public paths ----------------------------------------------------------------------------------------------------


def reaches_the_app(world: RealWorld, path: str, root: str = "") -> bool:
    """Nobody is signed in, and still the app is asked for what only looks public."""
    app = world.app(server={"root": root} if root else None, public_paths=["/about", "/static/*"])
    app("GET", f"{HOME}{root}{path}", SCRIPT)
    return bool(app.small.calls)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../secret",
        "/static/./../secret",
        "/static/%2e%2e/secret",
        "/static/%2E./secret",
        "/static/..%2fsecret",
        "/static/%2e%2e%2fsecret",
        "/static/%252e%252e/secret",
        "/static/..%5csecret",
        "/static/..\\secret",
        "/static/..;/secret",
        "/static/..;x=y/secret",
        "/static/%3b/../secret",
        "/static//secret",
        "/static///../secret",
        "/static/%2f../secret",
        "/static/secret%00.css",
        "/static/%0a/secret",
        "/static/a/../../secret",
        "/static/..",
        "/static/.",
    ],
)
@pytest.mark.parametrize("root", ["", "/sub"])
def test_path_confusion_below_a_public_path_is_protected(stage: Any, shell: str, path: str, root: str) -> None:
    with weakened("kmsi_middleware.rules.targets.is_normal", always):
        assert reaches_the_app(stage(shell), path, root)
    assert not reaches_the_app(stage(shell), path, root)


class WithoutCase(PublicPaths):
    """Compared as a file system or a proxy without regard to case would."""

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and super().__contains__(path.lower())


class Tidied(PublicPaths):
    """Compared without empty segments, and without what follows a semicolon."""

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and super().__contains__("/" + path.partition(";")[0].strip("/"))


@pytest.mark.parametrize(
    ("path", "by"),
    [
        ("/About", WithoutCase),
        ("/ABOUT", WithoutCase),
        ("/Static/x", WithoutCase),
        ("/about/", Tidied),
        ("//about", Tidied),
        ("/about//", Tidied),
        ("/about;jsessionid=1", Tidied),
        ("/about;/../secret", Tidied),
        ("//static/x", Tidied),
    ],
)
def test_path_confusion_by_case_or_slashes_is_protected(stage: Any, shell: str, path: str, by: Any) -> None:
    """To a router that tells them apart, these are other pages than the public ones."""
    with weakened("kmsi_middleware.flows.deployment.PublicPaths", by):
        assert reaches_the_app(stage(shell), path)
    assert not reaches_the_app(stage(shell), path)


def below_by_letters(path: str, root: str) -> str:
    return "/" + path.removeprefix(root).lstrip("/")


def is_public_beside_the_mount(stage: Any, path: str) -> bool:
    """The mount path is only how the path begins: the page is not below it."""
    world = stage("asgi-asyncio")
    app = world.app(public_paths=["/about"])
    scope = app.scope
    app.scope = lambda *args, **more: {**scope(*args, **more), "root_path": "/shop"}
    app("GET", f"{HOME}{path}", SCRIPT)
    return bool(app.small.calls)


@pytest.mark.parametrize("path", ["/shopabout", "/shop//about"])
def test_path_confusion_beside_the_mount_path_is_protected(stage: Any, path: str) -> None:
    with weakened("kmsi_middleware.edges.asgi.below", below_by_letters):
        assert is_public_beside_the_mount(stage, path)
    assert not is_public_beside_the_mount(stage, path)


# The prefix ------------------------------------------------------------------------------------------------------


def is_ours_to_the_middleware_only(stage: Any, shell: str, path: str) -> bool:
    """The app has a page of its own that looks like one of ours. Whether who is signed in is kept from it, or its
    address does something of ours."""
    world = stage(shell)
    app = world.app()
    browser = world.browser()
    browser.sign_in()
    world.clock.pass_(3_600)  # no longer settled: those that are do not go by the prefix at all
    calls = len(app.small.calls)
    browser.request("POST", path, [("sec-fetch-site", "same-origin"), ("origin", HOME), ("accept", "text/html")])
    return len(app.small.calls) == calls or browser.who() is None


def is_below_by_letters(path: str, prefix: str) -> bool:
    return path.lower().replace("//", "/").startswith(prefix)


@pytest.mark.parametrize(
    "path", ["/.authors", "/.AUTH/logout", "/.Auth/me", "//.auth/logout", "/.auth;x/logout", "/.auth.html"]
)
def test_path_confusion_of_the_prefix_leaves_the_apps_pages_to_the_app(stage: Any, shell: str, path: str) -> None:
    with weakened("kmsi_middleware.flows.dispatch.is_reserved", is_below_by_letters):
        assert is_ours_to_the_middleware_only(stage, shell, path)
    assert not is_ours_to_the_middleware_only(stage, shell, path)


def gets_past_the_prefix(stage: Any, shell: str, path: str) -> bool:
    """The app itself would answer at one of our addresses, to anybody: where all its paths are public."""
    world = stage(shell)
    app = world.app(protect="none")
    app("GET", f"{HOME}{path}", SCRIPT)
    return bool(app.small.calls)


def is_one_of_the_list(path: str, prefix: str) -> bool:
    return path.removeprefix(prefix) in dispatch.RESERVED


@pytest.mark.parametrize("path", ["/.auth", "/.auth/", "/.auth/me/", "/.auth//me", "/.auth/../.auth", "/.auth/%6de/x"])
def test_path_confusion_below_the_prefix_reaches_no_app(stage: Any, shell: str, path: str) -> None:
    with weakened("kmsi_middleware.flows.dispatch.is_reserved", is_one_of_the_list):
        assert gets_past_the_prefix(stage, shell, path)
    assert not gets_past_the_prefix(stage, shell, path)


def leads_to_one_of_ours(target: str) -> bool:
    """A link to a sign-in that ends at our own sign-out, or at another sign-in, for ever."""
    victim = Browser(World())
    victim.sign_in()
    to = location(victim.get(f"/.auth/login?post_login_redirect_uri={quote(target, safe='')}", CROSS_SITE))
    # A browser resolves dot segments, spelled either way (url.spec.whatwg.org, "double-dot path segment").
    segments = [unquote(part) if unquote(part) in (".", "..") else part for part in to.split("/")]
    return urljoin(f"{ORIGIN}/", unquote("/".join(segments))).startswith(f"{ORIGIN}/.auth/")


@pytest.mark.parametrize("target", ["/.auth/logout", "/%2eauth/logout", "/.auth%2flogout", f"{ORIGIN}/.auth/login"])
def test_path_confusion_by_a_return_target_of_ours_leads_home(target: str) -> None:
    with weakened("kmsi_middleware.rules.targets._is_below", never):
        assert leads_to_one_of_ours(target)
    assert not leads_to_one_of_ours(target)


@pytest.mark.parametrize(
    "target",
    ["/./.auth/logout", "/x/../.auth/logout", "/x/%2e%2e/.auth/logout", "/x/.%2E/.auth/logout", "/%2e/.auth/me"],
)
def test_path_confusion_by_dots_in_a_return_target_leads_home(target: str) -> None:
    with weakened("kmsi_middleware.rules.targets._has_dots", never):
        assert leads_to_one_of_ours(target)
    assert not leads_to_one_of_ours(target)


# Routes that need more -------------------------------------------------------------------------------------------


def gets_round_the_step_up(stage: Any, shell: str, path: str) -> bool:
    """Somebody who has not stepped up asks for the page by another spelling, which an app's router may tidy."""
    world = stage(shell)
    app = world.app(policies=[PAYMENTS], auth_contexts={"/payments/*": "c1"})
    browser = world.browser()
    page = browser.submit(browser.visit("/"), pick="mia")
    if "answer" in Page(page.text).buttons:
        browser.submit(page, answer="no")
    world.clock.pass_(5 * 3_600)
    calls = len(app.small.calls)
    browser.request("GET", path, SCRIPT)
    return len(app.small.calls) > calls


def as_it_stands(path: str) -> tuple[str, ...]:
    return (path,)


@pytest.mark.parametrize(
    "path",
    [
        "//payments/1",
        "/x/../payments/1",
        "/%2e/payments/1",
        "/payments%252f1",
        "/x/%2e%2e/payments/1",
        "/x//../payments/1",
        "/payments;v=1/1",
        "/x/..;/payments/1",
        "/payments%3b/1",
        "/x%5c../payments/1",
        "/payments\\1",
    ],
)
def test_path_confusion_does_not_get_round_a_step_up(stage: Any, shell: str, path: str) -> None:
    with weakened("kmsi_middleware.rules.targets._readings", as_it_stands):
        assert gets_round_the_step_up(stage, shell, path)
    assert not gets_round_the_step_up(stage, shell, path)
