"""Redis under real servers with several processes: how long after a revocation was answered they still let requests
pass, measured from outside; and what they answer while the server is away."""

from __future__ import annotations

import hashlib
import http.client
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from server_programs import HOST, Site, running
from tests.redis_support import RedisServer
from tests.stores.store_actors import session

from kmsi_middleware.edges.stores import open_store
from kmsi_middleware.vocabulary.session import Session

pytestmark = pytest.mark.servers

LAG = 300  # milliseconds
PATIENCE = 30
THREADS = 6
SEVERAL = ("uvicorn-2", "gunicorn-threads-2", "gunicorn-asgi-2-preload")


class Answer(NamedTuple):
    started: float
    status: int
    says: dict[str, Any]


def signed_in(token: str) -> Session:
    """The session that a cookie with this token would lead to."""
    now = int(time.time())
    key = hashlib.sha256(token.encode()).digest()
    return session(key=key, begun_at=now, started_at=now, renewed_at=now, expires_at=now + 3_600)


class Visitor:
    """Asks again and again for the same page, on connections that are kept open for a while, so that every process
    gets some."""

    def __init__(self, site: Site, token: str) -> None:
        self.port = site.server.port
        self.headers = {"cookie": f"kmsi-{self.port}={token}", "host": f"{HOST}:{self.port}", "accept": "*/*"}
        self.answers: list[Answer] = []
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.ask) for _ in range(THREADS)]

    def ask(self) -> None:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE)
        while not self.stop.is_set():
            for _ in range(10):
                started = time.monotonic()
                with suppress(OSError, http.client.HTTPException):  # a server may close what was kept open
                    connection.request("GET", "/page", headers=self.headers)
                    response = connection.getresponse()
                    self.answers.append(Answer(started, response.status, json.loads(response.read())))
            connection.close()

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, self.answers[-3:]
            time.sleep(0.02)

    def statuses(self, since: float) -> set[int]:
        return {answer.status for answer in self.answers if answer.started > since}

    def has_met(self, processes: int) -> bool:
        """Whether so many processes have answered, each of them often."""
        met = Counter(answer.says["process"] for answer in list(self.answers) if answer.status == 200)
        return len(met) == processes and min(met.values()) > 20


@contextmanager
def visiting(site: Site, token: str) -> Iterator[Visitor]:
    visitor = Visitor(site, token)
    for thread in visitor.threads:
        thread.start()
    try:
        yield visitor
    finally:
        visitor.stop.set()
        for thread in visitor.threads:
            thread.join()


@contextmanager
def served(program: str, folder: Path, store: str, lag: int = 0) -> Iterator[Site]:
    more = {"KMSI_REVOCATION_LAG": str(lag)} if lag else {}
    with running(program, folder, KMSI_STORE=store, KMSI_SECRET_KEYS="k" * 32, **more) as site:
        yield site


def latest_pass(site: Site, store_text: str) -> float:
    """How long after a revocation was answered a request started that was let pass; negative if none did."""
    token = secrets.token_urlsafe(32)
    store = open_store(store_text)
    store.create(signed_in(token), time.time())
    try:
        with visiting(site, token) as visitor:
            visitor.until(lambda: visitor.has_met(2))
            assert {answer.status for answer in visitor.answers} == {200}
            assert store.end(hashlib.sha256(token.encode()).digest(), "revoked", time.time())
            answered = time.monotonic()
            visitor.until(lambda: time.monotonic() > answered + LAG / 1_000 + 0.2)
        assert visitor.statuses(answered + LAG / 1_000) == {401}
        return max(answer.started - answered for answer in visitor.answers if answer.status == 200)
    finally:
        store.close()


@pytest.mark.parametrize("program", SEVERAL)
def test_after_a_revocation_was_answered_no_process_lets_a_request_pass(
    program: str, tmp_path: Path, redis_url: str
) -> None:
    with served(program, tmp_path, redis_url) as site:
        assert latest_pass(site, redis_url) <= 0


@pytest.mark.parametrize("program", SEVERAL)
def test_with_a_lag_no_process_lets_a_request_pass_later_than_that(
    program: str, tmp_path: Path, redis_url: str, redis_server: RedisServer
) -> None:
    with served(program, tmp_path, redis_url, LAG) as site:
        assert latest_pass(site, redis_url) <= LAG / 1_000
        with redis_server.client() as client:
            listeners = [each for each in client.client_list() if "t" in each["flags"]]
        assert len(listeners) == 2  # one for each process


@pytest.mark.parametrize("program", ["uvicorn-2", "gunicorn-threads-2"])
def test_while_redis_is_away_it_is_503_and_then_everything_is_as_before(program: str, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "redis", "--appendonly", "yes", "--appendfsync", "always").start()
    token = secrets.token_urlsafe(32)
    store = open_store(redis.url)
    store.create(signed_in(token), time.time())
    store.close()
    try:
        with served(program, tmp_path, redis.url) as site, visiting(site, token) as visitor:
            visitor.until(lambda: len(visitor.answers) > 100)
            for _ in range(2):
                redis.kill()
                since = time.monotonic()
                visitor.until(lambda since=since: visitor.statuses(since) != set())  # type: ignore[misc]
                time.sleep(0.1)
                assert visitor.statuses(since) == {503}
                redis.start()
                since = time.monotonic()
                visitor.until(lambda since=since: 200 in visitor.statuses(since))  # type: ignore[misc]
        assert {answer.status for answer in visitor.answers} == {200, 503}
        assert {answer.says["code"] for answer in visitor.answers if answer.status == 503} == {"store_unavailable"}
    finally:
        redis.kill()
