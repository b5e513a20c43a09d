"""Authentication contexts that an app asks for itself: decorators for Starlette and Flask, a FastAPI dependency."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import Depends, FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.shells.shell_support import HOME, MINUTE, Browser, Page, World, query_of
from tests.shells.test_shell_policies import BLOCK, PAYMENTS, code, policy

from kmsi_middleware.flask import require_auth_context as flask_context
from kmsi_middleware.starlette import auth_context, require_auth_context


async def home(request: Request) -> PlainTextResponse:
    return PlainTextResponse("home")


@require_auth_context("c1")
async def pay(request: Request) -> PlainTextResponse:
    return PlainTextResponse("paid")


def starlette_app(world: World, **settings: Any) -> Any:
    return world.middleware(Starlette(routes=[Route("/", home), Route("/pay", pay)]), **settings)


def fastapi_app(world: World, **settings: Any) -> Any:
    app = FastAPI()

    @app.get("/")
    async def start() -> str:
        return "home"

    @app.get("/pay", dependencies=[Depends(auth_context("c1"))])
    async def paying() -> str:
        return "paid"

    return world.middleware(app, **settings)


def fastapi_app_in_threads(world: World, **settings: Any) -> Any:
    app = FastAPI()

    @app.get("/")
    def start() -> str:
        return "home"

    @app.get("/pay")
    @require_auth_context("c1")
    def paying(asked: Request, sum: int = 0) -> str:
        return "paid"

    return world.middleware(app, **settings)


def flask_app(world: World, **settings: Any) -> Any:
    app = Flask("contexts")

    @app.get("/")
    def start() -> str:
        return "home"

    @app.get("/pay")
    @flask_context("c1")
    def paying() -> str:
        return "paid"

    return world.middleware(app, **settings)


@pytest.fixture(params=[starlette_app, fastapi_app, fastapi_app_in_threads, flask_app])
def stage_of(request: pytest.FixtureRequest, stage: Any) -> Any:
    def make(**settings: Any) -> tuple[World, Browser]:
        world: World = stage("wsgi" if request.param is flask_app else "asgi-asyncio")
        world.serve(request.param(world, **settings))
        return world, world.browser()

    return make


def test_a_person_is_taken_to_a_fresh_sign_in_and_back(stage_of: Any) -> None:
    world, browser = stage_of(policies=[PAYMENTS])
    browser.sign_in("mia", "yes")
    assert "paid" in browser.visit("/pay").text
    world.clock.pass_(6 * MINUTE)
    for _ in range(2):
        assert "home" in browser.visit("/").text
    asked = browser.visit("/pay?sum=5")
    assert "pick" in Page(asked.text).buttons
    page = browser.submit(asked, pick="mia")  # “Stay signed in?” was answered before, and the answer holds
    assert page.url == f"{HOME}/pay?sum=5"
    assert "paid" in page.text


def test_an_app_that_is_mounted_in_another_is_found_again(asgi_world: World) -> None:
    """The router moves ``root_path`` on; where the app is, and its redirect URI, stays."""
    inner = Starlette(routes=[Route("/pay", pay)])
    app = Starlette(routes=[Mount("/sub", inner), Route("/", home)])
    asgi_world.serve(asgi_world.middleware(app, policies=[PAYMENTS]))
    browser = asgi_world.browser()
    browser.sign_in("mia", "yes")
    asgi_world.clock.pass_(6 * MINUTE)
    asked = browser.visit("/sub/pay?sum=5")
    assert query_of(asked.url)["redirect_uri"] == f"{HOME}/.auth/callback"
    assert browser.submit(asked, pick="mia").url == f"{HOME}/sub/pay?sum=5"


def test_a_script_is_told_what_is_wanted(stage_of: Any) -> None:
    world, browser = stage_of(policies=[PAYMENTS])
    browser.sign_in("mia", "yes")
    world.clock.pass_(6 * MINUTE)
    refused = browser.fetch("/pay")
    assert refused.status == 401
    assert 'error="insufficient_user_authentication"' in refused.header("www-authenticate")
    assert 'acr_values="c1"' in refused.header("www-authenticate")
    if "json" in refused.header("content-type") and "detail" not in refused.json():
        assert code(refused) == "insufficient_user_authentication"


def test_who_is_blocked_is_told_so_and_not_to_sign_in_again(asgi_world: World) -> None:
    blocked = policy(
        "No payments",
        conditions={"applications": {"includeAuthenticationContextClassReferences": ["c1"]}},
        grant=BLOCK,
    )
    asgi_world.serve(fastapi_app(asgi_world, policies=[blocked]))
    browser = asgi_world.browser()
    browser.sign_in("mia", "yes")
    refused = browser.fetch("/pay")
    assert refused.status == 403
    assert "No payments" in refused.json()["detail"]
    assert browser.visit("/pay").json()["detail"] == "This page needs more than you have shown."


def test_without_policies_nothing_more_is_wanted(stage_of: Any) -> None:
    world, browser = stage_of()
    browser.sign_in("mia", "yes")
    world.clock.pass_(60 * MINUTE)
    assert "paid" in browser.visit("/pay").text


@pytest.mark.parametrize("opened", [{"protect": "none"}, {"public_paths": ["/", "/pay"]}])
@pytest.mark.parametrize("policies", [[PAYMENTS], None])
def test_nobody_is_let_in_without_a_session(stage_of: Any, opened: dict[str, Any], policies: Any) -> None:
    _, browser = stage_of(**({"policies": policies} if policies else {}), **opened)
    assert "home" in browser.visit("/").text
    assert browser.fetch("/pay").status == 401
    page = browser.visit("/pay?x=1")
    assert "pick" in Page(page.text).buttons
    page = browser.submit(browser.submit(page, pick="mia"), answer="yes")
    assert page.url == f"{HOME}/pay?x=1"
    assert "paid" in page.text


# Endpoints of all kinds ---------------------------------------------------------------------------------------


class Payments(HTTPEndpoint):
    @require_auth_context("c1")
    async def get(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("paid")

    @require_auth_context("c1")
    def put(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("paid in a thread")


def test_endpoints_in_threads_and_in_classes_are_guarded_as_well(asgi_world: World) -> None:
    app = Starlette(routes=[Route("/", home), Route("/pay", Payments)])
    asgi_world.serve(asgi_world.middleware(app, policies=[PAYMENTS]))
    browser = asgi_world.browser()
    browser.sign_in("mia", "yes")
    assert browser.fetch("/pay").text == "paid"
    assert browser.fetch("/pay", method="PUT").text == "paid in a thread"
    asgi_world.clock.pass_(6 * MINUTE)
    assert browser.fetch("/pay").status == 401
    assert browser.fetch("/pay", method="PUT").status == 401


def test_an_endpoint_without_the_request_can_not_be_guarded_and_says_so(asgi_world: World) -> None:
    app = FastAPI()

    @app.get("/")
    @require_auth_context("c1")
    async def blind() -> str:
        return "paid"

    asgi_world.serve(asgi_world.middleware(app))
    with pytest.raises(TypeError, match="add `request: Request` to it"):
        asgi_world.browser().sign_in()


# Names that no policy can speak of ----------------------------------------------------------------------------


@pytest.mark.parametrize("asking", [require_auth_context, auth_context, flask_context])
@pytest.mark.parametrize("context", ["banana", "c0", "c100", "c1 ", "", None, pay])
def test_what_is_no_context_is_refused_where_the_route_is_written(asking: Any, context: Any) -> None:
    with pytest.raises(ValueError, match="give c1 to c99"):
        asking(context)


def test_what_is_no_context_is_refused_of_who_asks_by_hand(asgi_world: World) -> None:
    async def asks(request: Request) -> PlainTextResponse:
        with pytest.raises(ValueError, match="'banana': give c1 to c99"):
            await request.scope["kmsi.require"]("banana")
        return PlainTextResponse("refused")

    asgi_world.serve(asgi_world.middleware(Starlette(routes=[Route("/", asks)]), policies=[PAYMENTS]))
    assert asgi_world.browser().sign_in().text == "refused"


def test_capitals_make_no_difference(asgi_world: World) -> None:
    shouting = require_auth_context("C1")(home)
    app = Starlette(routes=[Route("/", home), Route("/pay", shouting)])
    asgi_world.serve(asgi_world.middleware(app, policies=[PAYMENTS]))
    browser = asgi_world.browser()
    browser.sign_in("mia", "yes")
    asgi_world.clock.pass_(6 * MINUTE)
    assert browser.fetch("/pay").status == 401


def test_a_context_that_no_policy_names_is_said_once(stage_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    other = policy(
        "Reports",
        conditions={"applications": {"includeAuthenticationContextClassReferences": ["c2"]}},
        grant=BLOCK,
    )
    _, browser = stage_of(policies=[other])
    browser.sign_in("mia", "yes")
    for _ in range(3):
        assert "paid" in browser.visit("/pay").text
    assert [text for text in caplog.messages if "no policy names it" in text] == [
        "the app asks for the authentication context c1, and no policy names it"
    ]


def test_a_context_that_a_policy_names_is_not_worth_a_word(stage_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    _, browser = stage_of(policies=[PAYMENTS])
    browser.sign_in("mia", "yes")
    assert "paid" in browser.visit("/pay").text
    assert "no policy names it" not in caplog.text
