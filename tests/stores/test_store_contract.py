"""What every store owes: the contract of :class:`kmsi_middleware.vocabulary.effects.SessionStore`."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.stores.store_actors import DAY, ISSUER, NOW, key_of, session

from kmsi_middleware.edges.stores import MemoryStore, SQLiteStore, open_store
from kmsi_middleware.vocabulary.effects import SLOTS, SessionStore, slot_of
from kmsi_middleware.vocabulary.errors import SettingsError, StoreConflict
from kmsi_middleware.vocabulary.session import Session, Tombstone

KEY = key_of("ada")
END = NOW + DAY  # when the session of the tests expires


# load and create -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"persistent": False, "auth_time": None, "sids": (), "sealed": b"", "data": b"{}"},
        {"claims": {"nested": {"list": [1, None, True, 2.5, "ß"]}, "empty": {}}, "subject": "ünï \U0001f600 \0"},
        {"sids": ("older", "newer"), "version": 7},
    ],
)
def test_what_was_created_is_loaded(store: SessionStore, changes: dict[str, object]) -> None:
    made = session(**changes)
    store.create(made, NOW)
    assert store.load(KEY, NOW) == made


def test_an_unknown_key_is_not_found(store: SessionStore) -> None:
    store.create(session(), NOW)
    assert store.load(key_of("eve"), NOW) is None


def test_an_expired_session_is_loaded_for_another_day_and_then_never_was(store: SessionStore) -> None:
    made = session()
    store.create(made, NOW)
    assert store.load(KEY, END) == made
    assert store.load(KEY, END + DAY - 0.001) == made
    assert store.load(KEY, END + DAY) is None
    with pytest.raises(StoreConflict):
        store.save(replace(made, version=2), END + DAY)
    assert store.end(KEY, "idle", END + DAY) is False


def test_create_fails_on_a_taken_key_and_changes_nothing(store: SessionStore) -> None:
    made = session()
    store.create(made, NOW)
    with pytest.raises(StoreConflict):
        store.create(session(subject="eve", sids=("other",)), NOW)
    assert store.load(KEY, NOW) == made
    assert store.find("other", None, NOW) == []


def test_create_fails_on_an_ended_key_while_its_tombstone_stands(store: SessionStore) -> None:
    store.create(session(), NOW)
    store.end(KEY, "signed_out", NOW)
    with pytest.raises(StoreConflict):
        store.create(session(), NOW + DAY - 1)
    again = session(sids=("sid-2",), expires_at=int(NOW) + 9 * DAY)
    store.create(again, NOW + DAY)
    assert store.load(KEY, NOW + DAY) == again


# save --------------------------------------------------------------------------------------------------------


def test_save_replaces_the_version_before_it(store: SessionStore) -> None:
    made = session()
    store.create(made, NOW)
    saved = replace(
        made, version=2, data=b'{"cart":[]}', renewed_at=int(NOW) + 9, expires_at=int(END) + 9, persistent=False
    )
    store.save(saved, NOW + 9)
    assert store.load(KEY, NOW + 9) == saved


@pytest.mark.parametrize("version", [1, 2, 4])
def test_save_of_any_other_version_is_a_conflict(store: SessionStore, version: int) -> None:
    made = session()
    store.create(made, NOW)
    store.save(replace(made, version=2), NOW)
    with pytest.raises(StoreConflict):
        store.save(replace(made, version=version, data=b"{}"), NOW)
    assert store.load(KEY, NOW) == replace(made, version=2)


def test_save_of_what_never_was_or_has_ended_is_a_conflict(store: SessionStore) -> None:
    with pytest.raises(StoreConflict):
        store.save(session(version=2), NOW)
    store.create(session(), NOW)
    store.end(KEY, "revoked", NOW)
    with pytest.raises(StoreConflict):
        store.save(session(version=2), NOW)
    assert store.load(KEY, NOW) == Tombstone("revoked", int(NOW))
    assert store.find("sid-1", ISSUER, NOW) == []


# end ---------------------------------------------------------------------------------------------------------


def test_end_leaves_a_tombstone_for_a_day(store: SessionStore) -> None:
    store.create(session(), NOW)
    assert store.end(KEY, "front_channel", NOW + 5.9) is True
    assert store.load(KEY, NOW + 6) == Tombstone("front_channel", int(NOW) + 5)
    assert store.load(KEY, NOW + 5 + DAY - 0.001) == Tombstone("front_channel", int(NOW) + 5)
    assert store.load(KEY, NOW + 5 + DAY) is None


def test_end_answers_whether_there_was_a_session_and_the_first_reason_stays(store: SessionStore) -> None:
    assert store.end(KEY, "signed_out", NOW) is False
    assert store.load(KEY, NOW) is None
    store.create(session(), NOW)
    assert store.end(KEY, "back_channel", NOW) is True
    assert store.end(KEY, "signed_out", NOW + 60) is False
    assert store.load(KEY, NOW + 60) == Tombstone("back_channel", int(NOW))


def test_an_expired_session_can_be_ended(store: SessionStore) -> None:
    store.create(session(), NOW)
    assert store.end(KEY, "idle", END + 10) is True
    assert store.load(KEY, END + 10) == Tombstone("idle", int(END) + 10)


# find --------------------------------------------------------------------------------------------------------


def test_find_knows_all_live_sessions_of_a_sid(store: SessionStore) -> None:
    one, two = session(1), session(2, expires_at=int(END) + 60)
    other = session(3, issuer="https://other.example")
    for made in (one, two, other, session(4, sids=("sid-9",)), session(5, sids=())):
        store.create(made, NOW)
    assert _set(store.find("sid-1", ISSUER, NOW)) == _set([one, two])
    assert _set(store.find("sid-1", None, NOW)) == _set([one, two, other])
    assert store.find("sid-1", "https://nobody.example", NOW) == []
    assert store.find("sid", None, NOW) == []
    assert store.find("sid-1", ISSUER, END) == [two]
    store.end(two.key, "signed_out", NOW)
    assert store.find("sid-1", ISSUER, NOW) == [one]


def test_find_knows_older_sids_and_forgets_what_a_save_leaves_out(store: SessionStore) -> None:
    made = session()
    store.create(made, NOW)
    both = replace(made, version=2, sids=("sid-1", "sid-2", "sid-2"))
    store.save(both, NOW)
    assert store.find("sid-1", ISSUER, NOW) == store.find("sid-2", ISSUER, NOW) == [both]
    moved = replace(made, version=3, sids=("sid-2",), issuer="https://new.example")
    store.save(moved, NOW)
    assert store.find("sid-1", None, NOW) == store.find("sid-2", ISSUER, NOW) == []
    assert store.find("sid-2", "https://new.example", NOW) == [moved]


# tickets -----------------------------------------------------------------------------------------------------


def test_a_ticket_is_read_until_it_is_late_and_taken_once(store: SessionStore) -> None:
    assert store.read_ticket(KEY, NOW) is None
    assert store.take_ticket(KEY, NOW) is None
    assert store.put_ticket(KEY, b"payload", int(NOW) + 600, NOW) is True
    assert store.read_ticket(KEY, NOW + 599.9) == b"payload"
    assert store.read_ticket(KEY, NOW + 600) is None
    assert store.take_ticket(KEY, NOW + 600) is None
    assert store.take_ticket(KEY, NOW + 1) == b"payload"
    assert store.take_ticket(KEY, NOW + 1) is None
    assert store.read_ticket(KEY, NOW + 1) is None


def test_a_ticket_keeps_its_key_until_it_is_late(store: SessionStore) -> None:
    assert store.put_ticket(KEY, b"first", int(NOW) + 600, NOW) is True
    assert store.put_ticket(KEY, b"second", int(NOW) + 900, NOW + 599) is False
    assert store.read_ticket(KEY, NOW + 599) == b"first"
    assert store.put_ticket(KEY, b"", int(NOW) + 900, NOW + 600) is True
    assert store.read_ticket(KEY, NOW + 600) == b""
    assert store.take_ticket(KEY, NOW + 600) == b""


def test_tickets_and_sessions_do_not_share_keys(store: SessionStore) -> None:
    store.create(session(), NOW)
    assert store.put_ticket(KEY, b"payload", int(NOW) + 600, NOW) is True
    assert store.take_ticket(KEY, NOW) == b"payload"
    assert isinstance(store.load(KEY, NOW), Session)


# counters ----------------------------------------------------------------------------------------------------


def test_every_write_of_a_session_changes_its_count_and_no_other(store: SessionStore) -> None:
    store.load(KEY, NOW)
    slot = slot_of(KEY)
    seen = []

    def note() -> None:
        counts = store.counters()
        assert counts is not None
        assert len(counts) == SLOTS
        assert counts[slot] % 2 == 0
        assert len({count for number, count in enumerate(counts) if number != slot}) == 1
        seen.append(counts[slot])

    note()
    store.create(session(), NOW)
    note()
    store.save(session(version=2), NOW)
    note()
    store.end(KEY, "signed_out", NOW)
    note()
    assert len(set(seen)) == 4
    store.load(KEY, NOW)
    store.find("sid-1", None, NOW)
    store.put_ticket(KEY, b"payload", int(NOW) + 600, NOW)
    store.take_ticket(KEY, NOW)
    note()
    assert seen[-1] == seen[-2]


def test_a_slot_is_the_first_two_bytes_of_the_key() -> None:
    assert slot_of(b"\xff\xfe" + bytes(30)) == 0xFFFE < SLOTS


# several threads, sweeping, opening ----------------------------------------------------------------------------


def test_threads_share_a_store(store: SessionStore) -> None:
    """Of eight threads, one creates, one takes, and every save lands on the version before it."""
    store.put_ticket(KEY, b"payload", int(NOW) + 600, NOW)
    created, taken, errors = [], [], []

    def work(number: int) -> None:
        try:
            try:
                store.create(session(), NOW)
                created.append(number)
            except StoreConflict:
                pass
            if store.take_ticket(KEY, NOW) is not None:
                taken.append(number)
            for _ in range(20):
                while True:
                    held = store.load(KEY, NOW)
                    assert isinstance(held, Session)
                    try:
                        store.save(replace(held, version=held.version + 1), NOW)
                        break
                    except StoreConflict:
                        pass
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(created) == len(taken) == 1
    assert store.load(KEY, NOW) == session(version=161)


def _rows(store: SessionStore) -> int:
    if isinstance(store, MemoryStore):
        kept = (store._sessions, store._tickets, store._keys_by_sid, store._over)
        return sum(len(each) for each in kept)
    assert isinstance(store, SQLiteStore)
    connection = sqlite3.connect(store.path)
    tables = ("sessions", "sids", "tickets")
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
    connection.close()
    return sum(counts)


def test_what_is_over_is_swept_by_later_writes(store: SessionStore) -> None:
    for number in range(450):
        store.create(session(number, sids=(f"sid-{number}", "common")), NOW)
        store.put_ticket(key_of(number), b"payload", int(NOW) + 600, NOW)
    for number in range(150):
        store.end(key_of(number), "signed_out", NOW)
    store.create(session("lasting", expires_at=int(NOW) + 90 * DAY, sids=("common",)), NOW)
    full = _rows(store)
    assert full > 1300
    later = END + DAY
    for number in range(600):
        assert store.put_ticket(key_of(("new", number)), b"payload", int(later), later - 1) is True
        assert store.take_ticket(key_of(("new", number)), later - 1) == b"payload"
    assert store.load(key_of(300), later - 1) is not None
    later += 60
    for number in range(600):
        store.put_ticket(key_of(("newer", number)), b"payload", int(later) + 1, later)
        store.take_ticket(key_of(("newer", number)), later)
    assert _rows(store) < 700  # of memory's heap, the instants of the tickets that were taken remain
    assert len(store.find("common", None, later)) == 1
    assert store.find("sid-300", None, NOW) == []


def test_a_store_that_was_closed_opens_again(store: SessionStore) -> None:
    store.close()
    store.create(session(), NOW)
    store.close()
    store.close()
    assert store.load(KEY, NOW) == session()


def test_open_store_reads_the_setting(tmp_path: Path) -> None:
    assert isinstance(open_store("memory:"), MemoryStore)
    store = open_store(f"sqlite:{tmp_path}/a/b.sqlite3")
    assert isinstance(store, SQLiteStore)
    assert store.path == tmp_path.resolve() / "a" / "b.sqlite3"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "memory", "memory:x", "sqlite:", "sqlite::memory:", "redis://h", "x.db"])
def test_open_store_refuses_anything_else(text: str) -> None:
    with pytest.raises(SettingsError, match="sqlite:PATH"):
        open_store(text)


def _set(found: list[Session]) -> set[bytes]:
    return {each.key for each in found}
