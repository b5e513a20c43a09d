"""``kmsi_middleware.testing``, and the recipes of ``docs/testing.md``: how apps are tested that have the middleware."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from flask import Flask, jsonify
from flask import request as flask_request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket
from tests.shells.shell_support import DAY, HOUR, Clock
from werkzeug.middleware.proxy_fix import ProxyFix

from kmsi_middleware import KMSIMiddleware, SettingsError
from kmsi_middleware.errors import NoAccessToken
from kmsi_middleware.sessions import Sessions
from kmsi_middleware.testing import session_cookie
from kmsi_middleware.tokens import access_token
from kmsi_middleware.wsgi import KMSIMiddleware as WSGIMiddleware

MIA = {"sub": "mia", "name": "Mia Member", "roles": ["admin"]}
LOCAL: dict[str, Any] = {"issuer": "embedded", "store": "memory:"}
REAL: dict[str, Any] = {
    "issuer": "https://login.example.com",
    "client_id": "app",
    "secret_keys": ["k" * 32],
    "store": "memory:",
    "base_url": "https://app.example.com",
}

EVERYONE = {
    "users": {"includeUsers": ["All"]},
    "applications": {"includeApplications": ["All"]},
    "clientAppTypes": ["all"],
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shown(request: Request) -> JSONResponse:
    session = request.scope["kmsi"]
    return JSONResponse(
        {
            "id": request.user.identity,
            "name": request.user.display_name,
            "roles": request.user.claims["roles"],
            "issuer": session.issuer,
            "persistent": session.persistent,
            "decision": session.decision,
            "second_factor": session.second_factor_at is not None,
        }
    )


async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.user.display_name)
    await websocket.close()


ROUTES = [Route("/", shown), WebSocketRoute("/chat", chat)]


def starlette_app(**settings: Any) -> Starlette:
    app = Starlette(routes=ROUTES)
    app.add_middleware(KMSIMiddleware, **settings)
    return app


def flask_app(**settings: Any) -> Flask:
    app = Flask(__name__)

    @app.get("/")
    def home() -> Any:
        session = flask_request.environ["kmsi"]
        return jsonify(
            {
                "id": flask_request.environ["REMOTE_USER"],
                "name": session.name,
                "roles": session.claims["roles"],
                "issuer": session.issuer,
                "persistent": session.persistent,
                "decision": session.decision,
                "second_factor": session.second_factor_at is not None,
            }
        )

    app.wsgi_app = WSGIMiddleware(app.wsgi_app, **settings)  # type: ignore[method-assign]
    return app


def seen(app: Any, cookie: tuple[str, str], url: str = "http://localhost") -> Any:
    """What the app makes of a request with this cookie, by its own framework's client."""
    if isinstance(app, Flask):
        flask_client = app.test_client()
        flask_client.set_cookie(*cookie, domain=url.partition("//")[2].partition(":")[0])
        answer = flask_client.get("/", base_url=url)
        return answer.json if answer.status_code == 200 else answer.status_code
    client = TestClient(app, base_url=url)
    client.cookies.set(*cookie)
    response = client.get("/")
    return response.json() if response.status_code == 200 else response.status_code


apps = pytest.mark.parametrize("make", [starlette_app, flask_app])


@apps
def test_a_view_sees_the_person_as_after_a_sign_in(make: Any) -> None:
    app = make(**LOCAL)
    assert seen(app, session_cookie(app, MIA)) == {
        "id": "mia",
        "name": "Mia Member",
        "roles": ["admin"],
        "issuer": "http://localhost/.auth/idp",
        "persistent": False,
        "decision": "answered_no",
        "second_factor": False,
    }
    for cookie in (("kmsi-80", "x" * 43), ("kmsi", "mia")):
        assert seen(app, cookie) == 401


@apps
def test_it_is_a_session_of_its_own_each_time(make: Any) -> None:
    app = make(**LOCAL)
    mia, noa = session_cookie(app, MIA), session_cookie(app, {**MIA, "sub": "noa"}, persistent=True)
    assert (seen(app, mia)["id"], seen(app, mia)["persistent"]) == ("mia", False)
    assert (seen(app, noa)["id"], seen(app, noa)["persistent"], seen(app, noa)["decision"]) == (
        "noa",
        True,
        "answered_yes",
    )


@apps
@pytest.mark.parametrize(
    ("settings", "url", "name", "issuer"),
    [
        (LOCAL, "http://localhost:5000", "kmsi-5000", "http://localhost:5000/.auth/idp"),
        (LOCAL, "http://127.0.0.1", "kmsi-80", "http://127.0.0.1/.auth/idp"),
        (REAL, "http://localhost", "__Host-kmsi", "https://login.example.com"),
        ({**REAL, "base_url": "http://localhost:9000"}, "http://localhost", "kmsi-9000", "https://login.example.com"),
        ({**LOCAL, "cookie_name": "mine"}, "http://localhost", "mine-80", "http://localhost/.auth/idp"),
    ],
)
def test_the_cookie_is_the_one_that_the_settings_name(
    make: Any, settings: dict[str, Any], url: str, name: str, issuer: str
) -> None:
    app = make(**settings)
    cookie = session_cookie(app, MIA, url=url)
    assert cookie[0] == name
    assert seen(app, cookie, url)["issuer"] == issuer


@apps
def test_all_that_ends_sessions_ends_it(make: Any) -> None:
    clock = Clock()
    app = make(**LOCAL, clock=clock)
    cookie = session_cookie(app, MIA)
    assert seen(app, cookie)["id"] == "mia"
    clock.pass_(DAY)
    assert seen(app, cookie) == 401


@apps
def test_it_lies_in_the_middlewares_own_store(make: Any, tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'sessions.sqlite3'}"
    app = make(**{**REAL, "store": store})
    cookie = session_cookie(app, MIA)
    assert seen(app, cookie)["id"] == "mia"
    with Sessions(store=store) as sessions:
        (session,) = sessions.list_user(issuer="https://login.example.com", subject="mia")
        assert sessions.revoke(session) == 1
    assert seen(app, cookie) == 401


@apps
def test_policies_hold_for_it(make: Any) -> None:
    multi_factor = {
        "displayName": "Multi-factor",
        "state": "enabled",
        "conditions": EVERYONE,
        "grantControls": {"operator": "OR", "builtInControls": ["mfa"]},
    }
    app = make(**LOCAL, policies=[multi_factor])
    assert seen(app, session_cookie(app, MIA)) == 401
    assert seen(app, session_cookie(app, {**MIA, "amr": ["pwd", "mfa"]}))["second_factor"] is True


@apps
def test_an_old_auth_time_makes_a_sign_in_fall_due(make: Any) -> None:
    hourly = {
        "displayName": "Hourly",
        "state": "enabled",
        "conditions": EVERYONE,
        "sessionControls": {
            "signInFrequency": {"isEnabled": True, "frequencyInterval": "timeBased", "value": 1, "type": "hours"}
        },
    }
    clock = Clock()
    app = make(**LOCAL, policies=[hourly], background_grace=0, clock=clock)
    assert seen(app, session_cookie(app, MIA))["id"] == "mia"
    assert seen(app, session_cookie(app, {**MIA, "auth_time": int(clock.now) - HOUR})) == 401


def test_there_is_no_token_of_the_providers() -> None:
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse(access_token(request)))])
    app.add_middleware(KMSIMiddleware, **LOCAL)
    client = TestClient(app, base_url="http://localhost", cookies=dict([session_cookie(app)]))
    with pytest.raises(NoAccessToken):
        client.get("/")


@apps
def test_claims_that_every_id_token_has_are_there(make: Any) -> None:
    clock = Clock()
    app = make(**{**REAL, "clock": clock})
    name, value = session_cookie(app, {"roles": []})
    assert seen(app, (name, value))["id"] == "somebody"
    client: Any = app.test_client() if isinstance(app, Flask) else TestClient(app, base_url="http://localhost")
    client.set_cookie(name, value) if isinstance(app, Flask) else client.cookies.set(name, value)
    answer = client.get("/.auth/me")
    claims = (answer.json if isinstance(app, Flask) else answer.json())["user"]["claims"]
    now = int(clock.now)
    assert claims == {
        "iss": "https://login.example.com",
        "aud": "app",
        "sub": "somebody",
        "iat": now,
        "exp": now + 3_600,
        "auth_time": now,
        "roles": [],
    }


# Where the middleware is --------------------------------------------------------------------------------------


def starlette_around() -> Any:
    inside = [Middleware(GZipMiddleware), Middleware(KMSIMiddleware, **LOCAL)]
    return Starlette(routes=ROUTES, middleware=inside)


def fastapi() -> Any:
    app = FastAPI()
    app.get("/", response_model=None)(shown)
    app.add_middleware(KMSIMiddleware, **LOCAL)
    return app


def bare() -> Any:
    return KMSIMiddleware(Starlette(routes=ROUTES), **LOCAL)


def behind_a_proxy_fix() -> Any:
    app = flask_app(**LOCAL)
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    return app


@pytest.mark.parametrize("make", [starlette_around, bare, behind_a_proxy_fix])
def test_it_is_found_wherever_it_is(make: Any) -> None:
    app = make()
    assert seen(app, session_cookie(app, MIA))["id"] == "mia"


def test_it_is_found_in_fastapi_before_and_after_the_first_request() -> None:
    app = fastapi()
    before = session_cookie(app, MIA)
    with TestClient(app, base_url="http://localhost", cookies=dict([before])) as client:
        assert client.get("/.auth/me").json()["user"]["id"] == "mia"
        client.cookies.clear()
        assert client.get("/").status_code == 401
        client.cookies.set(*session_cookie(app, {"sub": "noa"}))
        assert client.get("/.auth/me").json()["user"]["id"] == "noa"


def test_a_mounted_one_is_given_itself() -> None:
    inner = KMSIMiddleware(Starlette(routes=ROUTES), **LOCAL)
    app = Starlette(routes=[Mount("/inner", inner)])
    client = TestClient(app, base_url="http://localhost", cookies=dict([session_cookie(inner, MIA)]))
    assert client.get("/inner/").json()["id"] == "mia"


@pytest.mark.parametrize("app", [Starlette(), Flask("nothing"), object(), None])
def test_an_app_without_it_is_told_so(app: Any) -> None:
    with pytest.raises(LookupError, match="there is no KMSIMiddleware in"):
        session_cookie(app)


def test_a_setting_that_can_not_work_is_named() -> None:
    with pytest.raises(SettingsError, match="session_lifetime"):
        session_cookie(starlette_app(**LOCAL, session_lifetime=1))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_tests(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        app = starlette_app(**LOCAL)
        transport = httpx.ASGITransport(app=app)
        cookies = dict([session_cookie(app, MIA)])
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", cookies=cookies) as client:
            assert (await client.get("/")).json()["id"] == "mia"
        with pytest.raises(SettingsError, match="session_lifetime"):
            session_cookie(starlette_app(**LOCAL, session_lifetime=1))

    with caplog.at_level(logging.CRITICAL + 1, "kmsi_middleware"):
        anyio.run(test, backend=backend)


# What docs/testing.md says of clients -------------------------------------------------------------------------


def test_what_a_client_gets_without_a_session() -> None:
    app = starlette_app(**LOCAL, public_paths=["/public"])
    app.add_route("/public", lambda _: PlainTextResponse("open"))
    assert TestClient(app).get("/public").text.startswith("base_url_required")
    client = TestClient(app, base_url="http://localhost", follow_redirects=False)
    assert client.get("/public").text == "open"
    assert client.get("/").json()["code"] == "no_session"
    page = client.get("/", headers={"accept": "text/html"})
    assert page.headers["location"].startswith("http://localhost/.auth/idp/authorize?")
    assert "does not come from this machine" in client.get(page.headers["location"]).text
    here = TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5000))
    assert "Development sign-in" in here.get("/", headers={"accept": "text/html"}).text


def test_any_wsgi_app_by_httpx() -> None:
    app = flask_app(**LOCAL)
    cookies = dict([session_cookie(app, MIA)])
    with httpx.Client(
        transport=httpx.WSGITransport(app=app.wsgi_app), base_url="http://localhost", cookies=cookies
    ) as client:
        assert client.get("/").json()["id"] == "mia"


def test_a_websocket_needs_the_pages_origin() -> None:
    app = starlette_app(**LOCAL)
    client = TestClient(app, base_url="http://localhost", cookies=dict([session_cookie(app, MIA)]))
    with client.websocket_connect("ws://localhost/chat", headers={"origin": "http://localhost"}) as socket:
        assert socket.receive_text() == "Mia Member"
    with pytest.raises(WebSocketDenialResponse), client.websocket_connect("ws://localhost/chat"):
        pass
