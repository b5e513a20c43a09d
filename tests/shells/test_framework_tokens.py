"""Access tokens in Starlette, FastAPI and Flask, as their apps would write it: by the framework's own request, and
without a thought for what may go wrong."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from flask import Flask
from flask import request as flask_request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from tests.shells.shell_support import HOME, HOUR, Page, World, query_of

from kmsi_middleware import KMSIMiddleware
from kmsi_middleware.tokens import access_token, access_token_async

SETTINGS = {"scope": "openid profile offline_access"}
IDP_HERE = f"{HOME}/.auth/idp"


async def starlette_token(request: Request) -> JSONResponse:
    return JSONResponse({"token": await access_token_async(request)})


def starlette_thread(request: Request) -> JSONResponse:
    return JSONResponse({"token": access_token(request)})


ROUTES = [Route("/token", starlette_token), Route("/thread", starlette_thread)]


async def untouched(request: Request, call_next: Any) -> Any:
    return await call_next(request)


def starlette_app(world: World) -> Any:
    return world.middleware(Starlette(routes=ROUTES), **SETTINGS)


def starlette_with_ours_inside(world: World) -> Any:
    """By ``add_middleware``, which puts it within Starlette's own handling of errors."""
    app = Starlette(routes=ROUTES)
    app.add_middleware(KMSIMiddleware, issuer="embedded", store="memory:", clock=world.clock, **SETTINGS)
    return app


def starlette_with_middleware(world: World) -> Any:
    """One that runs the app in a task of its own, and its errors through a task group."""
    inner = Starlette(routes=ROUTES, middleware=[Middleware(BaseHTTPMiddleware, dispatch=untouched)])
    return world.middleware(inner, **SETTINGS)


def mounted_app(world: World) -> Any:
    return world.middleware(Starlette(routes=[Mount("/sub", Starlette(routes=ROUTES))]), **SETTINGS)


def fastapi_app(world: World) -> Any:
    app = FastAPI()

    @app.get("/token")
    async def token(request: FastAPIRequest) -> dict[str, str]:
        return {"token": await access_token_async(request)}

    @app.get("/thread")
    def thread(request: FastAPIRequest) -> dict[str, str]:
        return {"token": access_token(request)}

    return world.middleware(app, **SETTINGS)


def flask_app(world: World) -> Any:
    app = Flask("tokens")

    @app.get("/token")
    def token() -> dict[str, str]:
        return {"token": access_token(flask_request)}

    @app.get("/thread")
    def thread() -> dict[str, str]:
        return {"token": access_token(flask_request.environ)}

    return world.middleware(app, **SETTINGS)


CASES = [
    *(("asgi-asyncio", make, root) for make, root in ((starlette_app, ""), (mounted_app, "/sub"), (fastapi_app, ""))),
    ("asgi-trio", starlette_app, ""),
    ("asgi-asyncio", starlette_with_middleware, ""),
    ("asgi-asyncio", starlette_with_ours_inside, ""),
    ("wsgi", flask_app, ""),
]


@pytest.mark.parametrize(("shell", "make", "root"), CASES, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("page", ["/token", "/thread"])
def test_an_endpoint_of_two_lines_is_all_it_takes(stage: Any, shell: str, make: Any, root: str, page: str) -> None:
    world: World = stage(shell)
    world.serve(make(world))
    browser, admin = world.browser(), world.browser()
    first = browser.sign_in("mia", "yes", at=root + page).json()["token"]
    world.clock.pass_(HOUR)
    assert browser.visit(root + page).json()["token"] not in ("", first)
    admin.post(f"{IDP_HERE}/users", {"user": "mia", "event": "disable"}, source=f"{IDP_HERE}/users")
    world.clock.pass_(HOUR)
    told = browser.visit(root + page)
    assert told.status == 401
    (sign_in,) = Page(told.text).links
    again = browser.click(sign_in, on=told)
    assert "pick" in Page(again.text).buttons
    assert query_of(again.url)["redirect_uri"] == f"{HOME}/.auth/callback"
    assert browser.fetch(root + page).json()["code"] == "session_revoked"
    admin.post(f"{IDP_HERE}/users", {"user": "mia", "event": "enable"}, source=f"{IDP_HERE}/users")
    back = browser.submit(browser.submit(again, pick="mia"), answer="yes")
    assert back.url == HOME + root + page
    assert back.json()["token"]


@pytest.mark.parametrize("request_", [None, 7, "scope", object()])
def test_what_is_no_request_is_refused(request_: Any) -> None:
    with pytest.raises(TypeError, match="give a request"):
        access_token(request_)


def test_a_request_that_went_past_the_middleware_is_told_so() -> None:
    with pytest.raises(RuntimeError, match="did not come through KMSIMiddleware"):
        access_token({"type": "http"})
