"""Streaming responses, under ASGI, of sessions that end."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from tests.shells.live_support import Live, play, settled
from tests.shells.shell_support import HOUR, Browser, World
from tests.shells.test_shell_policies import BLOCK, HOURLY, policy

from kmsi_middleware.vocabulary.errors import StoreUnavailable


@pytest.fixture
def world(asgi_world: World) -> World:
    return asgi_world


@pytest.fixture
def browser(world: World) -> Browser:
    return world.browser()


class Ticker:
    """An app that sends a chunk for every ``tick``, and after the last one ends its response."""

    def __init__(self) -> None:
        self.ticks = anyio.Semaphore(0)
        self.last = 1_000
        self.told: list[Any] = []
        self.body = b""

    def tick(self) -> None:
        self.ticks.release()

    def chunks(self) -> Chunks:
        return Chunks(self)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            if scope["method"] == "POST":
                self.body = (await receive())["body"]
            await send({"type": "http.response.start", "status": 200, "headers": []})
            if scope["path"] != "/stream":
                await send({"type": "http.response.body", "body": b"ok"})
                return
            async for chunk in self.chunks():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except OSError as error:
            self.told.append(error)
            raise

    def starlette(self, **more: Any) -> Starlette:
        async def stream(request: Request) -> Response:
            return StreamingResponse(self.chunks())

        async def plain(request: Request) -> Response:
            return PlainTextResponse("ok")

        return Starlette(routes=[Route("/stream", stream), Route("/page", plain)], **more)


class Chunks:
    """Not a generator: one that is left half way is a warning on trio, and Starlette leaves them so."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker, self._number = ticker, -1

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self._number += 1
        if self._number == self._ticker.last:
            raise StopAsyncIteration
        await self._ticker.ticks.acquire()
        return f"{self._number} ".encode()


def serve(world: World, browser: Browser, app: Any, **settings: Any) -> None:
    world.serve(world.middleware(app, public_paths=["/public/*"], **settings))
    browser.sign_in("mia", "no", at="/page")


async def passes(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    return await call_next(request)


# How it ends ---------------------------------------------------------------------------------------------------


def test_no_further_chunk_goes_out_and_the_response_stays_incomplete(world: World, browser: Browser) -> None:
    ticker = Ticker()
    serve(world, browser, ticker)

    async def scenario(live: Live) -> None:
        async with live.request() as line:
            for _ in range(3):
                ticker.tick()
                await live.steps.next()
            assert line.chunks == [b"0 ", b"1 ", b"2 "]
            live.end()
            await live.steps.next()
            ticker.tick()
            await line.returned.wait()
            assert line.chunks == [b"0 ", b"1 ", b"2 "]
            assert line.sent[-1]["more_body"]
            assert line.error is None  # that it is incomplete is what makes the server close the line

    play(world, browser, scenario)
    (error,) = ticker.told
    assert "revoked" in str(error)


# Starlette's BaseHTTPMiddleware before 1.10 leaves its generator to the garbage collector, of which trio tells.
@pytest.mark.filterwarnings("ignore:Async generator 'starlette:ResourceWarning")
@pytest.mark.parametrize("wrapped", [False, True])
def test_an_app_that_listens_for_the_client_is_told_at_once(world: World, browser: Browser, wrapped: bool) -> None:
    """As Starlette's own StreamingResponse does below ASGI 2.4 (uvicorn, hypercorn, granian)."""
    ticker = Ticker()
    middleware = [Middleware(BaseHTTPMiddleware, dispatch=passes)] if wrapped else []
    serve(world, browser, ticker.starlette(middleware=middleware))

    async def scenario(live: Live) -> None:
        async with live.request(spec="2.3") as line:
            ticker.tick()
            await live.steps.next()
            assert not line.returned.is_set()
            live.end()
            await live.steps.next()
            assert line.returned.is_set()  # without a further chunk
            assert (line.chunks, line.sent[-1]["more_body"], line.error) == ([b"0 "], True, None)

    play(world, browser, scenario)


@pytest.mark.parametrize("wrapped", [False, True])
def test_one_that_does_not_is_told_with_its_next_chunk(world: World, browser: Browser, wrapped: bool) -> None:
    """As Starlette's own from ASGI 2.4 on (gunicorn)."""
    ticker = Ticker()
    middleware = [Middleware(BaseHTTPMiddleware, dispatch=passes)] if wrapped else []
    serve(world, browser, ticker.starlette(middleware=middleware))

    async def scenario(live: Live) -> None:
        async with live.request(spec="2.4") as line:
            ticker.tick()
            await live.steps.next()
            live.end()
            await live.steps.next()
            ticker.tick()
            with anyio.fail_after(10):
                await line.returned.wait()
            assert (line.chunks, line.sent[-1]["more_body"], line.error) == ([b"0 "], True, None)

    play(world, browser, scenario)


def test_the_last_message_does_not_go_out_either(world: World, browser: Browser) -> None:
    ticker = Ticker()
    ticker.last = 1
    go_on = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/page":
            await ticker(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b""})

    serve(world, browser, app)

    async def scenario(live: Live) -> None:
        async with live.request() as line:
            live.end()
            await live.steps.next()
            go_on.set()
            await line.returned.wait()
            assert line.chunks == [b"half"]
            assert line.error is None

    play(world, browser, scenario)


def test_an_app_that_asks_whether_the_client_is_there_hears_that_it_is_not(world: World, browser: Browser) -> None:
    asked: list[bool] = []
    turn = anyio.Semaphore(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] != "/page":
            request = Request(scope, receive)
            while not asked or not asked[-1]:
                asked.append(await request.is_disconnected())
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await turn.acquire()
        await send({"type": "http.response.body", "body": b""})

    serve(world, browser, app)

    async def scenario(live: Live) -> None:
        async with live.request(spec="2.4") as line:
            turn.release()
            await settled()
            live.end()
            await live.steps.next()
            turn.release()
            await line.returned.wait()
            assert line.chunks == [b"x"] * 2

    play(world, browser, scenario)
    assert asked == [False, False, True]


def test_the_session_that_runs_out_ends_it(world: World, browser: Browser) -> None:
    ticker = Ticker()
    serve(world, browser, ticker.starlette())

    async def scenario(live: Live) -> None:
        async with live.request() as line:
            ticker.tick()
            world.clock.pass_(24 * HOUR - 1)
            await live.steps.next()
            assert not line.returned.is_set()
            world.clock.pass_(1)
            await live.steps.next()
            assert line.returned.is_set()

    play(world, browser, scenario)


def test_a_store_that_fails_ends_nothing(world: World, browser: Browser) -> None:
    ticker = Ticker()
    serve(world, browser, ticker)

    async def scenario(live: Live) -> None:
        def failing(*_: Any) -> Any:
            raise StoreUnavailable("away")

        load = live.store.load
        async with live.request() as line:
            ticker.tick()
            await live.steps.next()
            live.end()
            live.store.load = failing
            await live.steps.next()
            ticker.tick()
            await live.steps.next()
            assert len(line.chunks) == 2
            live.store.load = load
            await live.steps.next()
            ticker.tick()
            await line.returned.wait()
            assert len(line.chunks) == 2

    play(world, browser, scenario)


def test_policies_end_it_by_the_path_that_was_asked_for(world: World, browser: Browser) -> None:
    """Frameworks change the scope as they go: the path below a mount is another one."""
    path = world.folder / "policies.json"
    closed = policy(
        "Closed",
        conditions={"applications": {"includeAuthenticationContextClassReferences": ["c1"]}},
        grant=BLOCK,
    )
    path.write_text(json.dumps([HOURLY]))
    ticker = Ticker()
    app = ticker.starlette()
    app.router.routes.append(Mount("/shop", ticker.starlette()))
    serve(world, browser, app, policies=str(path), auth_contexts={"/shop/*": "c1"}, step_up="max_age")

    async def scenario(live: Live) -> None:
        async with live.request("/shop/stream") as line, live.request("/stream") as other:
            ticker.tick()
            ticker.tick()
            await live.steps.next()
            assert len(line.chunks) == len(other.chunks) == 1
            path.write_text(json.dumps([HOURLY, closed]))
            world.clock.pass_(10)
            await live.steps.next()
            assert line.returned.is_set()
            assert not other.returned.is_set()

    play(world, browser, scenario)


# What is watched -----------------------------------------------------------------------------------------------


def test_a_plain_response_is_not_watched_and_belongs_to_the_request_that_was_let_in(
    world: World, browser: Browser
) -> None:
    go_on = anyio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] != "/page":
            await go_on.wait()
        await send({"type": "http.response.body", "body": b"ok"})

    serve(world, browser, app)

    async def scenario(live: Live) -> None:
        async with live.request("/slow") as line:
            assert (live.watched, live.steps.waiting) == (0, 0)
            live.end()
            await live.steps.next()
            go_on.set()
            await line.returned.wait()
            assert line.chunks == [b"ok"]
            assert live.watched == 0

    play(world, browser, scenario)


def test_one_that_is_complete_is_forgotten(world: World, browser: Browser) -> None:
    ticker = Ticker()
    ticker.last = 2
    serve(world, browser, ticker.starlette())

    async def scenario(live: Live) -> None:
        async with live.request() as line:
            ticker.tick()
            await live.steps.next()
            assert (live.watched, live.steps.waiting) == (1, 1)
            ticker.tick()
            await line.returned.wait()
            assert line.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
            live.end()
            await live.steps.next()
            assert (live.watched, live.steps.waiting) == (0, 0)

    play(world, browser, scenario)


def test_what_is_sent_beside_the_body_ends_no_watch(world: World, browser: Browser) -> None:
    """Server push (HTTP/2), in the middle of a stream."""
    turn = anyio.Semaphore(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] != "/page":
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            await send({"type": "http.response.push", "path": "/style.css", "headers": []})
            await turn.acquire()
            await send({"type": "http.response.body", "body": b"two", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    serve(world, browser, app)

    async def scenario(live: Live) -> None:
        async with live.request() as line:
            await live.steps.next()
            live.end()
            await live.steps.next()
            turn.release()
            await line.returned.wait()
            assert line.chunks == [b"one"]

    play(world, browser, scenario)


def test_even_if_its_app_goes_on_without_it(world: World, browser: Browser) -> None:
    """In the background, as frameworks let apps do."""
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})
        while scope["path"] != "/page":
            heard.append(await receive())

    serve(world, browser, app)

    async def scenario(live: Live) -> None:
        async with live.request() as line:
            live.end()
            await live.steps.next()
            assert (live.watched, live.steps.waiting) == (0, 0)
            line.comes(type="http.disconnect")
            await settled()
            assert [message["type"] for message in heard] == ["http.request", "http.disconnect"]

    play(world, browser, scenario)


def test_one_that_its_app_leaves_is_forgotten(world: World, browser: Browser) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": scope["path"] != "/page"})

    serve(world, browser, app)

    async def scenario(live: Live) -> None:
        async with live.request() as line:
            await line.returned.wait()
        await live.steps.next()
        assert (live.watched, live.steps.waiting) == (0, 0)

    play(world, browser, scenario)


def test_who_has_no_session_is_not_watched(world: World, browser: Browser) -> None:
    ticker = Ticker()
    app = Starlette(routes=[Mount("/public", ticker.starlette()), *ticker.starlette().routes])
    serve(world, browser, app)
    browser.sign_out()

    async def scenario(live: Live) -> None:
        async with live.request("/public/stream") as line:
            ticker.tick()
            await live.steps.next()
            assert (line.chunks, live.watched, live.steps.waiting) == ([b"0 "], 0, 0)

    play(world, browser, scenario)


def test_a_client_that_goes_away_by_itself_is_the_apps_business(world: World, browser: Browser) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/page":
            raise ClientDisconnect
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    serve(world, browser, app)

    async def scenario(live: Live) -> None:
        async with live.request() as line:
            assert isinstance(line.error, ClientDisconnect)

    play(world, browser, scenario)


def test_a_clients_own_end_reaches_the_app(world: World, browser: Browser) -> None:
    ticker = Ticker()
    serve(world, browser, ticker.starlette())

    async def scenario(live: Live) -> None:
        async with live.request() as line:
            ticker.tick()
            await live.steps.next()
            line.comes(type="http.disconnect")
            await live.steps.next()
            assert (line.returned.is_set(), line.chunks) == (True, [b"0 "])

    play(world, browser, scenario)


def test_a_posted_body_is_read_as_ever(world: World, browser: Browser) -> None:
    read: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/page":
            read.extend([await receive() for _ in range(3)])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    serve(world, browser, app)

    async def scenario(live: Live) -> None:
        async with live.request(body=b"one") as line:
            line.comes(type="http.request", body=b"two", more_body=True)
            await settled()
            line.comes(type="http.request", body=b"three", more_body=False)
            await line.returned.wait()
            assert (line.chunks, live.watched) == ([b"ok"], 0)

    play(world, browser, scenario)
    assert [message["body"] for message in read] == [b"one", b"two", b"three"]


@pytest.mark.parametrize("listens", [False, True])
def test_data_that_can_not_be_saved_replaces_a_stream_whole(world: World, browser: Browser, listens: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def listen() -> None:
            await receive()
            await receive()

        async with anyio.create_task_group() as tasks:
            if listens and scope["path"] != "/page":
                tasks.start_soon(listen)
                await settled()
            if scope["path"] != "/page":
                scope["session"]["n"] = 1
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"chunk", "more_body": True})
            await send({"type": "http.response.body", "body": b"end"})
            tasks.cancel_scope.cancel()

    serve(world, browser, app)

    async def scenario(live: Live) -> None:
        def failing(*_: Any) -> Any:
            raise StoreUnavailable("the disk is full")

        live.store.save = failing
        async with live.request() as line:
            await line.returned.wait()
            assert line.sent[0]["status"] == 503
            assert len(line.chunks) == 1
            assert b"chunk" not in line.chunks[0]

    play(world, browser, scenario)


def test_the_end_of_a_stream_is_no_failure_in_the_log(
    world: World, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    ticker = Ticker()
    serve(world, browser, ticker.starlette(middleware=[Middleware(BaseHTTPMiddleware, dispatch=passes)]))

    async def scenario(live: Live) -> None:
        caplog.clear()
        async with live.request(spec="2.4") as line:
            ticker.tick()
            await live.steps.next()
            live.end()
            await live.steps.next()
            ticker.tick()
            await line.returned.wait()

    play(world, browser, scenario)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
