"""Redis under asyncio: what is shared by whom, and for how long; and forks, with and without it."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.redis_support import RedisServer
from tests.stores.store_actors import NOW, key_of, session

from kmsi_middleware.edges.stores import open_store
from kmsi_middleware.edges.stores.redis import RedisStore
from kmsi_middleware.edges.stores.redis.client import Client
from kmsi_middleware.vocabulary.session import Session, Tombstone


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    made = open_store(redis_url)
    assert isinstance(made, RedisStore)
    yield made
    made.close()


def reads(server: RedisServer) -> int:
    """How many pieces of input the server has read."""
    with server.client() as client:
        count: int = client.info("stats")["total_reads_processed"]
        return count


def connections(server: RedisServer) -> int:
    with server.client() as client:
        return len(client.client_list()) - 1


def settles(value: Callable[[], Any], wanted: Any) -> None:
    """What the server hears of late becomes so."""
    deadline = time.monotonic() + 10
    while value() != wanted:
        assert time.monotonic() < deadline, (value(), wanted)
        time.sleep(0.01)


def test_all_who_ask_at_the_same_time_share_one_piece(store: RedisStore, redis_server: RedisServer) -> None:
    for number in range(100):
        store.create(session(number), NOW)
    store.end(key_of(7), "revoked", NOW)
    ask = store.asynchronous

    async def many() -> None:
        await ask.load(key_of(0), NOW)
        before = reads(redis_server)
        own = reads(redis_server) - before
        versions = await asyncio.gather(*(ask.version(key_of(number)) for number in range(100)))
        assert versions == [None if number == 7 else 1 for number in range(100)]
        assert reads(redis_server) - before - 2 * own == 1
        loads = await asyncio.gather(*(ask.load(key_of(number), NOW) for number in range(100)))
        assert reads(redis_server) - before - 3 * own <= 4  # those of the versions among them; a piece has its limit
        assert [type(each) for each in loads] == [Tombstone if number == 7 else Session for number in range(100)]

    asyncio.run(many())


def test_who_gives_up_leaves_the_others_their_answers(store: RedisStore, redis_server: RedisServer) -> None:
    for number in range(50):
        store.create(session(number), NOW)
    ask = store.asynchronous

    def connected() -> int:
        with redis_server.client() as client:
            count: int = client.info("stats")["total_connections_received"]
            return count

    async def some_give_up() -> None:
        await ask.load(key_of(0), NOW)
        before = connected()
        tasks = [asyncio.ensure_future(ask.load(key_of(number), NOW)) for number in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        for number, each in enumerate(found):
            if number % 3:
                assert each == session(number)
            else:
                assert isinstance(each, asyncio.CancelledError)
        assert await ask.load(key_of(3), NOW) == session(3)
        assert connected() == before + 1, "and their connection"

    asyncio.run(some_give_up())


def test_who_gives_up_while_the_connection_is_made_leaves_it_to_the_others(store: RedisStore) -> None:
    store.create(session(), NOW)
    ask = store.asynchronous

    async def the_first_gives_up() -> None:
        first = asyncio.ensure_future(ask.load(key_of("ada"), NOW))
        second = asyncio.ensure_future(ask.load(key_of("ada"), NOW))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == session()

    asyncio.run(the_first_gives_up())


def test_a_loop_has_one_connection_which_ends_with_it(store: RedisStore, redis_server: RedisServer) -> None:
    store.close()
    ask = store.asynchronous

    async def look() -> int:
        await asyncio.gather(*(ask.load(key_of(number), NOW) for number in range(20)))
        return connections(redis_server)

    before = connections(redis_server)
    for _ in range(3):
        assert asyncio.run(look()) == before + 1
        settles(lambda: connections(redis_server), before)
    assert ask._by_loop == {}


def test_a_store_that_was_closed_under_a_running_loop_opens_again(store: RedisStore, redis_server: RedisServer) -> None:
    store.create(session(), NOW)
    ask = store.asynchronous

    async def close_and_look() -> None:
        for _ in range(3):
            assert await ask.load(key_of("ada"), NOW) == session()
            store.close()
            assert await ask.version(key_of("ada")) == 1
        gc.collect()
        assert await ask.version(key_of("ada")) == 1

    before = connections(redis_server)
    asyncio.run(close_and_look())
    settles(lambda: connections(redis_server), before - 1)  # the one of this thread was closed, too


def test_a_loop_that_was_left_without_an_end_harms_nobody(store: RedisStore) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.asynchronous.load(key_of("ada"), NOW))
    store.close()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    store.close()
    assert asyncio.run(store.asynchronous.load(key_of("ada"), NOW)) is None


def test_a_primary_that_takes_no_writes_any_more_is_asked_about(
    redis_server: RedisServer, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the Sentinels have demoted it, and the connection stayed."""
    replica = RedisServer(tmp_path / "replica").start()
    with replica.client() as client:
        client.replicaof("127.0.0.1", redis_server.port)
    places = iter([replica.port, redis_server.port])
    monkeypatch.setattr(Client, "where", lambda *_: ("127.0.0.1", next(places)))
    store = open_store("redis+sentinel://127.0.0.1:1/main?prefix=test:")
    try:
        asyncio.run(store.asynchronous.put_ticket(key_of("ada"), b"payload", int(NOW) + 60, NOW))
        assert list(places) == []
    finally:
        replica.kill()


def test_both_sides_of_a_fork_have_connections_of_their_own(store: RedisStore) -> None:
    store.create(session(), NOW)
    assert asyncio.run(store.asynchronous.load(key_of("ada"), NOW)) == session()
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            try:
                for _ in range(50):
                    assert store.load(key_of("ada"), NOW) == session()
                    assert store.load(key_of(number), NOW) is None
                store.create(session(("child", number)), NOW)
                assert asyncio.run(store.asynchronous.load(key_of("ada"), NOW)) == session()
                os._exit(0)
            except BaseException as error:
                os.write(2, repr(error).encode())
                os._exit(1)
        children.append(child)
    for _ in range(200):
        assert store.load(key_of("ada"), NOW) == session()
    for child in children:
        _, status = os.waitpid(child, 0)
        assert status == 0
    for number in range(3):
        assert isinstance(store.load(key_of(("child", number)), NOW), Session)


def test_a_fork_inside_a_running_loop_leaves_the_parent_its_connection(store: RedisStore) -> None:
    store.create(session(), NOW)
    ask = store.asynchronous

    async def fork() -> None:
        assert await ask.version(key_of("ada")) == 1
        child = os.fork()
        if child == 0:
            try:
                assert ask._by_loop == {}
                assert store.version(key_of("ada")) == 1
                os._exit(0)
            except BaseException:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert await ask.version(key_of("ada")) == 1

    asyncio.run(fork())
