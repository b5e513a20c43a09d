"""The one line in front of Starlette, FastAPI, Flask and Django."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from flask import Flask, abort, request
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.shells.shell_support import HOME, HOUR, World, query_of

from kmsi_middleware import KMSIMiddleware, SessionRequired
from kmsi_middleware.rules.app_data import AppData
from kmsi_middleware.tokens import access_token
from kmsi_middleware.wsgi import KMSIMiddleware as WSGIMiddleware


def line(world: World, **more: Any) -> dict[str, Any]:
    return {"issuer": "embedded", "store": world.store_of("main"), "clock": world.clock, **more}


# Starlette ----------------------------------------------------------------------------------------------------


async def shown(request: Request) -> JSONResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JSONResponse(
        {
            "name": request.user.display_name,
            "visits": request.session["visits"],
            "scopes": list(request.auth.scopes),
            "root": request.scope.get("root_path"),
            "url": str(request.url),
        }
    )


@requires("authenticated")
async def guarded(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.user.identity)


async def anybody(request: Request) -> PlainTextResponse:
    return PlainTextResponse("in" if request.user.is_authenticated else "out")


async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.user.display_name)
    await websocket.close()


ROUTES = [Route("/", shown), Route("/guarded", guarded), Route("/anybody", anybody), WebSocketRoute("/chat", chat)]


def test_starlette(asgi_world: World) -> None:
    app = Starlette(routes=ROUTES)
    app.add_middleware(KMSIMiddleware, **line(asgi_world, protect="none"))
    server = asgi_world.serve(app)
    assert server.lifespan()[0]["type"] == "lifespan.startup.complete"
    browser = asgi_world.browser()
    assert browser.visit("/anybody").text == "out"
    assert browser.fetch("/guarded").json()["code"] == "no_session"
    page = browser.sign_in("mia", "yes", at="/guarded")
    assert page.url == f"{HOME}/guarded"
    assert len(page.text) == 32
    assert browser.visit("/anybody").text == "in"
    for visits in (1, 2):
        said = browser.visit("/").json()
        assert (said["name"], said["visits"], said["scopes"]) == ("Mia Member", visits, ["authenticated"])
    assert browser.websocket("/chat")[1]["text"] == "Mia Member"
    browser.sign_out()
    assert browser.visit("/anybody").text == "out"


def test_starlette_refuses_to_start_with_a_setting_that_can_not_work(asgi_world: World) -> None:
    app = Starlette(routes=ROUTES)
    app.add_middleware(KMSIMiddleware, **line(asgi_world, session_lifetime=5))
    (message,) = asgi_world.serve(app).lifespan()
    assert message["type"] == "lifespan.startup.failed"
    assert "session_lifetime = 5" in message["message"]


def test_starlette_apps_mounted_below_the_middleware(asgi_world: World) -> None:
    inner = Starlette(routes=ROUTES)
    app = Starlette(
        routes=[Mount("/sub", inner), Route("/", shown)],
        middleware=[Middleware(KMSIMiddleware, **line(asgi_world, public_paths=["/sub/anybody"]))],
    )
    asgi_world.serve(app)
    browser = asgi_world.browser()
    assert browser.visit("/sub/anybody").text == "out"
    page = browser.sign_in(at="/sub/?x=1")
    assert page.url == f"{HOME}/sub/?x=1"
    assert (page.json()["root"], page.json()["visits"]) == ("/sub", 1)
    assert browser.visit("/").json()["visits"] == 2
    assert browser.fetch("/sub/.auth/me").status == 404  # the reserved paths lie at the middleware's own root


def test_a_starlette_app_with_the_middleware_mounted_in_another(asgi_world: World) -> None:
    inner = KMSIMiddleware(Starlette(routes=ROUTES), **line(asgi_world))
    asgi_world.serve(Starlette(routes=[Mount("/sub", inner), Route("/open", anyone)]))
    browser = asgi_world.browser()
    assert browser.visit("/open").text == "open"
    page = browser.visit("/sub/?x=1")
    assert query_of(page.trail[-1].header("location"))["redirect_uri"] == f"{HOME}/sub/.auth/callback"
    page = browser.submit(browser.submit(page, pick="mia"), answer="yes")
    assert page.url == f"{HOME}/sub/?x=1"
    for visits in (2, 3):
        assert browser.visit("/sub/").json()["visits"] == visits
    assert browser.fetch("/sub/.auth/me").status == 200
    assert browser.visit("/.auth/me").status == 404
    assert browser.websocket("/sub/chat")[1]["text"] == "Mia Member"


async def both(request: Request) -> JSONResponse:
    own, kept = request.session, request.scope["kmsi.session"]
    own["visits"] = own.get("visits", 0) + 1
    if request.user.is_authenticated:
        kept["notes"] = [*kept.get("notes", ()), request.user.display_name]
    return JSONResponse({"own": dict(own), "kept": dict(kept)})


async def both_talk(websocket: WebSocket) -> None:
    await websocket.accept()
    websocket.scope["kmsi.session"]["chats"] = 1
    await websocket.send_json({"own": dict(websocket.session)})
    await websocket.close()


@pytest.mark.parametrize("outside", [True, False])
def test_starlette_with_a_session_middleware_of_its_own(
    asgi_world: World, outside: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ours = Middleware(KMSIMiddleware, **line(asgi_world, protect="none"))
    own = Middleware(SessionMiddleware, secret_key="k" * 32)
    routes = [Route("/", both), Route("/guarded", guarded), WebSocketRoute("/talk", both_talk)]
    asgi_world.serve(Starlette(routes=routes, middleware=[own, ours] if outside else [ours, own]))
    browser = asgi_world.browser()
    assert browser.visit("/").json() == {"own": {"visits": 1}, "kept": {}}
    browser.sign_in(at="/guarded")
    for visits in (2, 3):
        notes = ["Mia Member"] * (visits - 1)
        assert browser.visit("/").json() == {"own": {"visits": visits}, "kept": {"notes": notes}}
    assert browser.websocket("/talk")[1]["text"] == '{"own":{"visits":3}}'
    assert browser.visit("/").json()["kept"]["chats"] == 1
    browser.sign_out()
    assert browser.visit("/").json() == {"own": {"visits": 5}, "kept": {}}  # whose cookie is not ours to delete
    told = [text for text in caplog.messages if "has a session of its own" in text]
    assert len(told) == int(outside)


def test_a_session_middleware_around_ours_keeps_nothing_of_the_sign_in(asgi_world: World) -> None:
    async def noting(request: Request) -> PlainTextResponse:
        request.scope["kmsi.session"]["note"] = "only here"
        return PlainTextResponse("noted")

    app = Starlette(routes=[Route("/", noting)])
    app.add_middleware(KMSIMiddleware, **line(asgi_world))
    app.add_middleware(SessionMiddleware, secret_key="k" * 32)
    asgi_world.serve(app)
    browser = asgi_world.browser()
    assert browser.sign_in().text == "noted"
    assert "session" not in {cookie.name for cookie in browser.jar.values()}


def test_one_of_us_around_another_takes_nothing_from_it(asgi_world: World) -> None:
    app = asgi_world.middleware(Starlette(routes=[Route("/", shown)]))

    async def around(scope: Any, receive: Any, send: Any) -> None:
        scope["session"] = AppData(visits=70)
        await app(scope, receive, send)

    asgi_world.serve(around)
    browser = asgi_world.browser()
    browser.sign_in()
    assert browser.visit("/").json()["visits"] == 2


async def anyone(request: Request) -> PlainTextResponse:
    assert "kmsi" not in request.scope
    return PlainTextResponse("open")


# FastAPI ------------------------------------------------------------------------------------------------------


def current_user(request: Request) -> str:
    name: str = request.user.display_name
    return name


def test_fastapi(asgi_world: World) -> None:
    app = FastAPI()

    @app.get("/hello")
    async def hello(request: Request, name: Annotated[str, Depends(current_user)]) -> dict[str, Any]:
        request.session["seen"] = request.session.get("seen", 0) + 1
        return {"name": name, "seen": request.session["seen"]}

    @app.get("/sync")
    def in_a_thread(request: Request) -> dict[str, Any]:
        request.session["seen"] = request.session.get("seen", 0) + 1
        return {"seen": request.session["seen"]}

    @app.get("/health")
    async def health() -> str:
        return "ok"

    app.add_middleware(KMSIMiddleware, **line(asgi_world, public_paths=["/health"]))
    asgi_world.serve(app)
    browser = asgi_world.browser()
    assert browser.fetch("/health").json() == "ok"
    assert browser.fetch("/hello").status == 401
    assert browser.sign_in(at="/hello").json() == {"name": "Mia Member", "seen": 1}
    assert browser.visit("/sync").json() == {"seen": 2}
    assert browser.visit("/hello").json() == {"name": "Mia Member", "seen": 3}


# Flask --------------------------------------------------------------------------------------------------------


def test_flask(wsgi_world: World) -> None:
    app = Flask(__name__)

    @app.get("/")
    def home() -> dict[str, Any]:
        kept = request.environ["kmsi.session"]
        kept["seen"] = kept.get("seen", 0) + 1
        return {"user": request.remote_user, "name": request.environ["kmsi"].name, "seen": kept["seen"]}

    @app.get("/public")
    def public() -> str:
        return request.remote_user or "nobody"

    @app.get("/stream")
    def stream() -> Any:
        def chunks() -> Iterator[str]:
            yield "one "
            yield "two"

        return chunks()

    app.wsgi_app = WSGIMiddleware(  # type: ignore[method-assign]
        app.wsgi_app, **line(wsgi_world, public_paths=["/public"], user_claim="email")
    )
    wsgi_world.serve(app)
    browser = wsgi_world.browser()
    assert browser.visit("/public").text == "nobody"
    said = browser.sign_in(at="/").json()
    assert said == {"user": "mia@contoso.example", "name": "Mia Member", "seen": 1}
    assert browser.visit("/").json()["seen"] == 2
    assert browser.visit("/public").text == "mia@contoso.example"
    assert browser.visit("/stream").text == "one two"
    assert browser.visit("/none").status == 404
    browser.sign_out()
    assert browser.visit("/public").text == "nobody"


@pytest.mark.parametrize("root", ["", "/sub"])
def test_flask_below_a_script_name(wsgi_world: World, root: str) -> None:
    app = Flask(__name__)

    @app.get("/page")
    def page() -> dict[str, Any]:
        return {"root": request.script_root, "url": request.url}

    app.wsgi_app = WSGIMiddleware(app.wsgi_app, **line(wsgi_world))  # type: ignore[method-assign]
    wsgi_world.serve(app, root=root)
    browser = wsgi_world.browser()
    answer = browser.sign_in(at=f"{root}/page?x=1")
    assert answer.url == f"{HOME}{root}/page?x=1"
    assert answer.json() == {"root": root, "url": f"{HOME}{root}/page?x=1"}


# Pages that turn out to need a session ------------------------------------------------------------------------


async def writes(request: Request) -> PlainTextResponse:
    request.session["seen"] = True
    return PlainTextResponse("written")


async def asks(request: Request) -> PlainTextResponse:
    if not request.user.is_authenticated:
        raise SessionRequired
    return PlainTextResponse("there is one")


ASKING = [Route("/write", writes), Route("/ask", asks)]


def asking_starlette(world: World, **settings: Any) -> Any:
    return world.middleware(Starlette(routes=ASKING), **settings)


def asking_with_ours_inside(world: World, **settings: Any) -> Any:
    app = Starlette(routes=ASKING)
    app.add_middleware(KMSIMiddleware, **line(world, **settings))
    return app


def asking_flask(world: World, **settings: Any) -> Any:
    app = Flask(__name__)

    @app.get("/write")
    def write() -> str:
        request.environ["kmsi.session"]["seen"] = True
        return "written"

    @app.get("/ask")
    def ask() -> str:
        if request.environ["kmsi"] is None:
            abort(401)
        return "there is one"

    return world.middleware(app, **settings)


@pytest.mark.parametrize("make", [asking_starlette, asking_with_ours_inside, asking_flask])
@pytest.mark.parametrize(("path", "said"), [("/write", "written"), ("/ask", "there is one")])
def test_a_page_that_turns_out_to_need_a_session_leads_to_the_sign_in(
    stage: Any, make: Any, path: str, said: str
) -> None:
    world: World = stage("wsgi" if make is asking_flask else "asgi-asyncio")
    world.serve(make(world, protect="none"))
    browser = world.browser()
    assert browser.fetch(path).json()["code"] == "no_session"
    assert browser.sign_in(at=f"{path}?x=1").text == said


# Django -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def django_app() -> Any:
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpRequest, JsonResponse
    from django.urls import path

    def home(request: HttpRequest) -> JsonResponse:
        kept = request.environ["kmsi.session"]
        if request.environ["kmsi"] is not None:
            kept["seen"] = kept.get("seen", 0) + 1
        return JsonResponse({"user": request.META.get("REMOTE_USER"), "seen": kept.get("seen"), "path": request.path})

    def token(request: HttpRequest) -> JsonResponse:
        return JsonResponse({"token": access_token(request)})

    urls = ModuleType("kmsi_test_urls")
    urls.urlpatterns = [path("", home), path("public", home), path("token", token)]  # type: ignore[attr-defined]
    sys.modules[urls.__name__] = urls
    settings.configure(ALLOWED_HOSTS=["localhost"], ROOT_URLCONF=urls.__name__, SECRET_KEY="test", USE_TZ=True)
    django.setup(set_prefix=False)
    yield WSGIHandler()
    del sys.modules[urls.__name__]


def test_django(wsgi_world: World, django_app: Any) -> None:
    wrapped = WSGIMiddleware(django_app, **line(wsgi_world, public_paths=["/public"], user_claim="email"))
    server = wsgi_world.serve(wrapped)
    server.environ["REMOTE_USER"] = "root"
    browser = wsgi_world.browser()
    assert browser.visit("/public").json()["user"] is None
    assert browser.sign_in().json() == {"user": "mia@contoso.example", "seen": 1, "path": "/"}
    for seen in (2, 3):
        assert browser.visit("/public").json() == {"user": "mia@contoso.example", "seen": seen, "path": "/public"}
    assert browser.visit("/").header("vary")
    browser.sign_out()
    assert browser.visit("/public").json()["user"] is None


def test_an_access_token_in_django(wsgi_world: World, django_app: Any) -> None:
    """Django makes a 500 of whatever is raised; the person is told what is the matter all the same."""
    wsgi_world.serve(WSGIMiddleware(django_app, **line(wsgi_world, scope="openid offline_access")))
    browser, admin = wsgi_world.browser(), wsgi_world.browser()
    assert browser.sign_in(at="/token").json()["token"]
    here = f"{HOME}/.auth/idp/users"
    admin.post(here, {"user": "mia", "event": "revoke"}, source=here)
    wsgi_world.clock.pass_(HOUR)
    assert browser.fetch("/token").json()["code"] == "session_revoked"
