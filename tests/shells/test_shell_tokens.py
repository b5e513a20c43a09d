"""Access tokens and revalidation against a real provider, which rotates its refresh tokens: through every shell."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from tests.shells.shell_servers import Answer, Server
from tests.shells.shell_support import HOME, HOUR, IDP, Browser, Page, World
from tests.shells.token_app import TokenApp

from kmsi_middleware.errors import ProviderUnavailable, SessionEnded, StoreUnavailable

OFFLINE = "openid profile email offline_access"


class Provider:
    """The provider as this app reaches it: what it is asked, and whether it answers."""

    def __init__(self, server: Server) -> None:
        self.client = server.parts.services.provider
        self.asked: list[str] = []
        self.is_away = False
        self.meanwhile: Callable[[], Any] = lambda: None
        fetch, fetch_async = self.client.fetch, self.client.fetch_async

        def watched(request: Any, *more: Any) -> Any:
            self._see(request)
            answer = fetch(request, *more)
            self.meanwhile()
            return answer

        async def watched_async(request: Any, *more: Any) -> Any:
            self._see(request)
            answer = await fetch_async(request, *more)
            self.meanwhile()
            return answer

        self.client.fetch, self.client.fetch_async = watched, watched_async

    def _see(self, request: Any) -> None:
        if self.is_away:
            raise ProviderUnavailable("away")
        form = request.form or {}
        self.asked.append(form.get("grant_type") or form.get("token_type_hint") or request.url.rpartition("/")[2])

    @property
    def refreshes(self) -> int:
        return self.asked.count("refresh_token")


def serve(world: World, **settings: Any) -> tuple[Server, Provider]:
    world.provider(HOME)
    app = TokenApp()
    inner = app.wsgi if world.shell == "wsgi" else app.asgi
    fixed = {"issuer": IDP, "client_id": HOME, "secret_keys": ["k" * 32], "base_url": HOME, "scope": OFFLINE}
    server = world.serve(world.middleware(inner, **{**fixed, **settings}), small=app)
    return server, Provider(server)


def at_provider(browser: Browser, event: str, user: str = "mia") -> None:
    """Something that an administrator does there."""
    answer = browser.post(f"{IDP}/users", {"user": user, "event": event}, source=f"{IDP}/users")
    assert answer.status == 200, answer.text


def whose(world: World, token: str) -> str:
    """What the provider's own API says to a token: whose it is."""
    answer = world.at[IDP]("GET", f"{IDP}/userinfo", [("authorization", f"Bearer {token}")])
    return str(answer.json()["name"]) if answer.status == 200 else ""


@pytest.fixture
def admin(world: World) -> Browser:
    return world.browser()


# Tokens -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/token", "/thread", "/data"])
def test_the_app_calls_an_api_as_the_person(world: World, browser: Browser, path: str) -> None:
    _, provider = serve(world)
    token = browser.sign_in("mia", "yes", at=path).json()["token"]
    assert whose(world, token) == "Mia Member"
    asked = len(provider.asked)
    assert browser.visit(path).json()["token"] == token
    assert len(provider.asked) == asked


@pytest.mark.parametrize("path", ["/token", "/thread"])
def test_a_token_is_replaced_before_it_ends(world: World, browser: Browser, path: str) -> None:
    _, provider = serve(world)
    first = browser.sign_in("mia", "yes", at=path).json()["token"]
    cookie = browser.session_cookie()
    for hour in range(1, 4):
        world.clock.pass_(HOUR - 59)
        token = browser.fetch(path).json()["token"]
        assert token != first
        assert whose(world, token) == "Mia Member"
        assert provider.refreshes == hour
        first = token
    assert cookie is not None
    assert browser.session_cookie().value == cookie.value  # type: ignore[union-attr]


def test_what_the_app_wrote_in_the_same_request_is_kept(world: World, browser: Browser) -> None:
    serve(world)
    browser.sign_in("mia", "yes", at="/caught")
    world.clock.pass_(HOUR)
    assert browser.visit("/data").json()["data"] == {"x": 1}
    assert browser.visit("/data").json()["data"] == {"x": 1}


def test_many_requests_at_once_are_one_refresh(world: World, browser: Browser) -> None:
    server, provider = serve(world)
    browser.sign_in("mia", "yes", at="/caught")
    world.clock.pass_(HOUR)
    found: list[str] = []
    if world.shell == "wsgi":

        def visit() -> None:
            found.append(browser.fetch("/token").json()["token"])

        threads = [threading.Thread(target=visit) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    else:
        cookies = browser._cookies(HOME)
        scopes = [server.scope("GET", f"{HOME}/token", [("host", "localhost:8000"), *cookies], "") for _ in range(12)]

        async def visit_async(scope: Any) -> None:
            async def send(message: Any) -> None:
                if message["type"] == "http.response.body":
                    found.append(message["body"])

            await server.app(scope, None, send)

        async def run() -> None:
            async with anyio.create_task_group() as tasks:
                for scope in scopes:
                    tasks.start_soon(visit_async, scope)

        server.play(run)
    assert len(found) == 12
    assert len(set(found)) == 1
    assert provider.refreshes == 1


@pytest.mark.parametrize("shell", ["asgi-asyncio", "asgi-trio"])
def test_a_caller_that_is_cancelled_loses_no_token(stage: Any, shell: str) -> None:
    """The browser has gone, or the app's own time is over: between the provider's answer and the store."""
    world: World = stage(shell, "sqlite")  # which is written to on a thread, and so can be interrupted before
    browser = world.browser()
    server, provider = serve(world, store=world.store_of("main"))
    browser.sign_in("mia", "yes", at="/caught")
    world.clock.pass_(HOUR)
    scope = server.scope("GET", f"{HOME}/token", [("host", "localhost:8000"), *browser._cookies(HOME)], "")

    async def run() -> None:
        async def send(_: Any) -> None: ...

        if world.shell == "asgi-asyncio":
            task = asyncio.create_task(server.app(scope, None, send))
            provider.meanwhile = task.cancel
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.gather(*(item for item in asyncio.all_tasks() if item is not asyncio.current_task()))
            return
        with anyio.CancelScope() as cancelled:
            provider.meanwhile = cancelled.cancel
            await server.app(scope, None, send)
        assert cancelled.cancel_called

    server.play(run)
    assert provider.refreshes == 1
    provider.meanwhile = lambda: None
    assert whose(world, browser.fetch("/token").json()["token"]) == "Mia Member"
    assert provider.refreshes == 1
    world.clock.pass_(HOUR)
    assert whose(world, browser.fetch("/token").json()["token"]) == "Mia Member"


# What cannot be had ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/token", "/thread", "/framework"])
def test_an_account_that_was_disabled_ends_the_session(
    world: World, browser: Browser, admin: Browser, path: str
) -> None:
    """The app handles no error: it fails, by an exception or with its framework's 500."""
    serve(world)
    browser.sign_in("mia", "yes", at="/caught")
    at_provider(admin, "disable")
    world.clock.pass_(HOUR)
    problem = browser.fetch(path)
    assert problem.status == 401
    assert (problem.json()["code"], problem.json()["reason"]) == ("session_revoked", "revoked")
    assert browser.who() is None


@pytest.mark.parametrize("event", ["disable", "revoke"])
@pytest.mark.parametrize("path", ["/token", "/framework"])
def test_a_person_is_told_and_signs_in_really(
    world: World, browser: Browser, admin: Browser, event: str, path: str
) -> None:
    serve(world)
    browser.sign_in("mia", "yes", at="/caught")
    at_provider(admin, event)
    world.clock.pass_(HOUR)
    page = browser.visit(path)
    assert page.status == 401
    assert "Your session was ended" in page.text
    (sign_in,) = Page(page.text).links
    page = browser.click(sign_in, on=page)
    assert page.url.startswith(f"{IDP}/authorize?")
    assert "prompt=login" in page.url
    assert "pick" in Page(page.text).buttons


def test_a_changed_password_reaches_us_too(world: World, browser: Browser, admin: Browser) -> None:
    serve(world)
    browser.sign_in("mia", "yes", at="/caught")
    fields = {"user": "mia", "event": "change_password", "password": "another one"}
    admin.post(f"{IDP}/users", fields, source=f"{IDP}/users")
    world.clock.pass_(HOUR)
    assert browser.fetch("/token").json()["code"] == "session_revoked"


def test_an_app_that_handles_the_error_has_the_last_word(world: World, browser: Browser, admin: Browser) -> None:
    serve(world)
    browser.sign_in("mia", "yes", at="/caught")
    at_provider(admin, "disable")
    world.clock.pass_(HOUR)
    answer = browser.fetch("/caught")
    assert (answer.status, answer.json()) == (200, {"code": "session_ended"})


def test_a_failure_of_the_apps_own_is_its_own(world: World, browser: Browser) -> None:
    serve(world)
    browser.sign_in("mia", "yes", at="/caught")
    answer = browser.fetch("/apart")
    assert (answer.status, answer.json()) == (500, {})


@pytest.mark.parametrize("path", ["/token", "/thread", "/framework"])
def test_a_public_page_that_wants_a_token_wants_a_sign_in(world: World, browser: Browser, path: str) -> None:
    serve(world, public_paths=[path])
    assert browser.fetch(path).json()["code"] == "no_session"
    assert browser.visit(path).url.startswith(f"{IDP}/authorize?")
    assert browser.sign_in("mia", "yes", at=path).json()["token"]


@pytest.mark.parametrize("path", ["/token", "/thread", "/framework"])
def test_while_the_provider_is_away_nobody_is_signed_out(world: World, browser: Browser, path: str) -> None:
    _, provider = serve(world)
    browser.sign_in("mia", "yes", at="/caught")
    world.clock.pass_(HOUR)
    provider.is_away = True
    for _ in range(2):
        answer = browser.fetch(path)
        assert (answer.status, answer.json()["code"]) == (503, "provider_unavailable")
        assert answer.header("retry-after")
    assert browser.who() == "Mia Member"
    provider.is_away = False
    world.clock.pass_(60)
    assert whose(world, browser.fetch(path).json()["token"]) == "Mia Member"


def test_an_error_after_the_response_has_started_is_the_apps(world: World, browser: Browser, admin: Browser) -> None:
    serve(world)
    browser.sign_in("mia", "yes", at="/caught")
    at_provider(admin, "disable")
    world.clock.pass_(HOUR)
    with pytest.raises(SessionEnded):
        browser.fetch("/late")


def test_a_wsgi_app_may_ask_when_its_body_is(wsgi_world: World) -> None:
    browser, admin = wsgi_world.browser(), wsgi_world.browser()
    serve(wsgi_world)
    assert browser.sign_in("mia", "yes", at="/generator").json()["token"]
    at_provider(admin, "disable")
    wsgi_world.clock.pass_(HOUR)
    assert browser.fetch("/generator").json()["code"] == "session_revoked"


def test_without_a_refresh_token_the_app_is_told(world: World, browser: Browser) -> None:
    serve(world, scope="openid")
    assert browser.sign_in("gus", None, at="/token").json()["token"]
    world.clock.pass_(HOUR)
    assert browser.fetch("/caught").json() == {"code": "access_token_expired"}
    assert browser.fetch("/framework").status == 500


def test_waiting_in_async_code_is_refused(asgi_world: World) -> None:
    serve(asgi_world)
    browser = asgi_world.browser()
    browser.sign_in("mia", "yes", at="/caught")
    with pytest.raises(RuntimeError, match="await access_token_async"):
        browser.fetch("/wrong")


def test_a_store_that_fails_at_the_save_loses_nothing(world: World, browser: Browser) -> None:
    server, provider = serve(world)
    browser.sign_in("mia", "yes", at="/caught")
    world.clock.pass_(HOUR)
    store = server.parts.services.store
    save = store.save

    def fails(*_: Any) -> None:
        raise StoreUnavailable("the disk is full")

    def fill_the_disk() -> None:
        if provider.refreshes:
            store.save = fails

    provider.meanwhile = fill_the_disk
    for _ in range(2):
        answer = browser.fetch("/token")
        assert (answer.status, answer.json()["code"]) == (503, "store_unavailable")
    assert provider.refreshes == 1
    provider.meanwhile = lambda: None
    store.save = save
    assert whose(world, browser.fetch("/token").json()["token"]) == "Mia Member"
    assert provider.refreshes == 1
    world.clock.pass_(HOUR)
    assert whose(world, browser.fetch("/token").json()["token"]) == "Mia Member"


# Sign-out -----------------------------------------------------------------------------------------------------------


def test_at_a_sign_out_the_tokens_are_given_back(world: World, browser: Browser) -> None:
    _, provider = serve(world)
    token = browser.sign_in("mia", "yes", at="/token").json()["token"]
    assert whose(world, token) == "Mia Member"
    browser.sign_out()
    assert provider.asked[-2:] == ["refresh_token", "access_token"]
    assert whose(world, token) == ""


def test_a_provider_that_takes_nothing_back_fails_no_sign_out(world: World, browser: Browser) -> None:
    _, provider = serve(world)
    browser.sign_in("mia", "yes", at="/token")
    see = provider._see

    def refuses(request: Any) -> None:
        see(request)
        if "revoke" in request.url:
            raise ProviderUnavailable("no")

    provider._see = refuses  # type: ignore[method-assign]
    assert "/end-session" in browser.post(f"{HOME}/.auth/logout", {}).url
    assert browser.who() is None


# Revalidation ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["disable", "revoke"])
def test_within_the_interval_a_refresh_token_tells(world: World, browser: Browser, admin: Browser, event: str) -> None:
    _, provider = serve(world, revalidate_every=300)
    browser.sign_in("mia", "yes", at="/caught")
    at_provider(admin, event)
    assert browser.fetch("/caught").status == 200
    world.clock.pass_(300)
    assert browser.fetch("/caught").json()["code"] == "session_revoked"
    assert provider.refreshes == 1


def test_a_session_that_stands_is_asked_about_once_in_each_interval(world: World, browser: Browser) -> None:
    _, provider = serve(world, revalidate_every=300)
    browser.sign_in("mia", "yes", at="/caught")
    for number in range(1, 5):
        world.clock.pass_(300)
        for _ in range(3):
            assert browser.fetch("/caught").status == 200
        assert provider.refreshes == number


def silent(answer: Answer) -> bool:
    """Whether the way to this answer led by the provider, and silently."""
    return any(hop.url.startswith(f"{IDP}/authorize?") and "prompt=none" in hop.url for hop in answer.trail)


def test_without_a_refresh_token_a_navigation_tells(world: World, browser: Browser, admin: Browser) -> None:
    serve(world, scope="openid profile", revalidate_every=300)
    browser.sign_in("mia", "yes", at="/caught")
    cookie = browser.session_cookie()
    world.clock.pass_(300)
    answer = browser.visit("/caught")
    assert silent(answer)
    assert answer.status == 200
    assert cookie is not None
    assert browser.session_cookie().value == cookie.value  # type: ignore[union-attr]
    assert not silent(browser.visit("/caught"))
    at_provider(admin, "disable")
    world.clock.pass_(300)
    assert browser.fetch("/caught").status == 200  # in the background it goes on
    page = browser.visit("/caught")
    assert silent(page)
    assert "pick" in Page(page.text).buttons
    assert browser.fetch("/caught").json()["code"] == "session_revoked"


def test_a_sign_out_at_the_provider_alone_is_noticed(world: World, browser: Browser, admin: Browser) -> None:
    """Where neither channel of logout works."""
    serve(world, scope="openid profile", revalidate_every=300)
    browser.sign_in("mia", "yes", at="/caught")
    browser.jar = {key: cookie for key, cookie in browser.jar.items() if key[0] != "127.0.0.1"}
    assert browser.visit("/caught").status == 200
    world.clock.pass_(300)
    page = browser.visit("/caught")
    assert "pick" in Page(page.text).buttons
    assert browser.who() is None


def test_a_provider_that_is_away_holds_up_and_ends_nobody(world: World, browser: Browser) -> None:
    for scope in (OFFLINE, "openid profile"):
        world.at.clear()
        here = world.browser()
        _, provider = serve(world, scope=scope, revalidate_every=300, store=world.store_of(scope))
        here.sign_in("mia", "yes", at="/caught")
        provider.is_away = True
        for _ in range(4):
            world.clock.pass_(300)
            assert here.visit("/caught").status == 200
            assert here.fetch("/caught").status == 200
        provider.is_away = False
        world.clock.pass_(300)
        assert here.visit("/caught").status == 200


USER_FLOWS = {"B2C_1_sign_in": {"kind": "sign_up_and_sign_in"}, "B2C_1_reset": {"kind": "password_reset"}}


@pytest.mark.parametrize("scope", [OFFLINE, "openid profile"])
def test_a_session_that_came_through_a_user_flow_is_asked_about_there(
    world: World, browser: Browser, scope: str
) -> None:
    """Each of Azure AD B2C's user flows has endpoints of its own."""
    provider = Provider(world.app(user_flows=USER_FLOWS, scope=scope, revalidate_every=300))
    page = browser.submit(browser.submit(browser.visit("/page"), pick="mia"), answer="yes")
    assert page.status == 200
    world.clock.pass_(300)
    answer = browser.visit("/page")
    assert answer.status == 200
    assert provider.refreshes == (1 if "offline_access" in scope else 0)
    sent = [hop.url for hop in answer.trail]
    assert any("/b2c_1_sign_in/oauth2/v2.0/authorize?" in url for url in sent) == ("offline_access" not in scope)
    assert browser.visit("/page").trail == []
    assert browser.who() == "Mia Member"
