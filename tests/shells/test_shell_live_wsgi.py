"""Streaming responses, under WSGI, of sessions that end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any
from wsgiref.util import FileWrapper

import flask
import pytest
from tests.shells.live_support import Versioned
from tests.shells.shell_support import HOME, HOUR, Browser, World
from tests.shells.test_shell_policies import BLOCK, HOURLY, policy
from tests.shells.test_shell_wsgi import Body

from kmsi_middleware.rules.seals import key_of
from kmsi_middleware.vocabulary.errors import StoreUnavailable

TEXT = ("Content-Type", "text/plain")


@pytest.fixture
def world(wsgi_world: World) -> World:
    return wsgi_world


@pytest.fixture
def browser(world: World) -> Browser:
    return world.browser()


def serve(
    world: World, browser: Browser, body: Callable[[Any], Iterable[bytes]], *headers: Any, **settings: Any
) -> None:
    """Serves an app whose body is ``body(environ)``."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/page":
            start_response("200 OK", [TEXT])
            return [b"ok"]
        start_response("200 OK", [TEXT, *headers])
        return body(environ)

    world.serve(world.middleware(app, public_paths=["/public"], **settings))
    browser.sign_in("mia", "no", at="/page")


def numbers(environ: Any) -> Iterator[bytes]:
    return (f"{number} ".encode() for number in count())


def get(world: World, browser: Browser, path: str = "/stream", **more: Any) -> Any:
    """The body that a server gets for a request."""
    url = HOME + path
    headers = [("host", "localhost:8000"), ("accept", "text/html"), *browser._cookies(url)]
    environ = world.at[HOME].environ_of("GET", url, headers, b"", browser.address) | more
    return world.at[HOME].app(environ, lambda *_: lambda _: None)


def store(world: World) -> Any:
    return world.at[HOME].parts.services.store


def end(world: World, browser: Browser, reason: Any = "revoked") -> None:
    cookie = browser.session_cookie()
    assert cookie is not None
    assert store(world).end(key_of(cookie.value), reason, world.clock.now)


# How it ends ---------------------------------------------------------------------------------------------------


def test_it_breaks_off_with_its_next_chunk(world: World, browser: Browser) -> None:
    bodies: list[Body] = []

    def body(environ: Any) -> Body:
        bodies.append(Body(*(f"{number} ".encode() for number in range(10))))
        return bodies[-1]

    serve(world, browser, body)
    chunks = get(world, browser)
    assert [next(iter(chunks)) for _ in range(3)] == [b"0 ", b"1 ", b"2 "]
    end(world, browser)
    with pytest.raises(ConnectionResetError, match="revoked"):  # an end like any other would look complete
        next(chunks)
    chunks.close()
    assert bodies[-1].closed == 1


def test_the_chunk_that_the_app_waited_with_does_not_go_out(world: World, browser: Browser) -> None:
    def body(environ: Any) -> Iterator[bytes]:
        yield b"first"
        end(world, browser)  # while the app waits
        yield b"a secret"

    serve(world, browser, body)
    chunks = get(world, browser)
    assert next(chunks) == b"first"
    with pytest.raises(ConnectionResetError):
        next(chunks)


def test_while_the_session_goes_on_so_does_the_body_to_its_end(world: World, browser: Browser) -> None:
    serve(world, browser, lambda environ: iter([b"one", b"", b"two"]))
    assert list(get(world, browser)) == [b"one", b"", b"two"]
    assert browser.visit("/stream").text == "onetwo"


@pytest.mark.parametrize(("reason", "seconds"), [("idle", 24 * HOUR), ("absolute", 24 * HOUR)])
def test_it_breaks_off_when_the_session_runs_out(world: World, browser: Browser, reason: str, seconds: int) -> None:
    expiry = "rolling" if reason == "idle" else "absolute"
    serve(world, browser, numbers, session_expiry=expiry)
    chunks = get(world, browser)
    next(chunks)
    world.clock.pass_(seconds - 1)
    next(chunks)
    world.clock.pass_(1)
    with pytest.raises(ConnectionResetError, match=reason):
        next(chunks)


def test_a_response_that_ends_the_session_itself_arrives(world: World, browser: Browser) -> None:
    """Its first chunk belongs to the request, which was let in."""

    def body(environ: Any) -> Iterator[bytes]:
        end(world, browser, "signed_out")
        yield b"You are signed out everywhere."

    serve(world, browser, body)
    assert list(get(world, browser)) == [b"You are signed out everywhere."]


def test_a_body_that_starts_its_response_late_is_watched(world: World, browser: Browser) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        yield b"one"
        yield b"two"

    world.serve(world.middleware(app))
    browser.sign_in("mia", "no")
    chunks = get(world, browser)
    assert next(chunks) == b"one"
    end(world, browser)
    with pytest.raises(ConnectionResetError):
        next(chunks)


def test_flasks_own_streams_break_off(world: World, browser: Browser) -> None:
    app = flask.Flask("test")

    @app.get("/page")
    def page() -> Any:
        return "ok"

    @app.get("/stream")
    def stream() -> Any:
        return flask.Response(numbers(None), mimetype="text/event-stream")

    app.wsgi_app = world.middleware(app.wsgi_app)  # type: ignore[method-assign]
    world.serve(app.wsgi_app)
    browser.sign_in("mia", "no", at="/page")
    chunks = get(world, browser)
    assert next(chunks) == b"0 "
    end(world, browser)
    with pytest.raises(ConnectionResetError):
        next(chunks)
    chunks.close()


# The store -----------------------------------------------------------------------------------------------------


def test_a_store_that_fails_breaks_nothing_off(world: World, browser: Browser) -> None:
    serve(world, browser, numbers)
    chunks = get(world, browser)
    next(chunks)
    end(world, browser)
    load = store(world).load

    def failing(*_: Any) -> Any:
        raise StoreUnavailable("away")

    store(world).load = failing
    assert [next(chunks) for _ in range(3)] == [b"1 ", b"2 ", b"3 "]
    store(world).load = load
    with pytest.raises(ConnectionResetError, match="revoked"):
        next(chunks)


def test_but_what_is_over_by_the_clock_is_over(world: World, browser: Browser) -> None:
    serve(world, browser, numbers)
    chunks = get(world, browser)

    def failing(*_: Any) -> Any:
        raise StoreUnavailable("away")

    store(world).load = failing
    world.clock.pass_(24 * HOUR - 1)
    next(chunks)
    next(chunks)
    world.clock.pass_(1)
    with pytest.raises(ConnectionResetError, match="idle"):
        next(chunks)


def loads(world: World) -> list[Any]:
    """What is asked of the store from now on."""
    asked: list[Any] = []
    load = store(world).load
    store(world).load = lambda *key: (asked.append(key), load(*key))[1]
    return asked


def test_where_nothing_changed_nothing_is_asked(world: World, browser: Browser) -> None:
    serve(world, browser, numbers)
    chunks = get(world, browser)
    asked = loads(world)
    for _ in range(10):
        world.clock.pass_(60)
        next(chunks)
    assert asked == []


def test_a_store_on_another_machine_is_asked_twice_a_second(world: World, browser: Browser) -> None:
    kept = Versioned()
    serve(world, browser, numbers, store=kept)
    chunks = get(world, browser)
    next(chunks)
    kept.asked.clear()
    for _ in range(80):
        world.clock.pass_(1 / 16)
        next(chunks)
    assert kept.asked == ["version"] * 10


def test_it_was_last_asked_when_the_request_came(world: World, browser: Browser) -> None:
    serve(world, browser, numbers, store=Versioned())
    chunks = get(world, browser)
    assert next(chunks) == b"0 "
    world.clock.pass_(60)
    end(world, browser)
    with pytest.raises(ConnectionResetError):
        next(chunks)


# Policies ------------------------------------------------------------------------------------------------------


def test_policies_break_it_off_by_the_path_that_was_asked_for(world: World, browser: Browser) -> None:
    path = world.folder / "policies.json"
    closed = policy(
        "Closed",
        conditions={"applications": {"includeAuthenticationContextClassReferences": ["c1"]}},
        grant=BLOCK,
    )
    path.write_text(json.dumps([HOURLY]))

    def shifted(environ: Any) -> Iterator[bytes]:
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = "/shop", environ["PATH_INFO"].removeprefix("/shop")
        return numbers(environ)

    serve(world, browser, shifted, policies=str(path), auth_contexts={"/shop/*": "c1"}, step_up="max_age")
    chunks, other = get(world, browser, "/shop/stream"), get(world, browser, "/stream")
    assert [next(chunks), next(chunks), next(other), next(other)] == [b"0 ", b"1 ", b"0 ", b"1 "]
    path.write_text(json.dumps([HOURLY, closed]))
    world.clock.pass_(10)
    with pytest.raises(ConnectionResetError, match="policy"):
        next(chunks)
    next(other)


def test_a_sign_in_that_falls_due_waits_as_for_any_request_in_the_background(world: World, browser: Browser) -> None:
    serve(world, browser, numbers, policies=[HOURLY])
    chunks = get(world, browser)
    for _ in range(3 * 60 - 1):
        world.clock.pass_(60)
        next(chunks)
    world.clock.pass_(60)
    with pytest.raises(ConnectionResetError, match="sign_in_frequency"):
        next(chunks)


# What is left as it is -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [[b"one", b"two"], (b"one",)], ids=["list", "tuple"])
def test_a_body_that_is_in_memory_already_reaches_the_server_itself(world: World, browser: Browser, body: Any) -> None:
    serve(world, browser, lambda environ: body)
    assert get(world, browser) is body


def test_so_does_a_file_that_the_server_sends_by_itself(world: World, browser: Browser) -> None:
    with (world.folder / "file").open("wb+") as file:
        wrapped = FileWrapper(file)
        serve(world, browser, lambda environ: wrapped)
        assert get(world, browser, **{"wsgi.file_wrapper": FileWrapper}) is wrapped
        assert get(world, browser) is not wrapped  # whose server does not know that kind
        assert get(world, browser, **{"wsgi.file_wrapper": lambda file: file}) is not wrapped


def test_what_a_body_says_of_its_length_changes_nothing(world: World, browser: Browser) -> None:
    serve(world, browser, numbers, ("Content-Length", "4"))
    chunks = get(world, browser)
    next(chunks)
    end(world, browser)
    with pytest.raises(ConnectionResetError):
        next(chunks)


def test_who_has_no_session_is_not_watched(world: World, browser: Browser) -> None:
    body = numbers(None)
    serve(world, browser, lambda environ: body)
    browser.sign_out()
    assert get(world, browser, "/public") is body
