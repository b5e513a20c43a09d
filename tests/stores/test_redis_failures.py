"""A Redis that is away, slow, full, forgetful, strange or not ours: a failure in time, and afterwards everything is as
before."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.redis_support import Awaited, RedisServer, free_port
from tests.stores.store_actors import DAY, NOW, key_of, session

from kmsi_middleware.edges.stores import open_store
from kmsi_middleware.edges.stores.redis.client import ANSWER_SECONDS, CONNECT_SECONDS
from kmsi_middleware.vocabulary.errors import StoreUnavailable
from kmsi_middleware.vocabulary.session import Mark, Session, Tombstone

KEY = key_of("ada")
SECRET = "the-servers-password"
Opened = Callable[[str], Any]


@pytest.fixture(params=["threads", "asyncio"])
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Opens stores as threads see them, or as asyncio does."""
    made: list[Any] = []

    def open_(text: str) -> Any:
        made.append(open_store(text) if request.param == "threads" else Awaited(text))
        return made[-1]

    yield open_
    for store in made:
        store.end_loop() if isinstance(store, Awaited) else store.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers that a test may ill-treat."""
    made: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        made.append(RedisServer(tmp_path / f"redis{len(made)}", *options).start())
        return made[-1]

    yield start
    for server in made:
        server.kill()


def everything(store: Any) -> list[Callable[[], Any]]:
    """Every method that asks the server."""
    return [
        lambda: store.load(KEY, NOW),
        lambda: store.version(KEY),
        lambda: store.create(session(), NOW),
        lambda: store.save(session(version=2), NOW),
        lambda: store.end(KEY, "revoked", NOW),
        lambda: store.end_many([KEY, key_of(2)], "revoked", NOW),
        lambda: store.find("sid-1", None, NOW),
        lambda: store.find_user(bytes(16), NOW),
        lambda: store.page(b"", 10, NOW),
        lambda: store.read_mark([bytes(16)], NOW),
        lambda: store.put_mark(bytes(16), Mark(valid_from=1), int(NOW) + 60, NOW),
        lambda: store.put_ticket(KEY, b"payload", int(NOW) + 60, NOW),
        lambda: store.read_ticket(KEY, NOW),
        lambda: store.take_ticket(KEY, NOW),
    ]


@contextmanager
def seconds(at_least: float, at_most: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert at_least <= time.monotonic() - begun <= at_most


@contextmanager
def listener(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Something that listens and is no Redis."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield port
        server.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    "text", ["redis://:CANARY@127.0.0.1:{}", "redis+sentinel://:CANARY@127.0.0.1:{}/main", "redis+cluster://127.0.0.1:{}"]
)  # fmt: skip
def test_where_nobody_listens_every_method_says_so_at_once(opened: Opened, text: str) -> None:
    store = opened(text.format(free_port()))
    with seconds(0, 2):
        for attempt in everything(store):
            with pytest.raises(StoreUnavailable) as caught:
                attempt()
            assert "127.0.0.1" in str(caught.value)
            assert "CANARY" not in str(caught.value)


def test_a_wrong_password_is_a_failure_and_in_no_message(opened: Opened, own_server: Any) -> None:
    server = own_server("--requirepass", SECRET)
    for user in (":CANARY@", "default:CANARY@", "stranger:CANARY@", ""):
        store = opened(f"redis://{user}127.0.0.1:{server.port}")
        for attempt in everything(store):
            with pytest.raises(StoreUnavailable) as caught:
                attempt()
            assert "CANARY" not in str(caught.value)
            assert "WRONGPASS" in str(caught.value) or "password" in str(caught.value).lower() or not user
    store = opened(f"redis://:{SECRET}@127.0.0.1:{server.port}")
    store.create(session(), NOW)
    other = opened(f"redis://default:{SECRET}@127.0.0.1:{server.port}/0")
    assert other.load(KEY, NOW) == session()


def test_databases_are_apart(opened: Opened, own_server: Any) -> None:
    server = own_server()
    opened(f"redis://127.0.0.1:{server.port}/3").create(session(), NOW)
    assert opened(f"redis://127.0.0.1:{server.port}").load(KEY, NOW) is None
    assert opened(f"redis://127.0.0.1:{server.port}/3").load(KEY, NOW) == session()
    with pytest.raises(StoreUnavailable, match="DB index"):
        opened(f"redis://127.0.0.1:{server.port}/99").load(KEY, NOW)


def test_who_speaks_another_protocol_is_a_failure(opened: Opened) -> None:
    with listener(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        store = opened(f"redis://127.0.0.1:{port}")
        with seconds(0, 1):
            for attempt in everything(store):
                with pytest.raises(StoreUnavailable):
                    attempt()


def test_who_hangs_up_is_a_failure(opened: Opened) -> None:
    with listener(lambda connection: connection.close()) as port:
        store = opened(f"redis://127.0.0.1:{port}")
        for attempt in everything(store):
            with pytest.raises(StoreUnavailable):
                attempt()


def test_who_never_answers_is_waited_for_a_bounded_time(opened: Opened) -> None:
    with listener(lambda connection: None) as port:
        store = opened(f"redis://127.0.0.1:{port}")
        with seconds(CONNECT_SECONDS / 2, ANSWER_SECONDS + 1.5), pytest.raises(StoreUnavailable):
            store.load(KEY, NOW)


def test_a_slow_server_is_waited_for_a_bounded_time_and_believed_again_afterwards(
    opened: Opened, own_server: Any
) -> None:
    server = own_server("--enable-debug-command", "yes")
    store = opened(server.url)
    store.create(session(), NOW)
    with ThreadPoolExecutor(9) as pool, server.client() as client:
        sleeping = pool.submit(client.execute_command, "DEBUG", "SLEEP", "4.5")
        time.sleep(0.2)
        with seconds(ANSWER_SECONDS - 0.1, ANSWER_SECONDS + 1.5):
            waiting = [pool.submit(store.version, KEY) for _ in range(4)]
            waiting += [pool.submit(store.load, KEY, NOW) for _ in range(4)]
            for each in waiting:
                with pytest.raises(StoreUnavailable):
                    each.result()
        sleeping.result()
    assert store.version(KEY) == 1
    assert store.load(KEY, NOW) == session()


def test_a_full_server_refuses_what_is_new_and_serves_the_rest(opened: Opened, own_server: Any) -> None:
    server = own_server("--maxmemory-policy", "noeviction")
    store = opened(server.url)
    store.create(session(), NOW)
    store.put_ticket(KEY, b"payload", int(NOW) + 60, NOW)
    with server.client() as client:
        client.config_set("maxmemory", "1mb")
        for attempt in (
            lambda: store.create(session(2), NOW),
            lambda: store.save(session(version=2), NOW),
            lambda: store.put_ticket(key_of(2), b"payload", int(NOW) + 60, NOW),
        ):
            with pytest.raises(StoreUnavailable, match=r"OOM|maxmemory"):
                attempt()
        assert store.load(KEY, NOW) == session()
        assert store.version(KEY) == 1
        assert store.read_ticket(KEY, NOW) == b"payload"
        client.config_set("maxmemory", "0")
    store.create(session(2), NOW)
    store.save(session(version=2), NOW)


def test_on_a_full_server_sessions_end_and_tickets_are_taken_all_the_same(opened: Opened, own_server: Any) -> None:
    server = own_server("--maxmemory-policy", "noeviction")
    store = opened(server.url)
    store.create(session(), NOW)
    store.put_ticket(KEY, b"payload", int(NOW) + 60, NOW)
    with server.client() as client:
        client.config_set("maxmemory", "1mb")
        store.put_mark(bytes(16), Mark(valid_from=int(NOW)), int(NOW) + 60, NOW)
        assert store.read_mark([], NOW) == Mark(valid_from=int(NOW))
        assert store.end(KEY, "revoked", NOW) is True
        assert store.load(KEY, NOW) == Tombstone("revoked", int(NOW), "c0ffee")
        assert store.take_ticket(KEY, NOW) == b"payload"
        assert store.take_ticket(KEY, NOW) is None


def test_a_replica_refuses_to_write(opened: Opened, own_server: Any) -> None:
    primary, replica = own_server(), own_server()
    with replica.client() as client:
        client.replicaof("127.0.0.1", primary.port)
    store = opened(replica.url)
    with pytest.raises(StoreUnavailable, match=r"(?i)read.?only"):
        store.create(session(), NOW)


@pytest.mark.parametrize("how", ["by the server", "by a restart", "by a crash"])
def test_connections_that_were_closed_cost_nobody_an_error(
    opened: Opened, own_server: Any, tmp_path: Path, how: str
) -> None:
    server = own_server("--appendonly", "yes", "--appendfsync", "always")
    store = opened(server.url)
    store.create(session(), NOW)
    with ThreadPoolExecutor(8) as pool:  # several connections lie idle
        list(pool.map(lambda _: store.load(KEY, NOW), range(64)))
    for round_, attempt in enumerate(everything(store)[:3] + everything(store)[9:]):
        if how == "by the server":
            with server.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)
        else:
            server.stop(signal.SIGTERM if how == "by a restart" else signal.SIGKILL)
            server.start()
        if round_ == 2:
            attempt = lambda: store.create(session(2), NOW)  # noqa: E731
        attempt()
    assert isinstance(store.load(KEY, NOW), Session)


class Wire:
    """A wire to the server that can be cut when a question has reached it, and its answer has not come back."""

    def __init__(self, server: RedisServer, ends: ExitStack) -> None:
        self.is_cutting = False
        self.cuts = 0
        self._server = server
        self._ends = ends
        self._listener = ends.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._serve)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        thread.start()
        self._ends.callback(thread.join)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._server.port))
                for end in (near, far):
                    self._ends.callback(end.close)
                self._start(self._pass_on, near, far, False)
                self._start(self._pass_on, far, near, True)

    def _pass_on(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if is_answer and self.is_cutting:
                    self.is_cutting = False
                    self.cuts += 1
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Once who used it is gone."""
        self._listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(redis_server: RedisServer, redis_url: str) -> Iterator[Wire]:
    with ExitStack() as ends:
        made = Wire(redis_server, ends)
        yield made
        made.close()


def test_an_answer_that_was_lost_on_the_way_is_asked_for_again(wire: Wire, opened: Opened) -> None:
    """Whatever was done is done once, and who asked hears of it as if nothing had happened."""
    store = opened(f"redis://127.0.0.1:{wire.port}/0?prefix=test:")
    assert store.load(KEY, NOW) is None
    until = int(NOW) + 60
    script: list[tuple[Callable[[], Any], Any]] = [
        (lambda: store.create(session(), NOW), None),
        (lambda: store.version(KEY), 1),
        (lambda: store.save(session(version=2), NOW), None),
        (lambda: store.load(KEY, NOW), session(version=2)),
        (lambda: store.end(KEY, "revoked", NOW), True),
        (lambda: store.end(KEY, "idle", NOW), False),
        (lambda: store.load(KEY, NOW), Tombstone("revoked", int(NOW), "c0ffee")),
        (lambda: store.put_ticket(KEY, b"payload", until, NOW), True),
        (lambda: store.put_ticket(KEY, b"payload", until, NOW), False),
        (lambda: store.take_ticket(KEY, NOW), b"payload"),
        (lambda: store.take_ticket(KEY, NOW), None),
        (lambda: store.put_mark(bytes(16), Mark(valid_from=5), until, NOW), None),
        (lambda: store.read_mark([], NOW), Mark(valid_from=5)),
    ]
    for number, (attempt, expected) in enumerate(script, 1):
        wire.is_cutting = True
        assert attempt() == expected, number
        assert wire.cuts == number


def test_while_the_server_is_away_it_is_a_failure_and_then_everything_is_as_before(
    opened: Opened, own_server: Any
) -> None:
    """Under load: no answer is wrong at any time, and what was created before the crash is there after it."""
    server = own_server("--appendonly", "yes", "--appendfsync", "always")
    store = opened(server.url)
    for number in range(20):
        store.create(session(number), NOW)
    stop = threading.Event()
    wrong: list[Any] = []
    counts = {"good": 0, "away": 0}

    def keep_asking(number: int) -> None:
        while not stop.is_set():
            try:
                found = store.load(key_of(number), NOW)
            except StoreUnavailable:
                counts["away"] += 1
                time.sleep(0.005)
            except Exception as error:
                wrong.append(error)
            else:
                counts["good"] += 1
                if found != session(number):
                    wrong.append(found)

    threads = [threading.Thread(target=keep_asking, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        _until(lambda: counts["good"] > 50)
        server.stop(how)
        before = counts["away"]
        _until(lambda before=before: counts["away"] > before + 20)  # type: ignore[misc]
        server.start()
        counts["good"] = 0
    _until(lambda: counts["good"] > 50)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    for number in range(20):
        assert store.load(key_of(number), NOW) == session(number)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_server_that_lost_everything_has_no_sessions_and_takes_new_ones(opened: Opened, own_server: Any) -> None:
    server = own_server()
    store = opened(server.url)
    store.create(session(), NOW)
    server.kill()
    server.start()
    assert store.load(KEY, NOW) is None
    assert store.version(KEY) is None
    store.create(session(expires_at=int(NOW) + 2 * DAY), NOW)
    assert isinstance(store.load(KEY, NOW), Session)


def test_a_stopped_server_does_not_mix_up_answers(opened: Opened, own_server: Any) -> None:
    """A reply that comes too late for one question must not be another's."""
    server = own_server()
    store = opened(server.url)
    store.create(session(1), NOW)
    store.create(session(2), NOW)
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    with pytest.raises(StoreUnavailable):
        store.load(key_of(1), NOW)
    os.kill(server.process.pid, signal.SIGCONT)
    assert store.load(key_of(2), NOW) == session(2)
    assert store.load(key_of(1), NOW) == session(1)
