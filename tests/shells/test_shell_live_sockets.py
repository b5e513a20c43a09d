"""WebSockets of sessions that end."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace
from typing import Any, get_args

import anyio
import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from tests.shells.live_support import Line, Live, Versioned, play
from tests.shells.shell_support import DAY, HOUR, Browser, World
from tests.shells.test_shell_policies import BLOCK, HOURLY, policy

from kmsi_middleware.rules.close_codes import CLOSE_CODES
from kmsi_middleware.vocabulary.errors import StoreUnavailable
from kmsi_middleware.vocabulary.session import EndReason

REVOKED = (4445, "revoked")


@pytest.fixture
def world(asgi_world: World) -> World:
    return asgi_world


@pytest.fixture
def browser(world: World) -> Browser:
    return world.browser()


class Chat:
    """An app that says what it hears, and notes what it is told."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.accepts = accepts
        self.heard: list[Any] = []
        self.go_on = anyio.Event()
        self.listens = True
        self.at_the_end: list[Any] = []
        self.is_content = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})
            return
        self.heard.append(await receive())
        if not self.accepts:
            await self.go_on.wait()
        await send({"type": "websocket.accept"})
        while self.listens:
            message = await receive()
            self.heard.append(message)
            if message["type"] == "websocket.disconnect":
                break
            await send({"type": "websocket.send", "text": message["text"].upper()})
            if scope["kmsi"] is not None:
                scope["session"]["heard"] = message["text"]
        if not self.listens:
            await self.go_on.wait()
        for message in self.at_the_end:
            await send(message)
        self.is_content = True


def serve(world: World, browser: Browser, app: Any, **settings: Any) -> Any:
    world.serve(world.middleware(app, public_paths=["/public"], **settings))
    browser.sign_in("mia", "no")
    return app


# What ends it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", get_args(EndReason))
def test_it_is_closed_with_the_code_and_the_word_of_the_reason(world: World, browser: Browser, reason: Any) -> None:
    chat = serve(world, browser, Chat())

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            line.comes(type="websocket.receive", text="hello")
            await live.steps.next()
            live.end(reason)
            assert line.closed is None
            await live.steps.next()
            assert line.closed == (CLOSE_CODES[reason], reason)
            assert line.returned.is_set()
            assert [m["type"] for m in line.sent] == ["websocket.accept", "websocket.send", "websocket.close"]

    play(world, browser, scenario)
    told = {"type": "websocket.disconnect", "code": CLOSE_CODES[reason], "reason": reason}
    assert chat.heard[-1] == told


def test_while_the_session_goes_on_it_stays_open_and_extends_nothing(world: World, browser: Browser) -> None:
    serve(world, browser, Chat())

    async def scenario(live: Live) -> None:
        before = live.store.load(live.key, world.clock.now)
        async with live.websocket() as line:
            for _ in range(11):
                world.clock.pass_(2 * HOUR)
                await live.steps.next()
                line.comes(type="websocket.receive", text="hello")
            await live.steps.next()
            assert [m.get("text") for m in line.sent] == [None, *["HELLO"] * 11]
            assert live.store.load(live.key, world.clock.now) == before
            world.clock.pass_(2 * HOUR)
            await live.steps.next()
            assert line.closed == (4440, "idle")

    play(world, browser, scenario)


def test_a_person_who_is_active_elsewhere_keeps_it_open(world: World, browser: Browser) -> None:
    serve(world, browser, Chat())

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            for _ in range(30):
                world.clock.pass_(2 * HOUR)
                await live.away(lambda: browser.visit("/page"))
                await live.steps.next()
            assert line.closed is None

    play(world, browser, scenario)


def test_a_sign_out_in_the_browser_closes_it(world: World, browser: Browser) -> None:
    serve(world, browser, Chat())

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            await live.away(browser.sign_out)
            await live.steps.next()
            assert line.closed == (4442, "signed_out")

    play(world, browser, scenario)


def test_after_a_fresh_sign_in_the_client_connects_anew_with_the_new_cookie(world: World, browser: Browser) -> None:
    serve(world, browser, Chat())

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            await live.away(lambda: browser.sign_in("mia", "no", at="/.auth/login?prompt=login"))
            await live.steps.next()
            assert line.closed == (4446, "replaced")
            async with live.websocket() as again:
                await live.steps.next()
                assert again.closed is None
                assert again.sent[0]["type"] == "websocket.accept"

    play(world, browser, scenario)


def test_only_the_ended_sessions_connections_are_closed(world: World, browser: Browser) -> None:
    serve(world, browser, Chat())
    other = world.browser()
    other.sign_in("gus", None)

    async def scenario(live: Live) -> None:
        async with live.websocket() as one, live.websocket("/another") as two:
            live.browser = other
            async with live.websocket() as three:
                live.browser = browser
                live.end()
                await live.steps.next()
                assert [line.closed for line in (one, two, three)] == [REVOKED, REVOKED, None]
                assert live.steps.waiting == 1  # one watcher for all of them

    play(world, browser, scenario)


def test_another_process_ends_it_through_the_shared_file(stage: Any) -> None:
    for shell in ("asgi-asyncio", "asgi-trio"):
        world: World = stage(shell, "sqlite")
        browser = world.browser()
        serve(world, browser, Chat())
        other = world.middleware(Chat())
        assert other is not None
        store = world._last.services.store

        async def scenario(live: Live, store: Any = store) -> None:
            assert store is not live.store
            async with live.websocket() as line:
                await live.steps.next()
                store.end(live.key, "back_channel", live.world.clock.now)
                await live.steps.next()
                assert line.closed == (4444, "back_channel")

        play(world, browser, scenario)


# Policies ------------------------------------------------------------------------------------------------------


def test_a_policy_that_changes_closes_it(world: World, browser: Browser) -> None:
    path = world.folder / "policies.json"
    path.write_text(json.dumps([HOURLY]))
    serve(world, browser, Chat(), policies=str(path))

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            await live.steps.next()
            path.write_text(json.dumps([HOURLY, policy("Closed", grant=BLOCK)]))
            world.clock.pass_(10)
            await live.steps.next()
            assert line.closed == (4448, "policy")

    play(world, browser, scenario)


def test_a_sign_in_that_falls_due_closes_it_when_the_grace_is_over(world: World, browser: Browser) -> None:
    serve(world, browser, Chat(), policies=[HOURLY])

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            world.clock.pass_(3 * HOUR - 1)
            await live.steps.next()
            assert line.closed is None
            world.clock.pass_(1)
            await live.steps.next()
            assert line.closed == (4447, "sign_in_frequency")

    play(world, browser, scenario)


def test_or_when_the_person_comes_back_and_has_to_sign_in(world: World, browser: Browser) -> None:
    serve(world, browser, Chat(), policies=[HOURLY])

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            world.clock.pass_(HOUR)
            await live.steps.next()
            assert line.closed is None
            await live.away(lambda: browser.visit("/page"))
            await live.steps.next()
            assert line.closed == (4447, "sign_in_frequency")

    play(world, browser, scenario)


def test_a_risk_that_rises_closes_it(world: World, browser: Browser) -> None:
    risk = {"risk": "none"}
    at_risk = policy("At risk", conditions={"signInRiskLevels": ["high"]}, grant=BLOCK)
    serve(world, browser, Chat(), policies=[at_risk], current_risk=lambda session: risk)

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            await live.steps.next()
            assert line.closed is None
            risk["risk"] = "high"
            await live.steps.next()
            assert line.closed == (4448, "policy")

    play(world, browser, scenario)


def test_a_hook_that_fails_closes_it_as_a_failure(world: World, browser: Browser) -> None:
    answers: list[Any] = [{"risk": "none"}]

    def current_risk(session: Any) -> Any:
        if not answers:
            raise RuntimeError("the risk service is away")
        return answers[0]

    at_risk = policy("At risk", conditions={"signInRiskLevels": ["high"]}, grant=BLOCK)
    serve(world, browser, Chat(), policies=[at_risk], current_risk=current_risk)

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            await live.steps.next()
            answers.clear()
            await live.steps.next()
            assert line.closed == (1011, "error")

    play(world, browser, scenario)


# The store -----------------------------------------------------------------------------------------------------


def test_a_store_that_fails_closes_nothing(world: World, browser: Browser) -> None:
    serve(world, browser, Chat())

    async def scenario(live: Live) -> None:
        load = live.store.load

        def failing(*_: Any) -> Any:
            raise StoreUnavailable("away")

        async with live.websocket() as line:
            live.end()
            live.store.load = failing
            for _ in range(5):
                await live.steps.next()
            line.comes(type="websocket.receive", text="hello")
            await live.steps.next()
            assert [m["type"] for m in line.sent] == ["websocket.accept", "websocket.send"]
            live.store.load = load
            await live.steps.next()
            assert line.closed == REVOKED

    play(world, browser, scenario)


def test_but_what_is_over_by_the_clock_is_over(world: World, browser: Browser) -> None:
    serve(world, browser, Chat())

    async def scenario(live: Live) -> None:
        def failing(*_: Any) -> Any:
            raise StoreUnavailable("away")

        async with live.websocket() as line:
            live.store.load = failing
            world.clock.pass_(DAY - 1)
            await live.steps.next()
            assert line.closed is None
            world.clock.pass_(1)
            await live.steps.next()
            assert line.closed == (4440, "idle")

    play(world, browser, scenario)


def test_a_slow_store_holds_up_nobody_and_closes_nothing(world: World, browser: Browser) -> None:
    serve(world, browser, Chat())
    other = world.browser()
    other.sign_in("gus", None)

    async def scenario(live: Live) -> None:
        store, load, go_on = live.store, live.store.load, threading.Event()
        slow = live.key

        def loading(key: bytes, now: float) -> Any:
            if key == slow:
                go_on.wait(8)
            return load(key, now)

        async with live.websocket() as waits:
            live.browser = other
            async with live.websocket() as line:
                store.inline, store.load = False, loading
                try:
                    store.end(slow, "revoked", world.clock.now)
                    await live.steps.next()
                    store.end(live.key, "signed_out", world.clock.now)
                    await live.steps.next()
                    with anyio.fail_after(5):
                        await line.returned.wait()
                    assert line.closed == (4442, "signed_out")
                    assert waits.closed is None
                    world.clock.pass_(DAY)
                    await live.steps.next()
                    assert waits.closed == (4440, "idle")
                finally:
                    go_on.set()
                    store.inline, store.load = True, load

    play(world, browser, scenario)


def test_a_store_that_breaks_its_contract_closes_it_as_a_failure(
    world: World, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    serve(world, browser, Chat())

    async def scenario(live: Live) -> None:
        load = live.store.load
        async with live.websocket() as line:
            live.store.load = lambda *_: [][0]
            await live.steps.next()
            live.store.load = load
            assert line.closed == (1011, "error")

    play(world, browser, scenario)
    assert "IndexError" in caplog.text


# What the app sees ---------------------------------------------------------------------------------------------


def test_nothing_that_the_app_sends_after_the_end_goes_out(world: World, browser: Browser) -> None:
    chat = Chat()
    chat.listens = False
    chat.at_the_end = [{"type": "websocket.send", "text": "a secret"}]
    serve(world, browser, chat)

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            live.end()
            await live.steps.next()
            assert line.closed == REVOKED  # although the app does not listen
            assert not line.returned.is_set()
            chat.go_on.set()
            await line.returned.wait()
            assert line.error is None  # for a server it is no failure
            assert [m["type"] for m in line.sent] == ["websocket.accept", "websocket.close"]

    play(world, browser, scenario)


def test_an_app_that_closes_it_then_is_content(world: World, browser: Browser) -> None:
    chat = Chat()
    chat.at_the_end = [{"type": "websocket.close", "code": 1000}]
    serve(world, browser, chat)

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            live.end()
            await live.steps.next()
            assert line.returned.is_set()
            assert chat.is_content
            assert [m for m in line.sent if m["type"] == "websocket.close"] == [
                {"type": "websocket.close", "code": 4445, "reason": "revoked"}
            ]

    play(world, browser, scenario)


def test_an_app_that_fails_by_itself_then_fails_for_the_server_to_see(world: World, browser: Browser) -> None:
    class Failing(Chat):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await super().__call__(scope, receive, send)
            if scope["type"] == "websocket":
                raise RuntimeError("the app failed")

    serve(world, browser, Failing())

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            live.end()
            await live.steps.next()
            assert isinstance(line.error, RuntimeError)

    play(world, browser, scenario)


def test_one_that_is_not_accepted_yet_is_refused(world: World, browser: Browser) -> None:
    chat = serve(world, browser, Chat(accepts=False))

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            live.end()
            await live.steps.next()
            assert line.closed == REVOKED
            chat.go_on.set()
            await line.returned.wait()
            assert [m["type"] for m in line.sent] == ["websocket.close"]
            assert line.error is None

    play(world, browser, scenario)


@pytest.mark.parametrize("kind", ["listens", "sends", "groups"])
def test_starlettes_own_errors_of_a_client_that_went_away_are_no_failures(
    world: World, browser: Browser, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = anyio.Event()

    async def listens(socket: WebSocket) -> None:
        await socket.accept()
        await socket.receive_text()

    async def sends(socket: WebSocket) -> None:
        await socket.accept()
        await go_on.wait()
        await socket.send_text("too late")

    async def groups(socket: WebSocket) -> None:
        await socket.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(socket.receive_text)
            await go_on.wait()
            await socket.send_text("too late")

    endpoint = {"listens": listens, "sends": sends, "groups": groups}[kind]
    app = Starlette(routes=[WebSocketRoute("/chat", endpoint)])
    world.serve(world.middleware(app))
    browser.sign_in()

    async def scenario(live: Live) -> None:
        caplog.clear()
        async with live.websocket() as line:
            live.end()
            await live.steps.next()
            go_on.set()
            await line.returned.wait()
            assert line.error is None
            assert line.closed == REVOKED

    play(world, browser, scenario)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_its_data_is_kept_when_only_the_connection_ends(world: World, browser: Browser) -> None:
    path = world.folder / "policies.json"
    path.write_text(json.dumps([HOURLY]))
    serve(world, browser, Chat(), policies=str(path))

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            line.comes(type="websocket.receive", text="hello")
            await live.steps.next()
            path.write_text(json.dumps([HOURLY, policy("Closed", grant=BLOCK)]))
            world.clock.pass_(10)
            await live.steps.next()
            await line.returned.wait()
            assert json.loads(live.store.load(live.key, world.clock.now).data) == {"heard": "hello"}

    play(world, browser, scenario)


def test_data_of_a_session_that_is_over_is_dropped_in_silence(
    world: World, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    serve(world, browser, Chat())

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            line.comes(type="websocket.receive", text="hello")
            await live.steps.next()
            live.end()
            caplog.clear()
            await live.steps.next()
            assert line.returned.is_set()

    play(world, browser, scenario)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# The client ----------------------------------------------------------------------------------------------------


def test_a_client_that_is_gone_already_is_no_failure(
    world: World, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    serve(world, browser, Chat())

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            line.refuses_to_close = True
            live.end()
            caplog.clear()
            await live.steps.next()
            assert line.returned.is_set()
            assert line.error is None

    play(world, browser, scenario)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_call_lasts_until_the_closing_is_through(world: World, browser: Browser) -> None:
    """A server closes the line as soon as the app returns, even before the close frame is on it."""
    serve(world, browser, Chat())

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            through, send = anyio.Event(), line.send

            async def slowly(message: Any) -> None:
                if message["type"] == "websocket.close":
                    await through.wait()
                await send(message)

            watched = next(iter(live.shell._connections._watchers.get()._open))
            watched._send = slowly
            live.end()
            await live.steps.next()
            assert not line.returned.is_set()
            through.set()
            await line.returned.wait()
            assert line.closed == REVOKED

    play(world, browser, scenario)


# Who is watched ------------------------------------------------------------------------------------------------


def test_whoever_has_no_session_is_not_watched(world: World, browser: Browser) -> None:
    serve(world, browser, Chat())
    browser.sign_out()

    async def scenario(live: Live) -> None:
        async with live.websocket("/public") as line:
            assert line.sent[0]["type"] == "websocket.accept"
            assert (live.watched, live.steps.waiting) == (0, 0)

    play(world, browser, scenario)


@pytest.mark.parametrize("lingers", [False, True])
@pytest.mark.parametrize("who", ["client", "app", "refuses", "error"])
def test_one_that_is_over_by_itself_is_forgotten_and_not_closed_again(
    world: World, browser: Browser, who: str, lingers: bool
) -> None:
    class Ending(Chat):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket" and who == "error":
                raise RuntimeError("the app failed")
            if scope["type"] == "websocket" and who == "refuses":
                await receive()
                await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
                await send({"type": "websocket.http.response.body", "body": b""})
            else:
                await super().__call__(scope, receive, send)
            if scope["type"] == "websocket" and lingers:
                await anyio.sleep_forever()

    chat = Ending()
    if who == "app":
        chat.listens, chat.at_the_end = False, [{"type": "websocket.close", "code": 1000}]
        chat.go_on.set()
    serve(world, browser, chat)

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            if who == "client":
                line.comes(type="websocket.disconnect", code=1001)
            await live.steps.next()
            live.end()
            sent = list(line.sent)
            await live.steps.next()
            assert line.sent == sent
            assert (live.watched, live.steps.waiting) == (0, 0)

    play(world, browser, scenario)


def test_the_watcher_ends_with_the_last_and_starts_with_the_next(world: World, browser: Browser) -> None:
    serve(world, browser, Chat())

    async def scenario(live: Live) -> None:
        lines: list[Line] = []
        for _ in range(3):
            async with live.websocket() as line, live.websocket() as another:
                await live.steps.next()
                assert (live.watched, live.steps.waiting) == (2, 1)
                lines += [line, another]
            await live.steps.next()
            assert (live.watched, live.steps.waiting) == (0, 0)
        async with live.websocket() as line:
            live.end()
            await live.steps.next()
            assert line.closed == REVOKED

    play(world, browser, scenario)


def test_where_nothing_changed_nothing_is_asked(world: World, browser: Browser) -> None:
    serve(world, browser, Chat(), policies=[HOURLY])

    async def scenario(live: Live) -> None:
        asked: list[Any] = []
        load = live.store.load
        live.store.load = lambda *key: (asked.append(key), load(*key))[1]
        async with live.websocket():
            asked.clear()
            for _ in range(10):
                await live.steps.next()
                world.clock.pass_(60)
            assert len(asked) == 1

    play(world, browser, scenario)


def test_a_store_on_another_machine_is_asked_for_no_more_than_versions(world: World, browser: Browser) -> None:
    store = Versioned()
    serve(world, browser, Chat(), store=store)

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            await live.steps.next()
            store.asked.clear()
            for _ in range(5):
                await live.steps.next()
            assert store.asked == ["version"] * 5
            await live.away(lambda: browser.visit("/count"))
            store.asked.clear()
            await live.steps.next()
            assert (store.asked, line.closed) == (["version"], None)
            live.end()
            await live.steps.next()
            assert store.asked[-2:] == ["version", "load"]
            assert line.closed == REVOKED

    play(world, browser, scenario)


def test_and_loads_where_the_session_changed_or_its_time_has_come(world: World, browser: Browser) -> None:
    store = Versioned()
    serve(world, browser, Chat(), store=store)

    async def scenario(live: Live) -> None:
        async with live.websocket() as line:
            await live.steps.next()
            session = store.load(live.key, world.clock.now)
            store.save(replace(session, version=session.version + 1), world.clock.now)
            store.asked.clear()
            await live.steps.next()
            await live.steps.next()
            assert store.asked == ["version", "load", "version"]
            world.clock.pass_(DAY)
            store.asked.clear()
            await live.steps.next()
            assert (store.asked, line.closed) == (["load"], (4440, "idle"))

    play(world, browser, scenario)


def test_the_interval_is_half_a_second_of_real_time(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(world, browser, Chat())
    pauses: list[float] = []
    shell = world.at["http://localhost:8000"].app
    assert shell._connections.pause.func is anyio.sleep
    pauses += shell._connections.pause.args
    assert pauses == [0.5]
