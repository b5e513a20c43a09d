"""Asking once for all requests that wait, under asyncio: strict, whoever changed a session, and whatever breaks."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio.to_thread
import hiredis
import pytest
import redis
from tests.redis_support import RedisServer
from tests.stores.store_actors import NOW, key_of, session

from kmsi_middleware.edges.stores import open_store
from kmsi_middleware.edges.stores.redis import AsyncRedisStore, RedisStore, pipe, pipes
from kmsi_middleware.edges.stores.redis.counts import keeps_order
from kmsi_middleware.edges.stores.redis.listener import Listener
from kmsi_middleware.vocabulary.effects import slot_of
from kmsi_middleware.vocabulary.errors import StoreUnavailable
from kmsi_middleware.vocabulary.session import Session

KEY = key_of("ada")
PATIENCE = 10

Opened = Callable[[str], RedisStore]


@pytest.fixture
def opened() -> Iterator[Opened]:
    made: list[RedisStore] = []

    def open_(text: str) -> RedisStore:
        store = open_store(text)
        assert isinstance(store, RedisStore)
        made.append(store)
        return store

    yield open_
    for store in made:
        store.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may stop."""
    server = RedisServer(tmp_path / "own").start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "AGAIN", 0.0)


async def listening(ask: AsyncRedisStore) -> Sequence[int]:
    """The counts, as soon as they vouch."""
    async with asyncio.timeout(PATIENCE):
        while (counts := await ask.counters()) is None:
            await asyncio.sleep(0.005)
    return counts


async def count(ask: AsyncRedisStore, key: bytes = KEY) -> int:
    return (await listening(ask))[slot_of(key)]


def asked(server: RedisServer) -> int:
    """How many questions a server was asked."""
    with server.client() as client:
        return int(client.info("commandstats").get("cmdstat_role", {"calls": 0})["calls"])


def settles(condition: Callable[[], Awaitable[object]]) -> Awaitable[None]:
    async def wait() -> None:
        async with asyncio.timeout(PATIENCE):
            while not await condition():
                await asyncio.sleep(0.005)

    return wait()


def silences(server: RedisServer) -> list[tuple[bool, bool]]:
    """Of each connection to the server, as the system has it: whether TCP asks on it for the other side, and whether
    that is known within a minute."""
    found = []
    idle = getattr(socket, "TCP_KEEPIDLE", None) or socket.TCP_KEEPALIVE
    for descriptor in Path("/dev/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(descriptor.name))) as connection:
            if connection.family == socket.AF_INET and connection.getpeername()[1] == server.port:
                asks = connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                first, between, times = (
                    connection.getsockopt(socket.IPPROTO_TCP, option)
                    for option in (idle, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                )
                found.append((bool(asks), first + between * times <= 60))
    return found


def test_no_connection_is_dropped_for_its_silence(opened: Opened, own: RedisServer) -> None:
    """What lies between drops what is silent for some minutes, and may tell neither side."""
    store = opened(own.url)
    store.create(session(), NOW)  # a thread's

    async def look() -> list[tuple[bool, bool]]:
        await store.asynchronous.load(KEY, NOW)
        await listening(store.asynchronous)
        return silences(own)

    assert asyncio.run(look()) == [(True, True)] * 3


def test_until_it_listens_nothing_is_vouched_for_and_nobody_waits(opened: Opened, redis_url: str) -> None:
    ask = opened(redis_url).asynchronous

    async def first() -> None:
        assert await ask.counters() is None
        assert (await listening(ask)) is ask.noted_counters()

    asyncio.run(first())


def test_all_requests_that_wait_share_one_question(opened: Opened, redis_url: str, redis_server: RedisServer) -> None:
    ask = opened(redis_url).asynchronous

    async def hundred() -> None:
        await listening(ask)
        before = asked(redis_server)
        answers = await asyncio.gather(*(ask.counters() for _ in range(100)))
        assert all(answer is ask.noted_counters() for answer in answers)
        assert asked(redis_server) == before + 1
        for _ in range(3):
            await ask.counters()
        assert asked(redis_server) == before + 4, "who comes later waits for a question of its own"

    asyncio.run(hundred())


class Wire(asyncio.Transport):
    """The other end is the test."""

    sent = 0

    def write(self, data: Any) -> None:
        self.sent += data.count(b"ROLE")

    def abort(self) -> None:
        pass


ROLE = b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"


def played(opened: Opened) -> tuple[Listener, Wire]:
    """A listener whose server is played."""
    store, wire = opened("redis://127.0.0.1:1"), Wire()
    listener = Listener(asyncio.get_running_loop(), store._counts, store._client)
    listener.connection_made(wire)
    return listener, wire


def test_who_comes_when_the_question_is_on_its_way_waits_for_the_next(opened: Opened) -> None:
    """Its session may have been revoked since."""

    async def play() -> None:
        listener, wire = played(opened)
        early = [listener.counters(), listener.counters()]
        assert wire.sent == 0
        await asyncio.sleep(0)
        assert wire.sent == 1
        late = listener.counters()
        listener.data_received(ROLE)
        assert [answer.done() for answer in [*early, late]] == [True, True, False]
        await asyncio.sleep(0)
        assert wire.sent == 2
        listener.data_received(ROLE)
        assert late.done()
        listener.connection_lost(None)

    asyncio.run(play())


@pytest.mark.parametrize(
    "message",
    [
        b">2\r\n$10\r\ninvalidate\r\n_\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$5\r\nother\r\n",
        b">2\r\n$7\r\nmessage\r\n$1\r\nx\r\n",
        b">1\r\n$10\r\ninvalidate\r\n",
        b">2\r\n$10\r\ninvalidate\r\n:5\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n:5\r\n",
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n_\r\n",
    ],
    ids=["all forgotten", "another key", "another message", "no keys", "a number", "numbers", "nothing"],
)
def test_what_is_not_understood_vouches_for_nothing(opened: Opened, message: bytes) -> None:
    """Not even by the good answer that came in the same piece."""

    async def play() -> None:
        listener, _ = played(opened)
        answer = listener.counters()
        await asyncio.sleep(0)
        listener.data_received(message + ROLE)
        assert await answer is None
        assert not listener.is_open
        listener.connection_lost(None)

    asyncio.run(play())


def _saves(store: RedisStore) -> None:
    store.save(session(version=2), NOW)


def _ends(store: RedisStore) -> None:
    store.end(KEY, "revoked", NOW)


def _ends_many(store: RedisStore) -> None:
    store.end_many([KEY], "revoked", NOW)


def _deletes(store: RedisStore) -> None:
    with open_client(store) as client:
        client.delete(store.operations.key_of(KEY))


def _lets_expire(store: RedisStore) -> None:
    with open_client(store) as client:
        client.pexpire(store.operations.key_of(KEY), 1)
        while client.exists(store.operations.key_of(KEY)):
            pass


def open_client(store: RedisStore) -> Any:
    return redis.Redis(port=store.address.hosts[0][1])


@pytest.mark.parametrize("change", [_saves, _ends, _ends_many, _deletes, _lets_expire])
def test_whatever_another_process_does_has_moved_the_count_of_whoever_asks_later(
    opened: Opened, redis_url: str, change: Callable[[RedisStore], None]
) -> None:
    here, far = opened(redis_url), opened(redis_url)
    here.create(session(), NOW)

    async def look() -> None:
        noted = await count(here.asynchronous)
        assert await count(here.asynchronous) == noted
        change(far)
        assert await count(here.asynchronous) != noted

    asyncio.run(look())


def test_after_a_revocation_was_answered_nothing_passes(opened: Opened, redis_url: str) -> None:
    """As requests do: what was loaded passes where the count is the one that was noted before. Raced, many times."""
    here, far = opened(redis_url), opened(redis_url)
    ask = here.asynchronous

    async def race(number: int) -> None:
        key = key_of(number)
        far.create(session(number), NOW)
        await listening(ask)
        stamp = ask.noted_counters()[slot_of(key)]
        assert isinstance(await ask.load(key, NOW), Session)
        assert await count(ask, key) == stamp
        answered = threading.Event()

        def revoke() -> None:
            far.end(key, "revoked", NOW)
            answered.set()

        revoker = threading.Thread(target=revoke)
        revoker.start()
        is_over = False
        while not is_over:
            is_over = answered.is_set()
            counts = await listening(ask)
            assert not is_over or counts[slot_of(key)] != stamp, "a request that began later has passed"
        revoker.join()

    async def races() -> None:
        for number in range(60):
            await race(number)

    asyncio.run(races())


def test_who_gives_up_leaves_the_others_their_answers(opened: Opened, redis_url: str) -> None:
    ask = opened(redis_url).asynchronous

    async def wait() -> Sequence[int] | None:
        return await ask.counters()

    async def some_give_up() -> None:
        await listening(ask)
        tasks = [asyncio.ensure_future(wait()) for _ in range(9)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [each is ask.noted_counters() for each in found] == [number % 3 != 0 for number in range(9)]

    asyncio.run(some_give_up())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_noted_before_the_connection_was_lost_is_not_vouched_for_after_it(
    opened: Opened, own: RedisServer, how: signal.Signals
) -> None:
    ask = opened(own.url).asynchronous

    async def lose() -> None:
        noted = await count(ask)
        own.stop(how)
        await settles(lambda: _is_none(ask))
        with pytest.raises(StoreUnavailable):
            await ask.version(KEY)
        own.start()
        assert await count(ask) != noted

    asyncio.run(lose())


async def _is_none(ask: AsyncRedisStore) -> bool:
    return await ask.counters() is None


def test_a_lost_connection_alone_costs_nobody_an_error(opened: Opened, own: RedisServer) -> None:
    store = opened(own.url)
    store.create(session(), NOW)
    ask = store.asynchronous

    async def cut() -> None:
        noted = await count(ask)
        with own.client() as client:
            client.client_kill_filter(_type="pubsub", skipme=True)  # as the server classes who listens
            client.client_kill_filter(_type="normal", skipme=True)
        for _ in range(20):
            await ask.counters()
            assert await ask.version(KEY) == 1
        assert await count(ask) != noted

    asyncio.run(cut())


def test_a_server_that_falls_silent_is_a_failure_and_not_an_answer(
    opened: Opened, own: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe, "ANSWER_SECONDS", 0.2)
    ask = opened(own.url).asynchronous

    async def silent() -> None:
        await listening(ask)
        assert own.process is not None
        own.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable, match="in time"):
                await ask.counters()
        finally:
            own.process.send_signal(signal.SIGCONT)
        await listening(ask)

    asyncio.run(silent())


def test_a_replica_vouches_for_nothing(opened: Opened, own: RedisServer, tmp_path: Path) -> None:
    ask = opened(own.url).asynchronous
    primary = RedisServer(tmp_path / "primary").start()

    async def demoted() -> None:
        noted = await count(ask)
        with own.client() as client:
            client.replicaof("127.0.0.1", primary.port)
            await settles(lambda: _is_none(ask))
            before = asked(own)
            while asked(own) < before + 3:
                assert await ask.counters() is None
                await asyncio.sleep(0.005)
            client.replicaof("NO", "ONE")
        assert await count(ask) != noted

    try:
        asyncio.run(demoted())
    finally:
        primary.stop()


def test_a_loop_that_was_held_up_takes_no_server_for_a_silent_one(opened: Opened) -> None:
    """Between the request and the sending of its question."""

    async def play() -> None:
        loop = asyncio.get_running_loop()
        listener, wire = played(opened)
        time, held_up = loop.time, 0.0
        loop.time = lambda: time() + held_up  # type: ignore[method-assign]
        answer = listener.counters()
        held_up = 10 * pipe.ANSWER_SECONDS
        while not wire.sent:
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        listener.data_received(ROLE)
        assert await answer is not None
        assert listener.is_open
        listener.connection_lost(None)

    asyncio.run(play())


def test_a_lost_connection_is_made_again_where_the_app_has_taken_all_threads(opened: Opened, own: RedisServer) -> None:
    """Else an app whose threads all wait for the store would wait for ever."""
    store = opened(own.url)
    store.create(session(), NOW)
    ask = store.asynchronous

    async def busy() -> None:
        await ask.version(KEY)
        go_on = threading.Event()
        threads = int(anyio.to_thread.current_default_thread_limiter().total_tokens)
        waiting = [asyncio.create_task(anyio.to_thread.run_sync(go_on.wait)) for _ in range(threads)]
        await asyncio.sleep(0)
        with own.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
        try:
            async with asyncio.timeout(PATIENCE):
                assert await ask.version(KEY) == 1
        finally:
            go_on.set()
        await asyncio.gather(*waiting)

    asyncio.run(busy())


def listeners(server: RedisServer) -> int:
    with server.client() as client:
        return sum("t" in each["flags"] for each in client.client_list())


def nobody_listens(server: RedisServer) -> bool:
    for _ in range(PATIENCE * 200):
        if not listeners(server):
            return True
        time.sleep(0.005)
    return False


@pytest.mark.parametrize("end", ["the store is closed", "the loop ends"])
def test_a_child_that_lives_on_keeps_nobody_listening(opened: Opened, own: RedisServer, end: str) -> None:
    """Else the server would go on writing, and nobody would read."""
    store = opened(own.url)
    hold, held = os.pipe()
    children = []

    async def fork() -> None:
        await listening(store.asynchronous)
        child = os.fork()
        if child == 0:
            os.close(held)
            os.read(hold, 1)  # until the parent is done
            os._exit(0)
        children.append(child)
        assert listeners(own) == 1
        if end == "the store is closed":
            store.close()
            await asyncio.sleep(0)

    asyncio.run(fork())
    assert nobody_listens(own)
    os.close(held)
    assert os.waitpid(children[0], 0)[1] == 0


def test_nor_does_a_child_that_outlives_its_killed_parent(own: RedisServer) -> None:
    told, tell = os.pipe()

    async def fork(store: RedisStore) -> None:
        await listening(store.asynchronous)
        child = os.fork()
        if child == 0:
            signal.pause()
        os.write(tell, str(child).encode())
        os.kill(os.getpid(), signal.SIGKILL)

    parent = os.fork()
    if parent == 0:
        store = open_store(own.url)
        assert isinstance(store, RedisStore)
        asyncio.run(fork(store))
    os.waitpid(parent, 0)
    child = int(os.read(told, 20))
    try:
        assert nobody_listens(own)
    finally:
        os.kill(child, signal.SIGKILL)


ONE, FOUR, UNSAID = [b"io-threads", b"1"], [b"io-threads", b"4"], hiredis.ReplyError("NOPERM")


@pytest.mark.parametrize(
    ("info", "threads", "keeps"),
    [
        ("redis_version:6.0.16", FOUR, True),
        ("redis_version:7.4.9", UNSAID, True),
        ("redis_version:8.0.0", ONE, True),
        ("redis_version:8.0.0", FOUR, False),
        ("redis_version:10.2.1", UNSAID, False),
        ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:7.2.8", FOUR, True),
        ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0", ONE, True),
        ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0", FOUR, False),
        ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.0.0", ONE, False),
        ("redis_version:next", ONE, False),
        ("os:Linux", ONE, False),
    ],
)
def test_who_may_answer_before_it_tells_is_not_listened_to(info: str, threads: object, keeps: bool) -> None:
    assert keeps_order(f"# Server\r\n{info}\r\nredis_mode:standalone\r\n".encode(), threads) is keeps


def test_who_does_not_say_what_it_is_is_not_listened_to() -> None:
    assert not keeps_order(hiredis.ReplyError("NOPERM"), ONE)
    assert not keeps_order(b"\xff", ONE)


@pytest.mark.parametrize("forbidden", ["-client|tracking", "-info"])
def test_where_the_server_lets_nobody_listen_sessions_are_asked_for_one_by_one(
    opened: Opened, own: RedisServer, caplog: pytest.LogCaptureFixture, forbidden: str
) -> None:
    with own.client() as client:
        client.execute_command("ACL", "SETUSER", "app", "on", ">pass", "~*", "+@all", forbidden)
    store = opened(f"redis://app:pass@127.0.0.1:{own.port}/0")
    store.create(session(), NOW)
    ask = store.asynchronous

    async def look() -> None:
        with caplog.at_level(logging.INFO, "kmsi_middleware"):
            await settles(lambda: _said(caplog))
        for _ in range(10):
            assert await ask.counters() is None
            assert await ask.version(KEY) == 1

    async def _said(log: pytest.LogCaptureFixture) -> bool:
        await ask.counters()
        return "asked for by itself" in log.text

    asyncio.run(look())
    assert "pass" not in caplog.text.replace("NOPERM", "")


def test_a_loop_that_ends_takes_its_connections_with_it(
    opened: Opened, redis_url: str, redis_server: RedisServer
) -> None:
    ask = opened(redis_url).asynchronous

    def connections() -> int:
        with redis_server.client() as client:
            return len(client.client_list()) - 1

    before = connections()
    for _ in range(3):
        asyncio.run(_listen_once(ask))
        for _ in range(PATIENCE * 200):
            if connections() == before:
                break
        assert connections() == before


async def _listen_once(ask: AsyncRedisStore) -> None:
    await listening(ask)
