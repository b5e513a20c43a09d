"""``revocation_lag``: memory answers, the server's messages keep it fresh, and a lease bounds it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.redis_support import RedisServer
from tests.stores.store_actors import NOW, key_of, session

from kmsi_middleware.edges.stores import open_store
from kmsi_middleware.edges.stores.redis import RedisStore
from kmsi_middleware.vocabulary.effects import slot_of
from kmsi_middleware.vocabulary.errors import SettingsError
from kmsi_middleware.vocabulary.session import Session

LAG = 400  # milliseconds
KEY = key_of("ada")
PATIENCE = 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    started = RedisServer(tmp_path / "redis").start()
    yield started
    started.stop()


@pytest.fixture
def near(server: RedisServer) -> Iterator[RedisStore]:
    """One process's store."""
    store = open_store(server.url, revocation_lag=LAG)
    assert isinstance(store, RedisStore)
    yield store
    store.close()


@pytest.fixture
def far(server: RedisServer) -> Iterator[RedisStore]:
    """Another process's."""
    store = open_store(server.url)
    assert isinstance(store, RedisStore)
    yield store
    store.close()


def leased(store: RedisStore) -> int:
    """Wait for a lease. Answer: the count of the session's slot."""
    for _ in range(PATIENCE * 200):
        counts = store.counters()
        if counts is not None:
            return counts[slot_of(KEY)]
        time.sleep(0.005)
    raise AssertionError("there is no lease")


def count(store: RedisStore) -> int | None:
    counts = store.counters()
    return None if counts is None else counts[slot_of(KEY)]


def moved(store: RedisStore, noted: int) -> bool:
    """Whether the count has moved, once there is a lease and the messages so far were heard."""
    for _ in range(PATIENCE * 200):
        if leased(store) != noted:
            return True
        time.sleep(0.005)
    return False


def test_nothing_listens_before_the_first_use(near: RedisStore) -> None:
    assert near._lease is not None
    assert near._lease._thread is None
    assert near.counters() is None
    assert near._lease._thread is not None


def test_while_nothing_changes_the_count_stays_and_memory_answers(near: RedisStore, far: RedisStore) -> None:
    far.create(session(), NOW)
    noted = leased(near)
    far.load(KEY, NOW)
    far.put_ticket(KEY, b"", int(NOW) + 9, NOW)
    assert {count(near) for _ in range(500)} <= {noted, None}


@pytest.mark.parametrize("change", ["end", "save", "end_many"])
def test_another_processs_write_moves_the_count(near: RedisStore, far: RedisStore, change: str) -> None:
    far.create(session(), NOW)
    noted = leased(near)
    match change:
        case "end":
            far.end(KEY, "revoked", NOW)
        case "save":
            far.save(session(version=2), NOW)
        case _:
            far.end_many([KEY], "revoked", NOW)
    assert moved(near, noted)


def test_ones_own_write_moves_the_count_before_it_is_answered(near: RedisStore) -> None:
    leased(near)
    near.create(session(), NOW)
    noted = leased(near)
    near.save(session(version=2), NOW)
    assert count(near) != noted
    noted = leased(near)
    near.end(KEY, "revoked", NOW)
    assert count(near) != noted


def test_later_than_the_lag_after_a_revocation_nothing_passes(near: RedisStore, far: RedisStore) -> None:
    """As a request does: where the count vouches, it passes. Each that passes after the revocation was answered is
    measured; a thread that is starved by the machine only ends the lease."""
    latest = 0.0
    for number in range(12):
        key = key_of(number)
        far.create(session(number), NOW)
        while (counts := near.counters()) is None:
            time.sleep(0.002)
        stamp = counts[slot_of(key)]
        loaded = near.load(key, NOW)
        assert isinstance(loaded, Session)
        answered_at: list[float] = []

        def revoke(key: bytes = key, answered_at: list[float] = answered_at) -> None:
            far.end(key, "revoked", NOW)
            answered_at.append(time.monotonic())

        revoker = threading.Thread(target=revoke)
        revoker.start()
        while True:
            started = time.monotonic()
            held = near.counters()
            if held is not None and held[slot_of(key)] == stamp:
                if answered_at and started > answered_at[0]:
                    latest = max(latest, started - answered_at[0])
                continue
            if answered_at:
                break
        revoker.join()
    assert latest <= LAG / 1_000


def test_a_server_that_falls_silent_ends_the_lease(near: RedisStore, server: RedisServer) -> None:
    leased(near)
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    stopped_at = time.monotonic()
    try:
        while near.counters() is not None:
            assert time.monotonic() - stopped_at < 2 * LAG / 1_000 + 1
            time.sleep(0.005)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    leased(near)  # and it goes on by itself


def test_a_connection_that_is_lost_ends_the_lease_and_moves_every_count(near: RedisStore, server: RedisServer) -> None:
    noted = leased(near)
    with server.client() as admin:
        for client in admin.client_list():
            admin.client_kill_filter(_id=client["id"], skipme=True)
    assert moved(near, noted)


def test_a_server_that_forgets_everything_is_not_believed_any_longer(near: RedisStore, server: RedisServer) -> None:
    noted = leased(near)
    with server.client() as admin:
        admin.flushall()
    assert moved(near, noted)


def test_a_replica_gives_no_lease(near: RedisStore, server: RedisServer, tmp_path: Path) -> None:
    leased(near)
    with server.client() as admin:
        admin.replicaof("127.0.0.1", "9")
        for _ in range(PATIENCE * 200):
            if near.counters() is None:
                break
            time.sleep(0.005)
        assert near.counters() is None
        admin.replicaof("NO", "ONE")
    leased(near)


def test_closing_ends_the_thread_and_the_next_use_begins_again(near: RedisStore) -> None:
    leased(near)
    assert near._lease is not None
    thread = near._lease._thread
    near.close()
    assert thread is not None
    assert not thread.is_alive()
    leased(near)


def test_a_forked_child_listens_for_itself(near: RedisStore) -> None:
    leased(near)
    child = os.fork()
    if child == 0:
        try:
            assert near._lease is not None
            assert near._lease._thread is None
            leased(near)
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    leased(near)


@pytest.mark.parametrize("text", ["sqlite:sessions.sqlite3", "memory:", "redis+cluster://127.0.0.1:7000"])
def test_only_one_server_can_have_a_lag(text: str) -> None:
    with pytest.raises(SettingsError, match="revocation_lag"):
        open_store(text, revocation_lag=LAG)
