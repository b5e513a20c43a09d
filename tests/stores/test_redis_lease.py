"""``revocation_lag``: memory answers, the server's messages keep it fresh, and a lease bounds it."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.redis_support import RedisServer
from tests.stores.store_actors import NOW, key_of, session

from kmsi_middleware.edges.stores import open_store
from kmsi_middleware.edges.stores.redis import RedisStore
from kmsi_middleware.edges.stores.redis import lease as module
from kmsi_middleware.edges.stores.redis.lease import Lease
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


def test_a_child_that_lives_on_keeps_no_connection_of_its_parents_open(near: RedisStore, server: RedisServer) -> None:
    """Else the server would go on writing to it, and nobody would read."""
    leased(near)
    hold, held = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(held)
        os.read(hold, 1)  # until the parent is done
        os._exit(0)
    near.close()
    with server.client() as admin:
        for _ in range(PATIENCE * 200):
            if not any("t" in client["flags"] for client in admin.client_list()):
                break
            time.sleep(0.005)
        assert not any("t" in client["flags"] for client in admin.client_list())
    os.close(held)
    assert os.waitpid(child, 0)[1] == 0


def test_a_child_that_outlives_its_killed_parent_keeps_none_open_either(server: RedisServer) -> None:
    told, tell = os.pipe()
    parent = os.fork()
    if parent == 0:
        store = open_store(server.url, revocation_lag=LAG)
        assert isinstance(store, RedisStore)
        leased(store)
        child = os.fork()
        if child == 0:
            signal.pause()
        os.write(tell, str(child).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    child = int(os.read(told, 20))
    try:
        with server.client() as admin:
            for _ in range(PATIENCE * 200):
                if not any("t" in client["flags"] for client in admin.client_list()):
                    break
                time.sleep(0.005)
            assert not any("t" in client["flags"] for client in admin.client_list())
    finally:
        os.kill(child, signal.SIGKILL)


def test_an_outage_is_told_once(
    near: RedisStore, server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    leased(near)
    assert near._lease is not None
    attempts: list[int] = []
    connected = near._lease._connected
    monkeypatch.setattr(module, "AGAIN", 0.01)
    monkeypatch.setattr(near._lease, "_connected", lambda: attempts.append(1) or connected())
    server.kill()
    while len(attempts) < 5:
        assert len(attempts) == 0 or near.counters() is None
        time.sleep(0.005)
    server.start()
    leased(near)
    assert len([record for record in caplog.records if "revocation_lag" in record.message]) == 1


def test_whatever_goes_wrong_there_is_another_attempt(near: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.01)

    def unforeseen(*_: object) -> None:
        monkeypatch.undo()
        raise TypeError("unforeseen")

    monkeypatch.setattr(near._counts, "start_over", unforeseen)
    leased(near)


def test_there_is_no_lease_from_a_server_that_may_answer_before_it_tells(
    near: RedisStore, far: RedisStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "keeps_order", lambda *_: False)
    monkeypatch.setattr(module, "AGAIN", 0.01)
    far.create(session(), NOW)
    while "before it tells" not in caplog.text:
        assert near.counters() is None
        time.sleep(0.005)
    assert near.counters() is None
    assert near.version(KEY) == 1


def test_a_server_that_keeps_the_order_anyhow_need_not_tell_of_its_threads(server: RedisServer) -> None:
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "app", "on", ">pass", "~*", "+@all", "-config|get")
    store = open_store(f"redis://app:pass@127.0.0.1:{server.port}/0", revocation_lag=LAG)
    assert isinstance(store, RedisStore)
    try:
        leased(store)
    finally:
        store.close()


def test_closing_waits_for_no_message(server: RedisServer) -> None:
    store = open_store(server.url, revocation_lag=60_000)
    assert isinstance(store, RedisStore)
    leased(store)
    begun = time.monotonic()
    store.close()
    assert time.monotonic() - begun < 5  # it would have listened for 20 s


# Against a server that says what a test wants, at an instant that a test wants -------------------------------------


class Played:
    """A lease, and the server's side of its connection. The clock stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.is_connected = threading.Event()
        store = open_store("redis://127.0.0.1:1", revocation_lag=LAG)
        assert isinstance(store, RedisStore)
        self.counts = store._counts
        self.lease = Lease(store._client, self.counts, LAG / 1_000, lambda: self.now)
        self.key = store.operations.key_of(KEY)
        self.side = socket.socket()
        monkeypatch.setattr(self.lease, "_connected", self.connected)
        assert self.lease.counters() is None
        self.greet()

    def connected(self) -> socket.socket:
        self.side.close()
        ours, self.side = socket.socketpair()
        self.side.settimeout(PATIENCE)
        self.is_connected.set()
        return ours

    def greet(self) -> None:
        assert self.is_connected.wait(PATIENCE)
        self.is_connected.clear()
        info = b"redis_version:7.4.0\r\n"
        greeted, looked = b"+PONG\r\n", (b"$%d\r\n%b\r\n" % (len(info), info), b"*0\r\n")  # PING; INFO, CONFIG GET
        for answer in (greeted, *looked, b"%0\r\n", b"+OK\r\n"):  # HELLO 3, CLIENT TRACKING
            self.asked()
            self.side.sendall(answer)

    def asked(self) -> bytes:
        """Wait for a command."""
        command = self.side.recv(10_000)
        assert command
        return command

    def role(self, before: bytes = b"") -> None:
        self.side.sendall(before + b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n")

    def invalidation(self) -> bytes:
        return b">2\r\n$10\r\ninvalidate\r\n*1\r\n$%d\r\n%b\r\n" % (len(self.key), self.key)

    def until_leased(self) -> int:
        for _ in range(PATIENCE * 200):
            counts = self.lease.counters()
            if counts is not None:
                return counts[slot_of(KEY)]
            time.sleep(0.005)
        raise AssertionError("there is no lease")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    made = Played(monkeypatch)
    yield made
    made.lease.close()
    made.side.close()


def test_a_lease_counts_from_when_the_question_was_sent(played: Played) -> None:
    assert b"ROLE" in played.asked()
    played.now += 0.3  # the answer is on its way
    played.role()
    played.until_leased()
    played.now += 0.09
    assert played.lease.counters() is not None
    played.now += 0.02  # 410 ms after the question, 110 ms after the answer
    assert played.lease.counters() is None


def test_an_answer_that_comes_after_the_lag_begins_no_lease(played: Played) -> None:
    played.asked()
    played.now += 0.5
    played.role()
    played.asked()  # the next question, so the answer was read
    assert played.lease.counters() is None


def test_what_was_said_before_the_answer_has_moved_the_count_when_the_lease_begins(played: Played) -> None:
    played.asked()  # so it listens
    before = played.counts.now[slot_of(KEY)]
    played.role(before=played.invalidation())
    assert played.until_leased() == before + 2


@pytest.mark.parametrize(
    "answer",
    [
        b"*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:0\r\n",
        b"-BUSY Redis is busy running a script\r\n",
        b"+master\r\n",
        b"_\r\n",
        b">2\r\n$10\r\ninvalidate\r\n_\r\n",
        b">2\r\n$7\r\nmessage\r\n$1\r\nx\r\n",
        b"!\r\n",
        b"",
    ],
    ids=["replica", "busy", "no role", "nothing", "all forgotten", "another message", "garbage", "hung up"],
)
def test_any_other_answer_ends_the_lease_and_the_next_one_vouches_for_nothing_noted_before(
    played: Played, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    played.asked()
    played.role()
    noted = played.until_leased()
    played.now += LAG / 1_000 / 3
    played.asked()
    played.side.sendall(answer) if answer else played.side.shutdown(socket.SHUT_RDWR)
    played.greet()
    assert played.lease.counters() is None
    played.asked()
    played.role()
    assert played.until_leased() != noted


@pytest.mark.parametrize("text", ["sqlite:sessions.sqlite3", "memory:", "redis+cluster://127.0.0.1:7000"])
def test_only_one_server_can_have_a_lag(text: str) -> None:
    with pytest.raises(SettingsError, match="revocation_lag"):
        open_store(text, revocation_lag=LAG)
