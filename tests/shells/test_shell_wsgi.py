"""What only WSGI has: PEP 3333's freedoms, and REMOTE_USER."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from tests.shells.shell_servers import play_wsgi
from tests.shells.shell_support import HOME, Browser, World

from kmsi_middleware import SettingsError, SignInFacts, SignInSignals
from kmsi_middleware.vocabulary.errors import StoreUnavailable

HTML = [("Content-Type", "text/html")]


@pytest.fixture
def world(wsgi_world: World) -> World:
    return wsgi_world


@pytest.fixture
def browser(world: World) -> Browser:
    return world.browser()


class Body:
    """An iterable that knows whether it was closed."""

    def __init__(self, *chunks: bytes, before: Callable[[], None] = lambda: None) -> None:
        self.chunks, self.before = chunks, before
        self.asked = self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        self.before()
        for chunk in self.chunks:
            self.asked += 1
            yield chunk

    def close(self) -> None:
        self.closed += 1


# REMOTE_USER --------------------------------------------------------------------------------------------------


def environs(world: World, **settings: Any) -> list[dict[str, Any]]:
    """Serves an app that notes the environs it sees."""
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append(environ)
        start_response("200 OK", HTML)
        return [b"ok"]

    world.serve(world.middleware(app, public_paths=["/public"], **settings))
    return seen


def test_remote_user_is_the_subject_or_the_claim_that_was_asked_for(world: World, browser: Browser) -> None:
    seen = environs(world)
    browser.sign_in()
    browser.visit("/page")
    assert [environ["REMOTE_USER"] for environ in seen] == [seen[0]["kmsi"].subject] * 2
    seen = environs(world, user_claim="preferred_username", store=world.store_of("other"))
    again = world.browser()
    again.sign_in()
    again.visit("/page")
    assert [environ["REMOTE_USER"] for environ in seen] == ["mia@contoso.example"] * 2


def test_remote_user_is_removed_when_nobody_is_signed_in(world: World, browser: Browser) -> None:
    seen = environs(world)
    world.at[HOME].environ["REMOTE_USER"] = "root"  # a server that believes somebody
    headers = [("remote-user", "root"), ("x-remote-user", "root")]
    browser.request("GET", "/public", headers)
    asks = [("origin", "https://other.example"), ("access-control-request-method", "PUT")]
    browser.request("OPTIONS", "/page", [*headers, *asks])
    assert len(seen) == 2
    for environ in seen:
        assert "REMOTE_USER" not in environ
        assert environ["kmsi"] is None
        assert environ["kmsi.session"] == {}
    browser.sign_in()
    for _ in range(2):
        browser.request("GET", "/page", headers)
        assert seen[-1]["REMOTE_USER"] == seen[-1]["kmsi"].subject


# Hooks --------------------------------------------------------------------------------------------------------


async def awaited(facts: SignInFacts) -> SignInSignals:
    return SignInSignals()


class AsyncCall:
    async def __call__(self, facts: SignInFacts) -> SignInSignals:
        return SignInSignals()


@pytest.mark.parametrize("hook", [awaited, AsyncCall()])
def test_an_async_hook_is_refused_at_start_up(world: World, hook: Any) -> None:
    with pytest.raises(SettingsError, match="under WSGI it must be a plain function"):
        world.app(sign_in_signals=hook)


def test_a_plain_hook_is_asked(world: World, browser: Browser) -> None:
    app = world.app(sign_in_signals=lambda facts: {"shared_device": facts.claims.get("shared_device")})
    browser.sign_in("sam", None)
    (record,) = app.parts.services.log.read(now=world.clock.now)
    assert record["kmsi"]["decision"] == "shared_device"


@pytest.mark.parametrize("settings", [{"issuer": ""}, {"session_lifetime": 5}, {"sesion_lifetime": 900}])
def test_a_setting_that_can_not_work_raises_at_construction(world: World, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=next(iter(settings))):
        world.app(**settings)


# Responses ----------------------------------------------------------------------------------------------------


def serve(world: World, app: Any) -> None:
    world.serve(world.middleware(app, public_paths=["/public"]))


def signed_in_and_not(world: World) -> list[tuple[Browser, str]]:
    browser = world.browser()
    browser.sign_in(at="/elsewhere")
    return [(browser, "/page"), (browser, "/page"), (world.browser(), "/public")]


def test_the_iterable_is_the_servers_to_close(world: World) -> None:
    bodies: list[Body] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", HTML)
        bodies.append(Body(b"one ", b"", b"two"))
        return bodies[-1]

    serve(world, app)
    for browser, path in signed_in_and_not(world):
        assert browser.visit(path).text == "one two"
        assert bodies[-1].closed == 1


def test_a_response_may_start_when_its_body_is_asked_for(world: World) -> None:
    bodies: list[Body] = []

    def app(environ: Any, start_response: Any) -> Any:
        def start() -> None:
            if environ["PATH_INFO"] == "/page":
                environ["kmsi.session"]["n"] = environ["kmsi.session"].get("n", 0) + 1
            start_response("200 OK", [*HTML, ("X-N", str(environ["kmsi.session"].get("n")))])

        bodies.append(Body(b"one ", b"two", before=start))
        return bodies[-1]

    serve(world, app)
    numbers = []
    for browser, path in signed_in_and_not(world):
        answer = browser.visit(path)
        numbers.append(answer.header("x-n"))
        assert (answer.text, answer.header("vary"), bodies[-1].closed) == ("one two", "Cookie", 1)
        assert answer.header("cache-control") == ("no-store" if path == "/page" else "")
    assert numbers == ["1", "2", "None"]


def test_a_body_that_nobody_asks_for_is_closed_too(world: World, browser: Browser) -> None:
    bodies: list[Body] = []

    def app(environ: Any, start_response: Any) -> Any:
        bodies.append(Body(b"one", before=lambda: start_response("200 OK", HTML)))
        return bodies[-1]

    serve(world, app)
    environ = world.at[HOME].environ_of("GET", f"{HOME}/public", [("host", "localhost:8000")], b"", "127.0.0.1")
    chunks = world.at[HOME].app(environ, None)  # the browser has gone already
    chunks.close()
    assert (bodies[0].asked, bodies[0].closed) == (0, 1)


def test_a_generator_without_a_chunk_may_start_a_response(world: World) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("204 No Content", [])
        yield from ()

    serve(world, app)
    for browser, path in signed_in_and_not(world):
        assert browser.visit(path).status == 204


@pytest.mark.parametrize("lazy", [False, True])
def test_a_failed_save_replaces_the_body_and_closes_it(world: World, browser: Browser, lazy: bool) -> None:
    bodies: list[Body] = []

    def app(environ: Any, start_response: Any) -> Any:
        def start() -> None:
            environ["kmsi.session"]["n"] = 1
            write = start_response("200 OK", HTML)
            write(b"written")

        bodies.append(Body(b"chunk", before=start if lazy else lambda: None))
        if not lazy:
            start()
        return bodies[-1]

    serve(world, app)
    browser.sign_in()

    def failing(*_: Any) -> None:
        raise StoreUnavailable("the disk is full")

    world.at[HOME].parts.services.store.save = failing
    for _ in range(2):
        answer = browser.visit("/page")
        assert answer.status == 503
        assert "written" not in answer.text
        assert "chunk" not in answer.text
        assert bodies[-1].closed == 1


def test_write_reaches_the_server(world: World) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", HTML)
        write(b"one ")
        write(b"two ")
        return [b"three"]

    serve(world, app)
    for browser, path in signed_in_and_not(world):
        assert browser.visit(path).text == "one two three"


def test_an_error_response_may_take_a_started_ones_place(world: World) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", HTML)
        try:
            raise RuntimeError("too late")
        except RuntimeError:
            start_response("500 Oops", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"sorry"]

    serve(world, app)
    for browser, path in signed_in_and_not(world):
        answer = browser.visit(path)
        assert (answer.status, answer.text, answer.all("vary")) == (500, "sorry", ["Cookie"])


def test_an_error_after_the_headers_left_is_raised(world: World) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        write = start_response("200 OK", HTML)
        write(b"one")
        try:
            raise RuntimeError("too late")
        except RuntimeError:
            start_response("500 Oops", HTML, sys.exc_info())
        return iter([])

    serve(world, app)
    browser = world.browser()
    with pytest.raises(RuntimeError, match="too late"):
        browser.visit("/public")


def test_an_app_that_fails_fails_for_the_server_to_see(world: World, browser: Browser) -> None:
    world.app()
    browser.sign_in()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the app failed"):
            browser.visit("/crash")
    assert browser.who() == "Mia Member"


def test_the_apps_own_header_list_is_not_changed(world: World) -> None:
    headers = [("Content-Type", "text/html")]

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", headers)
        return [b""]

    serve(world, app)
    for browser, path in signed_in_and_not(world):
        assert browser.visit(path).all("vary") == ["Cookie"]
    assert headers == [("Content-Type", "text/html")]


@pytest.mark.parametrize("length", ["", "x", "-1", "99999999999"])
def test_an_odd_content_length_on_a_reserved_path_does_no_harm(world: World, browser: Browser, length: str) -> None:
    world.app()
    headers = [("host", "localhost:8000"), ("content-type", "application/x-www-form-urlencoded"), ("origin", HOME)]
    environ = world.at[HOME].environ_of("POST", f"{HOME}/.auth/kmsi", headers, b"answer=yes", "127.0.0.1")
    environ["CONTENT_LENGTH"] = length
    assert play_wsgi(world.at[HOME].app, environ).status == 400
