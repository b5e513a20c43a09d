"""What only ASGI has: the lifespan, WebSockets, async hooks, and what Starlette's own authentication would give."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from starlette.authentication import AuthCredentials, BaseUser
from tests.shells.shell_servers import Answer
from tests.shells.shell_support import HOME, HOUR, Browser, World

from kmsi_middleware import KMSIMiddleware, Session, SettingsError, SignInFacts, SignInSignals


@pytest.fixture
def world(asgi_world: World) -> World:
    return asgi_world


@pytest.fixture
def browser(world: World) -> Browser:
    return world.browser()


def text(message: dict[str, Any]) -> Any:
    return json.loads(message["text"])


# The scope ----------------------------------------------------------------------------------------------------


def scopes(world: World) -> list[dict[str, Any]]:
    """Serves an app that notes the scopes it sees."""
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1000})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})

    world.serve(world.middleware(app, public_paths=["/public"], user_claim="preferred_username"))
    return seen


def test_the_scope_is_as_starlettes_own_authentication_gives_it(world: World, browser: Browser) -> None:
    seen = scopes(world)
    browser.sign_in()
    for _ in range(2):
        browser.visit("/page")
        browser.websocket("/chat")
    assert [scope["type"] for scope in seen[-4:]] == ["http", "websocket"] * 2
    for scope in seen:
        assert isinstance(scope["kmsi"], Session)
        user = scope["user"]
        assert isinstance(user, BaseUser)
        assert user.is_authenticated
        assert (user.display_name, user.identity) == ("Mia Member", "mia@contoso.example")
        assert user.claims == dict(scope["kmsi"].claims)
        assert isinstance(scope["auth"], AuthCredentials)
        assert list(scope["auth"].scopes) == ["authenticated"]
        assert isinstance(scope["session"], dict)
        assert scope["kmsi.session"] is scope["session"]


def test_the_anonymous_scope(world: World, browser: Browser) -> None:
    seen = scopes(world)
    browser.visit("/public")
    browser.websocket("/public")
    for scope in seen:
        assert scope["kmsi"] is None
        assert (scope["user"].is_authenticated, list(scope["auth"].scopes)) == (False, [])
        assert scope["session"] == scope["kmsi.session"] == {}
        with pytest.raises(TypeError, match="no session"):
            scope["session"]["x"] = 1


def test_one_requests_data_is_not_anothers(world: World, browser: Browser) -> None:
    seen = scopes(world)
    browser.sign_in()
    browser.visit("/a")
    browser.visit("/b")
    seen[-1]["session"]["late"] = [1]
    assert seen[-2]["session"] == {}
    browser.visit("/c")
    assert seen[-1]["session"] == {}


def test_an_unknown_kind_of_scope_passes(world: World) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    server = world.serve(world.middleware(app))
    server.play(server.app, {"type": "other"}, None, None)
    assert seen == [{"type": "other"}]


# The lifespan -------------------------------------------------------------------------------------------------


def test_the_lifespan_passes(world: World, browser: Browser) -> None:
    app = world.app()
    sent = app.lifespan()
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert app.small.calls == ["startup", "shutdown"]
    browser.sign_in()  # what was closed opens again


def test_the_end_of_the_lifespan_closes_every_database(stage: Any) -> None:
    world: World = stage("asgi-asyncio", "sqlite")
    app = world.app()
    world.browser().sign_in()
    folder = world.folder / "main"
    names = {"sessions.sqlite3", "sign-ins.sqlite3", "idp.sqlite3"}
    assert names < {path.name for path in folder.iterdir()}
    app.lifespan()
    left = [path.name for path in folder.iterdir() if path.name.endswith("-wal")]
    assert left == []  # who closes last takes the write-ahead log away


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["issuer", "embedded for development"]),
        ({"issuer": "embedded", "session_lifetime": 5}, ["session_lifetime", "5", "900 to 86,400 seconds"]),
        ({"issuer": "embedded", "sesion_lifetime": 900}, ["sesion_lifetime", "did you mean session_lifetime?"]),
        ({"issuer": "https://login.example.com", "client_id": "x"}, ["secret_keys", "openssl rand"]),
        ({"issuer": "embedded", "base_url": "https://app.example.com"}, ["issuer", "loopback"]),
        ({"issuer": "embedded", "idp_config": "nowhere.toml"}, ["idp_config", "nowhere.toml"]),
        ({"issuer": "embedded", "store": "mongodb://x"}, ["store", "sqlite:PATH"]),
        ({"issuer": "embedded", "templates": "/nowhere"}, ["templates", "/nowhere"]),
    ],
)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_setting_that_can_not_work_stops_the_start_up(
    settings: dict[str, Any], words: list[str], backend: str, caplog: pytest.LogCaptureFixture, stage: Any
) -> None:
    stage("asgi-asyncio")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the app must not run")

    with pytest.raises(SettingsError) as raised:
        KMSIMiddleware(app, **settings)
    sent: list[Any] = []

    async def start() -> None:
        async def receive() -> Any:
            return {"type": "lifespan.startup"}

        async def send(message: Any) -> None:
            sent.append(message)

        late = KMSIMiddleware(app, **settings)  # as Starlette's add_middleware, when the server runs
        with pytest.raises(SettingsError):  # after the message: who runs it in the same process hears of it so
            await late({"type": "lifespan"}, receive, send)
        with pytest.raises(SettingsError):
            await late({"type": "http"}, receive, send)

    anyio.run(start, backend=backend)
    (message,) = sent
    assert message["type"] == "lifespan.startup.failed"
    for word in words:
        assert word in message["message"]
        assert word in str(raised.value)
        assert word in caplog.text


# WebSockets ---------------------------------------------------------------------------------------------------


def test_a_handshake_without_a_session_is_refused_with_401(world: World, browser: Browser) -> None:
    app = world.app()
    start, body = browser.websocket("/chat")
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert dict(start["headers"])[b"content-type"] == b"application/problem+json"
    assert json.loads(body["body"])["code"] == "no_session"
    assert app.small.calls == []


def test_or_closed_before_it_is_accepted_where_the_server_can_not_answer(world: World, browser: Browser) -> None:
    app = world.app()
    (close,) = browser.websocket("/chat", denial=False)
    assert close["type"] == "websocket.close"
    browser.sign_in()
    (close,) = browser.websocket("/chat", "https://evil.example/", denial=False)
    assert close["type"] == "websocket.close"
    assert not [call for call in app.small.calls if call.startswith("WS")]


def test_with_a_session_a_websocket_sees_it_and_its_data_is_kept(world: World, browser: Browser) -> None:
    world.app()
    browser.sign_in(at="/set?x=1")
    for number in (1, 2):
        accept, said, _ = browser.websocket("/chat")
        assert accept["type"] == "websocket.accept"
        assert text(said)["data"] == {"x": "1", "chats": number}
        assert text(said)["scopes"] == ["authenticated"]
        assert browser.visit("/page").json()["data"] == {"x": "1", "chats": number}
        assert text(said)["user"] == browser.visit("/page").json()["user"]


@pytest.mark.parametrize("source", ["https://evil.example/", "http://localhost:9999/", "https://localhost:8000/"])
def test_a_page_of_another_origin_gets_403(world: World, browser: Browser, source: str) -> None:
    world.app(websocket_origins=["https://friend.example"], public_paths=["/public"])
    browser.sign_in()
    for path in ("/chat", "/public"):
        start, _ = browser.websocket(path, source)
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)


def test_a_handshake_that_names_no_origin_gets_403(world: World, browser: Browser) -> None:
    app = world.app()
    browser.sign_in()
    start, _ = app.websocket(f"{HOME}/chat", browser._cookies(HOME))
    assert start["status"] == 403


def test_a_page_of_an_allowed_origin_may_connect(world: World, browser: Browser) -> None:
    world.app(websocket_origins=["https://friend.example"])
    browser.sign_in()
    assert browser.websocket("/chat", "https://friend.example/")[0]["type"] == "websocket.accept"
    assert browser.websocket("/chat", "https://FRIEND.example/")[0]["type"] == "websocket.accept"


def test_behind_tls_the_origin_is_base_urls(world: World) -> None:
    origin = "https://app.example"
    world.provider(origin)
    server = world.client(origin, {"behind_tls": True})
    browser = world.browser()
    browser.sign_in(at=f"{origin}/page")
    assert browser.websocket(f"{origin}/chat", f"{origin}/")[0]["type"] == "websocket.accept"
    refused = browser.websocket(f"{origin}/chat", "http://app.example/")
    assert refused[0]["status"] == 403
    assert server.small.calls[-1] == "WS /chat"


def test_a_handshake_extends_nothing(world: World, browser: Browser) -> None:
    world.app(session_lifetime=3_600)
    browser.sign_in("mia", "no")
    world.clock.pass_(HOUR // 2)
    end = browser.fetch("/.auth/me").json()["session"]["expires_at"]
    browser.websocket("/chat")
    assert browser.fetch("/.auth/me").json()["session"]["expires_at"] == end
    world.clock.pass_(HOUR // 2)
    assert browser.websocket("/chat")[0]["status"] == 401


def test_a_websocket_on_a_reserved_path_is_refused(world: World, browser: Browser) -> None:
    app = world.app()
    browser.sign_in()
    for path in ("/.auth/me", "/.auth/idp/authorize"):
        start, _ = browser.websocket(path)
        assert start["status"] == 404
    assert not [call for call in app.small.calls if call.startswith("WS")]


def test_a_websocket_on_a_foreign_host_is_refused(world: World) -> None:
    app = world.app()
    world.at["http://evil.example"] = app
    start, _ = world.browser().websocket("http://evil.example/chat", "http://evil.example/")
    assert start["status"] == 421


# Hooks --------------------------------------------------------------------------------------------------------


class Hook:
    """Knows who is at risk; a function, an async one, or objects that are called."""

    def __init__(self) -> None:
        self.facts: list[SignInFacts] = []

    def plain(self, facts: SignInFacts) -> dict[str, Any]:
        self.facts.append(facts)
        return {"risk": facts.claims.get("risk")}

    async def awaited(self, facts: SignInFacts) -> SignInSignals:
        await anyio.lowlevel.checkpoint()
        self.facts.append(facts)
        return SignInSignals(risk=facts.claims.get("risk"))


class AsyncCall(Hook):
    async def __call__(self, facts: SignInFacts) -> SignInSignals:
        return await self.awaited(facts)


@pytest.mark.parametrize("kind", ["plain", "awaited", "object"])
def test_sign_in_signals_may_be_sync_or_async(world: World, browser: Browser, kind: str) -> None:
    hook = AsyncCall()
    app = world.app(sign_in_signals=hook if kind == "object" else getattr(hook, kind))
    browser.sign_in("rita", None)
    (record,) = app.parts.services.log.read(now=world.clock.now)
    assert (record["kmsi"]["decision"], record["riskLevelDuringSignIn"]) == ("high_risk", "high")
    (facts,) = hook.facts
    assert facts.claims["name"] == "Rita Risk"
    assert (facts.client_address, facts.user_agent) == ("127.0.0.1", "Test-Browser/1.0")
    browser.sign_out()
    browser.sign_in("mia", "yes")


# What the app sends -------------------------------------------------------------------------------------------


def test_the_apps_own_header_list_is_not_changed(world: World, browser: Browser) -> None:
    headers = [(b"content-type", b"text/html")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    world.serve(world.middleware(app))
    browser.sign_in()
    for _ in range(3):
        answer = browser.visit("/page")
        assert (answer.all("vary"), answer.all("cache-control")) == (["Cookie"], ["no-store"])
    assert headers == [(b"content-type", b"text/html")]


def test_a_response_without_headers_is_one(world: World, browser: Browser) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"ok"})

    world.serve(world.middleware(app, public_paths=["/public"]))
    assert browser.visit("/public").all("vary") == ["Cookie"]
    browser.sign_in()
    answer: Answer = browser.visit("/page")
    assert (answer.body, answer.all("cache-control")) == (b"ok", ["private"])


def test_an_app_that_fails_fails_for_the_server_to_see(world: World, browser: Browser) -> None:
    world.app()
    browser.sign_in()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the app failed"):
            browser.visit("/crash")
    assert browser.who() == "Mia Member"
