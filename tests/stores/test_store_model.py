"""Every store against a model of it: two dicts that never forget, and the contract's sentences over them."""

from __future__ import annotations

import secrets
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tests.redis_support import Awaited, RedisServer
from tests.stores.store_actors import DAY, NOW, key_of, session

from kmsi_middleware.edges.stores import MemoryStore, SQLiteStore, open_store
from kmsi_middleware.vocabulary.effects import SessionStore, slot_of
from kmsi_middleware.vocabulary.errors import StoreConflict
from kmsi_middleware.vocabulary.session import EndReason, Session, Tombstone

KEYS = [key_of(number) for number in range(4)]
SIDS = ["a", "b", "c"]
ISSUERS = ["https://one.example", "https://two.example"]

keys = st.sampled_from(KEYS)
lifetimes = st.integers(-DAY, 3 * DAY)
reasons = st.sampled_from(["idle", "signed_out", "revoked"])
sids = st.lists(st.sampled_from(SIDS), max_size=3).map(tuple)
issuers = st.sampled_from(ISSUERS)
texts = st.text(max_size=4)


class StoreMachine(RuleBasedStateMachine):
    def open(self) -> SessionStore:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = self.open()
        self.now = NOW
        self.sessions: dict[bytes, Session | Tombstone] = {}
        self.tickets: dict[bytes, tuple[bytes, int]] = {}
        self.noted: dict[bytes, tuple[int, Session | Tombstone | None]] = {}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def held(self, key: bytes) -> Session | Tombstone | None:
        kept = self.sessions.get(key)
        if kept is None:
            return None
        since = kept.expires_at if isinstance(kept, Session) else kept.ended_at
        return kept if self.now < since + DAY else None

    def ticket(self, key: bytes) -> bytes | None:
        payload, expires_at = self.tickets.get(key, (b"", 0))
        return payload if self.now < expires_at else None

    @rule(seconds=st.sampled_from([0.5, 59.0, 3600.0, 43_200.0, DAY - 0.5, float(DAY)]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=keys, lifetime=lifetimes, sids=sids, issuer=issuers, subject=texts)
    def create(self, key: bytes, lifetime: int, sids: tuple[str, ...], issuer: str, subject: str) -> None:
        expires_at = int(self.now) + lifetime
        made = session(key=key, expires_at=expires_at, sids=sids, issuer=issuer, subject=subject)
        if self.held(key) is None:
            self.store.create(made, self.now)
            self.sessions[key] = made
        else:
            with pytest.raises(StoreConflict):
                self.store.create(made, self.now)

    @rule(key=keys, step=st.integers(0, 2), lifetime=lifetimes, sids=sids, issuer=issuers, data=st.binary())
    def save(self, key: bytes, step: int, lifetime: int, sids: tuple[str, ...], issuer: str, data: bytes) -> None:
        kept = self.held(key)
        before = kept if isinstance(kept, Session) else session(key=key)
        expires_at = int(self.now) + lifetime
        saved = replace(
            before, version=before.version + step, expires_at=expires_at, sids=sids, issuer=issuer, data=data
        )
        if isinstance(kept, Session) and step == 1:
            self.store.save(saved, self.now)
            self.sessions[key] = saved
        else:
            with pytest.raises(StoreConflict):
                self.store.save(saved, self.now)

    @rule(key=keys, reason=reasons)
    def end(self, key: bytes, reason: EndReason) -> None:
        there = isinstance(self.held(key), Session)
        assert self.store.end(key, reason, self.now) is there
        if there:
            self.sessions[key] = Tombstone(reason, int(self.now), "c0ffee")

    @rule(key=keys, lifetime=st.integers(0, 600), payload=st.binary(max_size=5))
    def put_ticket(self, key: bytes, lifetime: int, payload: bytes) -> None:
        free = self.ticket(key) is None
        expires_at = int(self.now) + lifetime
        assert self.store.put_ticket(key, payload, expires_at, self.now) is free
        if free:
            self.tickets[key] = (payload, expires_at)

    @rule(key=keys)
    def take_ticket(self, key: bytes) -> None:
        assert self.store.take_ticket(key, self.now) == self.ticket(key)
        if self.ticket(key) is not None:
            del self.tickets[key]

    @rule()
    def reopen(self) -> None:
        self.store.close()

    @rule(key=keys)
    def note(self, key: bytes) -> None:
        counts = self.store.counters()
        if counts is not None:
            self.noted[key] = counts[slot_of(key)], self.sessions.get(key)

    @invariant()
    def answers_as_the_model(self) -> None:
        for key in KEYS:
            assert self.store.load(key, self.now) == self.held(key)
            assert self.store.read_ticket(key, self.now) == self.ticket(key)
        for sid in SIDS:
            for issuer in (None, *ISSUERS):
                found = {each.key: each for each in self.store.find(sid, issuer, self.now)}
                assert found == {
                    key: kept
                    for key, kept in self.sessions.items()
                    if isinstance(kept, Session)
                    and sid in kept.sids
                    and issuer in (None, kept.issuer)
                    and self.now < kept.expires_at
                }

    @invariant()
    def an_unchanged_count_vouches(self) -> None:
        counts = self.store.counters()
        if counts is None:
            return  # not open yet
        for key, (count, kept) in self.noted.items():
            assert counts[slot_of(key)] % 2 == 0
            if counts[slot_of(key)] == count:
                assert self.sessions.get(key) == kept


class MemoryMachine(StoreMachine):
    def open(self) -> SessionStore:
        return MemoryStore()


class SQLiteMachine(StoreMachine):
    def open(self) -> SessionStore:
        return SQLiteStore(Path(self.folder.name) / "sessions.sqlite3")


class RedisMachine(StoreMachine):
    """On one server for all runs; each has a prefix of its own."""

    url = ""

    def open(self) -> SessionStore:
        return open_store(f"{self.url}?prefix={secrets.token_hex(4)}:")


class AwaitedRedisMachine(RedisMachine):
    def open(self) -> SessionStore:
        return Awaited(f"{self.url}?prefix={secrets.token_hex(4)}:")  # type: ignore[return-value]

    def teardown(self) -> None:
        super().teardown()
        self.store.end_loop()  # type: ignore[attr-defined]


@pytest.mark.parametrize("machine", [RedisMachine, AwaitedRedisMachine])
def test_redis(machine: type[RedisMachine], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "url", redis_server.url)
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=30, deadline=None))


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestSQLite = SQLiteMachine.TestCase
TestSQLite.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
