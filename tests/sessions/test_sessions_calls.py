"""``kmsi_middleware.sessions``: every call, waiting and with ``await``, on every store."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.stores.store_actors import DAY, ISSUER, NOW, key_of, session

from kmsi_middleware.edges.stores import MemoryStore, SQLiteStore
from kmsi_middleware.errors import SettingsError, StoreUnavailable, UnknownSession
from kmsi_middleware.sessions import Sessions
from kmsi_middleware.vocabulary.effects import SessionStore
from kmsi_middleware.vocabulary.errors import SignInRevoked
from kmsi_middleware.vocabulary.session import Mark, Session, Tombstone, user_key
from kmsi_middleware.vocabulary.settings import Settings

Call = Callable[..., Any]
"""Calls a method of ``Sessions`` by its name."""
BEN = {"subject": "ben", "claims": {"sub": "ben", "tid": "tenant", "oid": "object"}}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "sessions.sqlite3")
    for name, changes in {"ada 1": {}, "ada 2": {}, "ben 1": BEN}.items():
        store.create(session(name, key=key_of(name), **changes), NOW)
    yield store
    store.close()


@pytest.fixture
def sessions(store: SessionStore) -> Sessions:
    return Sessions(store=store, clock=lambda: NOW)


@pytest.fixture(params=["waiting", "asyncio", "trio"])
def call(request: pytest.FixtureRequest, sessions: Sessions) -> Call:
    def call(name: str, *arguments: Any, **named: Any) -> Any:
        if request.param == "waiting":
            return getattr(sessions, name)(*arguments, **named)

        async def calling() -> Any:
            return await getattr(sessions, f"{name}_async")(*arguments, **named)

        return anyio.run(calling, backend=request.param)

    return call


def id_of(name: str) -> str:
    return key_of(name).hex()


def names(found: list[Session]) -> set[str]:
    known = {id_of(name): name for name in ("ada 1", "ada 2", "ben 1")}
    return {known[each.id] for each in found}


# Seeing ----------------------------------------------------------------------------------------------------


def test_a_session_is_had_by_its_id(call: Call) -> None:
    found = call("get", id_of("ada 1"))
    assert found == session("ada 1", key=key_of("ada 1"))
    assert found.id == id_of("ada 1")
    assert call("get", "00" * 32) is None


def test_of_an_ended_one_there_is_the_reason(call: Call) -> None:
    call("revoke", id_of("ada 1"))
    assert call("get", id_of("ada 1")) == Tombstone("revoked", int(NOW), "c0ffee")


@pytest.mark.parametrize("bad", ["", "abc", "zz" * 32, "00" * 31, "00" * 33, "é" * 64])
@pytest.mark.parametrize("name", ["get", "revoke", "revoke_others"])
def test_what_is_no_id_is_said_to_be_none(call: Call, name: str, bad: str) -> None:
    with pytest.raises(UnknownSession, match="no session's id"):
        call(name, bad)


def test_a_users_sessions_are_listed(call: Call) -> None:
    assert names(call("list_user", issuer=ISSUER, subject="ada")) == {"ada 1", "ada 2"}
    assert names(call("list_user", tenant="tenant", object_id="object")) == {"ben 1"}
    assert call("list_user", issuer=ISSUER, subject="nobody") == []


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"issuer": ISSUER},
        {"subject": "ada"},
        {"issuer": ISSUER, "subject": ""},
        {"tenant": "tenant"},
        {"issuer": ISSUER, "object_id": "object"},
        {"issuer": ISSUER, "subject": "ada", "tenant": "tenant"},
        {"issuer": ISSUER, "subject": 7},
    ],
)
@pytest.mark.parametrize("name", ["list_user", "revoke_user"])
def test_half_a_user_is_nobody(call: Call, store: SessionStore, name: str, given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="give issuer and subject, or tenant and object_id"):
        call(name, **given)
    assert len(store.page(b"", 10, NOW)[0]) == 3


def test_all_sessions_come_page_by_page(call: Call) -> None:
    seen, cursor, pages = set(), "", 0
    while pages == 0 or cursor:
        found, cursor = call("page", cursor, 2)
        seen |= names(found)
        pages += 1
    assert seen == {"ada 1", "ada 2", "ben 1"}
    assert pages == 2


def test_a_person_of_b2c_is_one_person_in_every_user_flow(call: Call, store: SessionStore) -> None:
    """Where the issuer has the policy in it."""
    tenant = "https://contoso.b2clogin.com/tfp/775527ff-9a37-4307-8b3d-cc311f58d925"
    for policy in ("B2C_1_susi", "b2c_1_edit"):
        key = key_of(policy)
        store.create(session(policy, key=key, issuer=f"{tenant}/{policy}/v2.0/", subject="mia"), NOW)
    assert len(call("list_user", issuer=f"{tenant}/B2C_1_susi/v2.0/", subject="mia")) == 2
    assert call("revoke_others", id_of("b2c_1_edit")) == 1
    assert call("revoke_user", issuer=f"{tenant}/B2C_1_susi/v2.0/", subject="mia") == 1


# Ending ----------------------------------------------------------------------------------------------------


def left(store: SessionStore) -> set[str]:
    return names(store.page(b"", 10, NOW)[0])


@pytest.mark.parametrize(
    ("name", "arguments", "named", "ended", "stay"),
    [
        ("revoke", ["ada 1"], {}, 1, {"ada 2", "ben 1"}),
        ("revoke_user", [], {"issuer": ISSUER, "subject": "ada"}, 2, {"ben 1"}),
        ("revoke_user", [], {"tenant": "tenant", "object_id": "object"}, 1, {"ada 1", "ada 2"}),
        ("revoke_others", ["ada 1"], {}, 1, {"ada 1", "ben 1"}),
        ("revoke_everything", [], {}, 3, set()),
    ],
)
def test_each_call_ends_its_sessions_and_says_how_many(
    call: Call, store: SessionStore, name: str, arguments: list[str], named: dict[str, str], ended: int, stay: set[str]
) -> None:
    arguments = [id_of(argument) for argument in arguments]
    assert call(name, *arguments, **named) == ended
    assert left(store) == stay
    assert call(name, *arguments, **named) == 0


def test_a_session_itself_will_do_for_its_id(call: Call, store: SessionStore) -> None:
    mine = store.load(key_of("ada 1"), NOW)
    assert call("revoke_others", mine) == 1
    assert call("revoke", mine) == 1


def test_the_others_of_a_session_that_is_over_are_not_known(call: Call, store: SessionStore) -> None:
    call("revoke", id_of("ada 1"))
    with pytest.raises(UnknownSession, match="there is no session"):
        call("revoke_others", id_of("ada 1"))
    assert left(store) == {"ada 2", "ben 1"}


def test_a_sign_in_that_is_under_way_becomes_no_session(call: Call, store: SessionStore) -> None:
    call("revoke_user", issuer=ISSUER, subject="ada")
    with pytest.raises(SignInRevoked):
        store.create(session("late", key=key_of("late"), begun_at=int(NOW)), NOW)
    store.create(session("new", key=key_of("new"), begun_at=int(NOW) + 1), NOW)


def test_the_mark_holds_from_the_clock_that_was_handed_in(store: SessionStore) -> None:
    Sessions(store=store, clock=lambda: NOW + 7.5).revoke_user(issuer=ISSUER, subject="ada")
    at = int(NOW) + 7
    assert store.read_mark([user_key(ISSUER, "ada")], NOW) == Mark(at, at)
    assert store.read_mark([user_key(ISSUER, "ada")], NOW + 399 * DAY) == Mark(at, at)


def test_a_store_that_fails_is_said_to(call: Call, store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "find_user", failing)
    with pytest.raises(StoreUnavailable):
        call("revoke_user", issuer=ISSUER, subject="ada")
    assert left(store) == {"ada 1", "ada 2", "ben 1"}


def test_every_call_has_a_twin_with_the_same_parameters_and_the_same_answer() -> None:
    public = {name: method for name, method in vars(Sessions).items() if not name.startswith("_") and name != "close"}
    plain = {name for name in public if not name.endswith("_async")}
    assert set(public) == plain | {f"{name}_async" for name in plain}
    for name in plain:
        assert inspect.signature(public[name]) == inspect.signature(public[f"{name}_async"])
        assert inspect.iscoroutinefunction(public[f"{name}_async"])


# Which store -----------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store in each of four files; each has a session of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("keyword", "object", "environment", ".kmsi/sessions.sqlite3"):
        store = SQLiteStore(tmp_path / name)
        store.create(session(name, key=key_of(name)), NOW)
        store.close()
    return tmp_path


def test_the_store_is_found_as_the_middleware_finds_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def finds(name: str, settings: Settings | None = None, **keywords: Any) -> None:
        with Sessions(settings, clock=lambda: NOW, **keywords) as sessions:
            assert sessions.get(id_of(name)), name

    monkeypatch.delenv("KMSI_STORE", raising=False)
    finds(".kmsi/sessions.sqlite3")
    monkeypatch.setenv("KMSI_STORE", f"sqlite:{place}/environment")
    monkeypatch.setenv("KMSI_NONSENSE", "another program's")
    finds("environment")
    finds("environment", Settings(issuer="https://login.example.com"))
    settings = Settings(issuer="https://login.example.com", store=f"sqlite:{place}/object")
    finds("object", settings)
    finds("keyword", settings, store=f"sqlite:{place}/keyword")


@pytest.mark.parametrize("store", ["memory:", "sqlite:", "postgres://db", ""])
def test_a_store_that_can_not_work_is_refused(store: str) -> None:
    with pytest.raises(SettingsError, match="setting store"):
        Sessions(store=store)


def test_nothing_is_opened_before_the_first_call(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "sessions.sqlite3"
    with Sessions(store=f"sqlite:{file}", clock=lambda: NOW) as sessions:
        assert not file.exists()
        assert sessions.revoke_everything() == 0
        assert file.exists()


def test_after_close_the_next_call_opens_again(place: Path) -> None:
    async def use() -> None:
        async with Sessions(store="sqlite:keyword", clock=lambda: NOW) as sessions:
            assert await sessions.get_async(id_of("keyword"))
        assert await sessions.get_async(id_of("keyword"))
        sessions.close()

    anyio.run(use)
