"""Settings as keywords, as one object, or from the environment."""

from __future__ import annotations

import secrets
import time
from functools import partial
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.shells.shell_support import HOME, World, query_of

from kmsi_middleware import KMSIMiddleware, Settings, SettingsError
from kmsi_middleware.wsgi import KMSIMiddleware as WSGIMiddleware

# What is put behind the middleware ----------------------------------------------------------------------------


class Handler:
    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []


async def asgi_app(scope: Any, receive: Any, send: Any) -> None: ...


def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
    return []


@pytest.mark.parametrize("app", [wsgi_app, Handler(), Flask(__name__), Flask(__name__).wsgi_app, partial(wsgi_app)])
def test_a_wsgi_app_is_refused_under_asgi_with_the_import_that_works(app: Any) -> None:
    with pytest.raises(SettingsError, match=r"a WSGI app: from kmsi_middleware\.wsgi import KMSIMiddleware"):
        KMSIMiddleware(app, issuer="embedded", store="memory:")
    WSGIMiddleware(app, issuer="embedded", store="memory:")


@pytest.mark.parametrize("app", [asgi_app, Starlette(), FastAPI(), partial(asgi_app)])
def test_an_asgi_app_is_refused_under_wsgi_with_the_import_that_works(app: Any) -> None:
    with pytest.raises(SettingsError, match="an ASGI app: from kmsi_middleware import KMSIMiddleware"):
        WSGIMiddleware(app, issuer="embedded", store="memory:")
    KMSIMiddleware(app, issuer="embedded", store="memory:")


@pytest.mark.parametrize("face", [KMSIMiddleware, WSGIMiddleware])
@pytest.mark.parametrize("app", [None, 5, "app:app"])
def test_what_can_not_be_called_is_no_app(face: Any, app: Any) -> None:
    with pytest.raises(SettingsError, match="give the app, which is called with"):
        face(app, issuer="embedded")


@pytest.mark.parametrize("face", [KMSIMiddleware, WSGIMiddleware])
def test_what_is_called_otherwise_is_no_app_either(face: Any) -> None:
    with pytest.raises(SettingsError, match="it can't be called with"):
        face(lambda: None, issuer="embedded")


@pytest.mark.parametrize("face", [KMSIMiddleware, WSGIMiddleware])
@pytest.mark.parametrize("app", [dict, lambda *args: None])
def test_what_does_not_tell_how_it_is_called_is_believed(face: Any, app: Any) -> None:
    face(app, issuer="embedded", store="memory:")


# Where settings come from -------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("KMSI_ISSUER", "embedded")
    monkeypatch.setenv("KMSI_STORE", "memory:")
    return monkeypatch


def test_the_line_alone_takes_everything_from_the_environment(world: World, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KMSI_PREFIX", "/account")
    environment.setenv("KMSI_PUBLIC_PATHS", "/public, /static/*")
    environment.setenv("KMSI_KEEP_ME_SIGNED_IN_DAYS", "0")

    def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["kmsi"].name.encode() if environ["kmsi"] else b"nobody"]

    async def asgi(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.user.display_name or "nobody")

    if world.shell == "wsgi":
        app: Any = WSGIMiddleware(wsgi)
    else:
        app = Starlette(routes=[Route("/{path:path}", asgi)])
        app.add_middleware(KMSIMiddleware)
    world.serve(app)
    browser = world.browser()
    world.clock.now = time.time()  # the line alone goes by the machine's clock
    assert browser.visit("/public").text == "nobody"
    assert browser.visit("/static/x").text == "nobody"
    page = browser.visit("/page")
    assert query_of(page.trail[0].header("location"))["redirect_uri"] == f"{HOME}/account/callback"
    assert browser.submit(page, pick="mia").text == "Mia Member"
    assert browser.fetch("/account/me").status == 200
    assert browser.visit("/.auth/me").text == "Mia Member"  # the app's own path now


def test_a_keyword_goes_before_the_object_and_the_object_before_the_environment(
    world: World, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("KMSI_COOKIE_NAME", "from-environment")
    environment.setenv("KMSI_APP_NAME", "From environment")
    environment.setenv("KMSI_SESSION_LIFETIME", "1000")
    given = Settings(cookie_name="from-object", app_name="From object")
    app = world.app(settings=given, cookie_name="from-keyword", issuer="embedded")
    found = app.parts.deployment.settings
    assert (found.cookie_name, found.app_name, found.session_lifetime) == ("from-keyword", "From object", 1000)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("KMSI_ISUER", "x", "did you mean KMSI_ISSUER?"),
        ("KMSI_SESSION_LIFETIME", "soon", "session_lifetime"),
        ("KMSI_SIGN_IN_SIGNALS", "x", "in Python"),
        ("KMSI_PROTECT", "some", "all, none"),
    ],
)
def test_an_environment_that_can_not_work_stops_the_start_up(
    world: World, environment: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(SettingsError, match=words.replace("?", r"\?")):
        world.app()


def test_a_secret_of_the_environment_is_in_no_message(world: World, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KMSI_SECRET_KEYS", "hunter2")
    with pytest.raises(SettingsError) as raised:
        world.app()
    assert "secret_keys" in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("face", [KMSIMiddleware, WSGIMiddleware], ids=["asgi", "wsgi"])
def test_every_secret_is_made_of_the_operating_systems_random_bytes(face: Any) -> None:
    """Session tokens, nonces, PKCE verifiers and seals come of these dice, and the lower layers know no others."""
    assert face(dict, issuer="embedded", store="memory:")._deployment.dice is secrets.token_bytes
