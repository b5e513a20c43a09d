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
from kmsi_middleware.vocabulary.errors import SettingsError, SignInRevoked, StoreConflict
from kmsi_middleware.vocabulary.session import EVERYBODY, Mark, Session, Tombstone, sid_key, user_key

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
    assert store.load(KEY, NOW) == Tombstone("revoked", int(NOW), "c0ffee")
    assert store.find("sid-1", ISSUER, NOW) == []


# end ---------------------------------------------------------------------------------------------------------


def test_end_leaves_a_tombstone_for_a_day(store: SessionStore) -> None:
    store.create(session(), NOW)
    assert store.end(KEY, "front_channel", NOW + 5.9) is True
    assert store.load(KEY, NOW + 6) == Tombstone("front_channel", int(NOW) + 5, "c0ffee")
    assert store.load(KEY, NOW + 5 + DAY - 0.001) == Tombstone("front_channel", int(NOW) + 5, "c0ffee")
    assert store.load(KEY, NOW + 5 + DAY) is None


def test_end_answers_whether_there_was_a_session_and_the_first_reason_stays(store: SessionStore) -> None:
    assert store.end(KEY, "signed_out", NOW) is False
    assert store.load(KEY, NOW) is None
    store.create(session(), NOW)
    assert store.end(KEY, "back_channel", NOW) is True
    assert store.end(KEY, "signed_out", NOW + 60) is False
    assert store.load(KEY, NOW + 60) == Tombstone("back_channel", int(NOW), "c0ffee")


def test_an_expired_session_can_be_ended(store: SessionStore) -> None:
    store.create(session(), NOW)
    assert store.end(KEY, "idle", END + 10) is True
    assert store.load(KEY, END + 10) == Tombstone("idle", int(END) + 10, "c0ffee")


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


def test_every_write_of_a_session_changes_its_count_and_no_other(counting_store: SessionStore) -> None:
    store = counting_store
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
    """Every save lands on the version before it."""
    assert shared_by_threads(store) == session(version=161)


def shared_by_threads(store: SessionStore) -> Session:
    """Of eight threads, one creates, one takes, and each saves twenty times. What is held in the end."""
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
    held = store.load(KEY, NOW)
    assert isinstance(held, Session)
    return held


def _rows(store: SessionStore) -> int:
    if isinstance(store, MemoryStore):
        kept = (store._sessions, store._tickets, store._keys_by_sid, store._keys_by_user, store._marks, store._over)
        return sum(len(each) for each in kept)
    assert isinstance(store, SQLiteStore)
    connection = sqlite3.connect(store.path)
    store._sweeper.wait()
    tables = ("sessions", "sids", "users", "tickets", "marks")
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]
    connection.close()
    return sum(counts)


def test_a_store_that_can_not_count_reads_versions(store: SessionStore) -> None:
    store.load(KEY, NOW)
    assert store.reads_versions or store.counters() is not None


def test_what_is_over_is_swept_by_later_writes(counting_store: SessionStore) -> None:
    store = counting_store
    for number in range(450):
        store.create(session(number, sids=(f"sid-{number}", "common")), NOW)
        store.put_ticket(key_of(number), b"payload", int(NOW) + 600, NOW)
    for number in range(150):
        store.end(key_of(number), "signed_out", NOW)
        store.put_mark(key_of(number)[:16], Mark(valid_from=1), int(NOW) + 600, NOW)
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


@pytest.mark.parametrize("text", ["", "memory", "memory:x", "sqlite:", "sqlite::memory:", "redis", "x.db"])
def test_open_store_refuses_anything_else(text: str) -> None:
    with pytest.raises(SettingsError, match="sqlite:PATH"):
        open_store(text)


def _set(found: list[Session]) -> set[bytes]:
    return {each.key for each in found}


# Users, pages and marks ----------------------------------------------------------------------------------------

ADA = user_key(ISSUER, "ada")
ENTRA = {"sub": "pairwise", "tid": "the-tenant", "oid": "the-object"}


def test_a_users_sessions_are_found_by_subject_and_by_directory_object(store: SessionStore) -> None:
    first, second = session(), session("phone", subject="pairwise", claims=ENTRA)
    for made in (first, second, session("eve", subject="eve")):
        store.create(made, NOW)
    assert store.find_user(ADA, NOW) == [first]
    assert store.find_user(user_key(ISSUER, "pairwise"), NOW) == [second]
    assert store.find_user(user_key("the-tenant", "the-object"), NOW) == [second]
    assert store.find_user(user_key("https://other.example", "ada"), NOW) == []


def test_a_user_has_as_many_sessions_as_are_live(store: SessionStore) -> None:
    made = [session(number, expires_at=int(NOW) + 100 + number) for number in range(20)]
    for one in made:
        store.create(one, NOW)
    store.end(made[0].key, "revoked", NOW)
    saved = replace(made[1], version=2, sids=("another",), expires_at=int(NOW) + 500)
    store.save(saved, NOW)
    found = store.find_user(ADA, NOW + 110)
    assert sorted(one.key for one in found) == sorted(one.key for one in [saved, *made[11:]])
    assert saved in found


def test_pages_hold_every_live_session(store: SessionStore) -> None:
    made = {key_of(number): session(number) for number in range(57)}
    for one in made.values():
        store.create(one, NOW)
    store.create(session("over", expires_at=int(NOW) + 5), NOW)
    store.create(session("ended"), NOW)
    store.end(key_of("ended"), "idle", NOW)
    found, cursor = {}, b""
    while True:
        page, cursor = store.page(cursor, 10, NOW + 5)
        found.update({one.key: one for one in page})
        if not cursor:
            break
    assert found == made


def test_ending_many_ends_each_once(store: SessionStore) -> None:
    for number in range(450):
        store.create(session(number), NOW)
    store.end(key_of(3), "idle", NOW)
    keys = [key_of(number) for number in range(449)]
    assert store.end_many([*keys, key_of("nobody")], "revoked", NOW + 1) == 448
    assert store.load(key_of(3), NOW + 1) == Tombstone("idle", int(NOW), "c0ffee")
    assert store.load(key_of(4), NOW + 1) == Tombstone("revoked", int(NOW) + 1, "c0ffee")
    assert [one.key for one in store.find_user(ADA, NOW + 1)] == [key_of(449)]
    assert store.end_many([], "revoked", NOW + 1) == 0


def test_a_mark_stops_sign_ins_that_began_before_it(store: SessionStore) -> None:
    at = int(NOW)
    store.put_mark(ADA, Mark(valid_from=at), at + DAY, NOW)
    for begun_at in (0, at - 60, at):
        with pytest.raises(SignInRevoked):
            store.create(session(begun_at=begun_at), NOW + 5)
    assert store.load(KEY, NOW + 5) is None
    assert store.find_user(ADA, NOW + 5) == []
    store.create(session(begun_at=at + 1), NOW + 5)
    store.create(session("eve", subject="eve", begun_at=0), NOW + 5)


def test_a_mark_by_directory_object_stops_its_user(store: SessionStore) -> None:
    store.put_mark(user_key("the-tenant", "the-object"), Mark(valid_from=int(NOW)), int(NOW) + DAY, NOW)
    with pytest.raises(SignInRevoked):
        store.create(session(subject="pairwise", claims=ENTRA, begun_at=int(NOW)), NOW)


def test_a_mark_for_the_issuers_session_stops_its_sign_ins(store: SessionStore) -> None:
    store.put_mark(sid_key(ISSUER, "sid-2"), Mark(valid_from=int(NOW)), int(NOW) + DAY, NOW)
    with pytest.raises(SignInRevoked):
        store.create(session(sids=("sid-1", "sid-2"), begun_at=int(NOW)), NOW)
    store.create(session(sids=("sid-1", "sid-2"), begun_at=int(NOW) + 1), NOW)
    store.create(session("elsewhere", issuer="https://other.example", sids=("sid-2",), begun_at=int(NOW)), NOW)
    store.create(session("other", sids=("sid-1",), begun_at=int(NOW)), NOW)


def test_a_mark_for_everybody_stops_everybody(store: SessionStore) -> None:
    store.put_mark(EVERYBODY, Mark(valid_from=int(NOW), real_from=int(NOW) - 1), int(NOW) + DAY, NOW)
    with pytest.raises(SignInRevoked):
        store.create(session("eve", subject="eve", begun_at=int(NOW)), NOW)
    assert store.read_mark([user_key(ISSUER, "eve")], NOW) == Mark(int(NOW), int(NOW) - 1)


def test_a_mark_does_not_touch_sessions_that_live(store: SessionStore) -> None:
    made = session(begun_at=int(NOW) - 60)
    store.create(made, NOW)
    store.put_mark(ADA, Mark(valid_from=int(NOW)), int(NOW) + DAY, NOW)
    assert store.load(KEY, NOW) == made
    store.save(replace(made, version=2), NOW)


def test_of_several_marks_the_later_instants_hold(store: SessionStore) -> None:
    at = int(NOW)
    assert store.read_mark([ADA], NOW) == Mark()
    store.put_mark(ADA, Mark(valid_from=at, real_from=at), at + 100, NOW)
    store.put_mark(ADA, Mark(valid_from=at + 5), at + 50, NOW)
    assert store.read_mark([ADA], NOW + 99) == Mark(at + 5, at)
    store.put_mark(user_key("t", "o"), Mark(real_from=at + 7), at + 50, NOW)
    assert store.read_mark([ADA, user_key("t", "o")], NOW) == Mark(at + 5, at + 7)
    assert store.read_mark([ADA], NOW + 100) == Mark()
    store.put_mark(ADA, Mark(valid_from=3), at + 300, NOW + 100)
    assert store.read_mark([ADA], NOW + 100) == Mark(3, 0)


def test_the_version_is_that_of_the_live_session(store: SessionStore) -> None:
    assert store.version(KEY) is None
    store.create(session(), NOW)
    assert store.version(KEY) == 1
    store.save(session(version=2), NOW)
    assert store.version(KEY) == 2
    store.end(KEY, "revoked", NOW)
    assert store.version(KEY) is None
