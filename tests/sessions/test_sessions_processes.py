"""Revocation raced against requests and sign-ins in other processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from tests.sessions import sessions_actors
from tests.stores.store_actors import ISSUER, NOW, session

from kmsi_middleware.edges.stores import SQLiteStore
from kmsi_middleware.rules.seals import encode, key_of
from kmsi_middleware.sessions import Sessions

_spawn = multiprocessing.get_context("spawn")
ROUNDS = 12


@contextmanager
def playing(actor: Any, *arguments: Any) -> Iterator[Connection]:
    """A process that plays ``actor`` with a pipe to the test; at the end it must have gone well."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=actor, args=(*arguments, theirs))
    process.start()
    theirs.close()
    try:
        yield ours
        process.join(60)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.sqlite3"


Revoke = Callable[[Sessions, str], int]
WAYS: list[Revoke] = [
    lambda sessions, this: sessions.revoke(this),
    lambda sessions, _: sessions.revoke_user(issuer=ISSUER, subject="ada"),
    lambda sessions, _: sessions.revoke_everything(),
    lambda sessions, this: asyncio.run(sessions.revoke_async(this)),
    lambda sessions, _: asyncio.run(sessions.revoke_user_async(issuer=ISSUER, subject="ada")),
    lambda sessions, _: asyncio.run(sessions.revoke_everything_async()),
]


def test_a_request_that_starts_after_the_revocation_was_answered_passes_in_no_process(path: Path) -> None:
    """Every process measures by the machine's one monotonic clock."""
    store = SQLiteStore(path)
    passed = 0
    with ExitStack() as stack, Sessions(store=f"sqlite:{path}", clock=lambda: NOW) as sessions:
        shells = ("wsgi", "wsgi", "asgi")
        askers = [stack.enter_context(playing(sessions_actors.keep_asking, shell, path)) for shell in shells]
        assert [asker.recv() for asker in askers] == ["ready"] * 3
        for number in range(ROUNDS):
            token = encode(number.to_bytes(32, "big"))
            # Each sign-in begins after the marks of the rounds before.
            mine = session(key=key_of(token), issuer=ISSUER, begun_at=int(NOW) + 1)
            store.create(mine, NOW)
            for asker in askers:
                asker.send(token)
            assert [asker.recv() for asker in askers] == ["passing"] * 3
            assert WAYS[number % len(WAYS)](sessions, mine.id) == 1
            answered = time.monotonic_ns()
            for asker in askers:
                last, count, status = asker.recv()
                assert status == 401
                assert last < answered
                passed += count
        for asker in askers:
            asker.send(None)
    assert passed > ROUNDS * 3 * 5
    store.close()


def test_the_others_of_a_session_stop_and_it_goes_on(path: Path) -> None:
    store = SQLiteStore(path)
    tokens = [encode(bytes([number]) * 32) for number in range(3)]
    for token in tokens:
        store.create(session(key=key_of(token)), NOW)
    with ExitStack() as stack, Sessions(store=f"sqlite:{path}", clock=lambda: NOW) as sessions:
        askers = [stack.enter_context(playing(sessions_actors.keep_asking, "wsgi", path)) for _ in tokens]
        for asker, token in zip(askers, tokens, strict=True):
            assert asker.recv() == "ready"
            asker.send(token)
            assert asker.recv() == "passing"
        assert sessions.revoke_others(key_of(tokens[0]).hex()) == 2
        answered = time.monotonic_ns()
        for asker in askers[1:]:
            last, _, status = asker.recv()
            assert (status, last < answered) == (401, True)
        assert not askers[0].poll()
        askers[1].send(tokens[0])
        assert askers[1].recv() == "passing"
        assert sessions.revoke(key_of(tokens[0]).hex()) == 1
        for asker in askers[:2]:
            *_, status = asker.recv()
            assert status == 401
        for asker in askers:
            asker.send(None)
    store.close()


REVOKE_ALL: dict[str, Callable[[Sessions], int]] = {
    "a user": lambda sessions: sessions.revoke_user(issuer=ISSUER, subject="ada"),
    "everybody": lambda sessions: sessions.revoke_everything(),
}


@pytest.mark.parametrize("whom", REVOKE_ALL)
def test_a_sign_in_under_way_in_another_process_slips_through_nowhere(path: Path, whom: str) -> None:
    """While two processes make sessions as fast as they can: after the answer none is left, and none comes."""
    with ExitStack() as stack, Sessions(store=f"sqlite:{path}", clock=lambda: NOW) as sessions:
        names = ("one", "two")
        pipes = [stack.enter_context(playing(sessions_actors.keep_signing_in, path, name)) for name in names]
        assert [pipe.recv() for pipe in pipes] == ["signing in"] * 2
        ended = REVOKE_ALL[whom](sessions)
        assert sessions.list_user(issuer=ISSUER, subject="ada") == []
        assert sum(pipe.recv() for pipe in pipes) == ended >= 10
        assert sessions.list_user(issuer=ISSUER, subject="ada") == []
