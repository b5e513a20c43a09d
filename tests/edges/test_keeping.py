"""Performing what flows ask of the store, waiting and with ``await``; and what is written down when a session ends."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest
from tests.stores.store_actors import ISSUER, NOW, key_of, session

from kmsi_middleware.edges.keeping import Keeping
from kmsi_middleware.edges.stores import MemoryStore
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.effects import Effect
from kmsi_middleware.vocabulary.session import EndReason

Perform = Callable[[MemoryStore, Effect], Any]


def waiting(store: MemoryStore, effect: Effect) -> Any:
    return Keeping(store).perform(effect, NOW)


def asyncio_(store: MemoryStore, effect: Effect) -> Any:
    return anyio.run(Keeping(store).perform_async, effect, NOW)


def trio(store: MemoryStore, effect: Effect) -> Any:
    return anyio.run(Keeping(store).perform_async, effect, NOW, backend="trio")


@pytest.fixture(params=[waiting, asyncio_, trio])
def perform(request: pytest.FixtureRequest) -> Perform:
    chosen: Perform = request.param
    return chosen


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    caplog.set_level(logging.INFO, "kmsi_middleware.sessions")
    return lambda: [json.loads(record.message) for record in caplog.records]


def filled(*names: str) -> MemoryStore:
    store = MemoryStore()
    for name in names:
        store.create(session(name, key=key_of(name), address="192.0.2.7"), NOW)
    return store


Lines = Callable[[], list[dict[str, Any]]]


def test_an_end_is_written_down_with_all_that_leads_back_to_it(perform: Perform, lines: Lines) -> None:
    assert perform(filled("one"), ask.EndSession(key_of("one"), "revoked", "cli")) is True
    assert lines() == [
        {
            "event": "session_ended",
            "reason": "revoked",
            "by": "cli",
            "at": "2023-11-14T22:13:20.000Z",
            "session": key_of("one").hex(),
            "correlation_id": "c0ffee",
            "user": {"issuer": ISSUER, "subject": "ada", "name": "Ada Lovelace"},
            "address": "192.0.2.7",
        }
    ]


def test_what_is_not_there_leaves_no_line(perform: Perform, lines: Lines) -> None:
    store = filled("one")
    assert perform(store, ask.EndSession(key_of("two"), "signed_out")) is False
    assert perform(store, ask.EndSessions([session(key=key_of("two"))], "signed_out")) == 0
    assert perform(store, ask.EndSessions([], "signed_out")) == 0
    store.end(key_of("one"), "signed_out", NOW)  # by somebody else, in the same second
    assert perform(store, ask.EndSession(key_of("one"), "signed_out")) is False
    assert perform(store, ask.EndSessions([session("one")], "signed_out")) == 0
    assert lines() == []


def test_each_of_several_has_a_line(perform: Perform, lines: Lines) -> None:
    store = filled("one", "two", "three")
    found = store.find_user(session().user_keys[0], NOW)
    assert perform(store, ask.EndSessions(found, "back_channel")) == 3
    assert {line["session"] for line in lines()} == {key_of(name).hex() for name in ("one", "two", "three")}
    assert {line["reason"] for line in lines()} == {"back_channel"}
    assert all("by" not in line for line in lines())


@pytest.mark.parametrize(("reason", "at"), [("signed_out", NOW), ("revoked", NOW - 5)])
def test_what_somebody_else_ended_first_is_theirs(perform: Perform, lines: Lines, reason: EndReason, at: float) -> None:
    store = filled("one", "two")
    found = store.find_user(session().user_keys[0], NOW)
    store.end(key_of("two"), reason, at)
    assert perform(store, ask.EndSessions(found, "revoked")) == 1
    assert [line["session"] for line in lines()] == [key_of("one").hex()]


def test_a_line_is_one_line_and_holds_no_secret(perform: Perform, lines: Lines) -> None:
    claims = {"sub": "ada", "name": "Ada\nLovelace\x1b[2J", "secret": "canary"}
    store = MemoryStore()
    store.create(session(claims=claims, data=b'{"canary":1}', sealed=b"canary", sids=("canary",)), NOW)
    perform(store, ask.EndSession(session().key, "signed_out"))
    (line,) = lines()
    assert line["user"]["name"] == "Ada\ufffdLovelace\ufffd[2J"
    assert "canary" not in json.dumps(line)


def test_nobody_performs_what_is_not_the_stores(perform: Perform) -> None:
    with pytest.raises(TypeError, match="nobody performs"):
        perform(MemoryStore(), ask.GetPolicies())


def test_reads_and_writes_reach_the_store(perform: Perform) -> None:
    store = MemoryStore()
    steps: Sequence[tuple[Effect, Any]] = [
        (ask.CreateSession(session()), None),
        (ask.LoadSession(session().key), session()),
        (ask.FindSessions("sid-1", ISSUER), [session()]),
        (ask.ListSessions(b"", 10), ([session()], b"")),
        (ask.PutTicket(b"t" * 32, b"payload", int(NOW) + 60), True),
        (ask.TakeTicket(b"t" * 32), b"payload"),
    ]
    for effect, answer in steps:
        assert perform(store, effect) == answer
