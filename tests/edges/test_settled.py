"""What a process has at hand: never what was revoked, never more than it may, and nobody's to change."""

from __future__ import annotations

import asyncio
import copy
import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.shells.shell_servers import Headers, Server

from kmsi_middleware.asgi import KMSIMiddleware
from kmsi_middleware.edges import settled as module
from kmsi_middleware.edges.settled import Settled, SettledSessions
from kmsi_middleware.edges.stores import MemoryStore, SQLiteStore
from kmsi_middleware.rules.seals import encode
from kmsi_middleware.vocabulary.effects import SessionStore, slot_of
from kmsi_middleware.vocabulary.errors import StoreUnavailable
from kmsi_middleware.vocabulary.session import Session, Tombstone

NOW = 1_800_000_000
UNTIL = NOW + 600
NEEDLE = b"kmsi-8000="
CLAIMS = {"sub": "alice", "groups": ["readers"], "address": {"city": "Bern", "lines": ["x"]}}


def token_of(name: object) -> str:
    return encode(sha256(repr(name).encode()).digest())


def header_of(name: object) -> bytes:
    return b"a=b; " + NEEDLE + token_of(name).encode()


def session_of(name: object, **more: Any) -> Session:
    fixed: dict[str, Any] = {
        "key": sha256(token_of(name).encode()).digest(),
        "issuer": "https://login.example.com",
        "subject": "alice",
        "claims": copy.deepcopy(CLAIMS),
        "started_at": NOW,
        "renewed_at": NOW,
        "expires_at": NOW + 86_400,
        "persistent": False,
        "decision": "answered_no",
        "correlation_id": "0",
    }
    return Session(**{**fixed, **more})


class Process:
    """What a shell does with the sessions of one process."""

    def __init__(self, store: SessionStore) -> None:
        self.store = store
        self.sessions = SettledSessions(store, lambda: NOW, "sub", NEEDLE)

    def peek(self, name: object) -> Settled | None:
        return self.sessions.peek(header_of(name), NEEDLE)

    def load(self, name: object) -> Settled | None:
        """The slow way. Answer: what it put at hand, if there is a session."""
        key = session_of(name).key
        stamp = self.sessions.note(key)
        loaded = self.store.load(key, NOW)
        return self.sessions.settle(loaded, UNTIL, stamp) if isinstance(loaded, Session) else None

    def request(self, name: object) -> str:
        if self.peek(name) is not None:
            return "at hand"
        return "loaded" if self.load(name) else "nobody"

    def at_hand(self) -> int:
        return len(self.sessions._by_key)


# Stores that close -------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.sqlite3"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[[], SQLiteStore]]:
    """Makes stores of the same file, as other processes have them."""
    made: list[SQLiteStore] = []

    def open_() -> SQLiteStore:
        made.append(SQLiteStore(path))
        return made[-1]

    yield open_
    for store in made:
        store.close()


@pytest.fixture
def here(opened: Callable[[], SQLiteStore]) -> Process:
    """A process with one session at hand."""
    store = opened()
    store.create(session_of("s"), NOW)
    process = Process(store)
    assert [process.request("s"), process.request("s")] == ["loaded", "at hand"]
    return process


def test_after_closing_the_next_request_loads_and_opens_the_counters_that_still_vouch(here: Process) -> None:
    here.store.close()
    assert here.peek("s") is None
    assert [here.request("s") for _ in range(3)] == ["loaded", "at hand", "at hand"]


@pytest.mark.parametrize("closes", ["before", "after", "both"])
def test_what_another_process_revoked_does_not_pass_however_often_ours_was_closed(
    here: Process, opened: Callable[[], SQLiteStore], closes: str
) -> None:
    if closes != "after":
        here.store.close()
    assert opened().end(session_of("s").key, "revoked", NOW)
    assert here.peek("s") is None
    if closes != "before":
        here.store.close()
    assert here.peek("s") is None
    assert [here.request("s") for _ in range(3)] == ["nobody"] * 3


def test_what_was_revoked_under_new_counters_does_not_pass(
    here: Process, opened: Callable[[], SQLiteStore], path: Path
) -> None:
    """Closed, this process does not keep others from making the counters anew: it must not believe the old ones."""
    here.store.close()
    path.with_name(path.name + ".counters").unlink()
    other = opened()
    assert isinstance(other.load(session_of("s").key, NOW), Session)
    assert other.end(session_of("s").key, "revoked", NOW)
    assert here.peek("s") is None
    assert here.request("s") == "nobody"


def test_what_is_in_another_database_by_now_does_not_pass(
    here: Process, opened: Callable[[], SQLiteStore], path: Path
) -> None:
    here.store.close()
    for file in path.parent.iterdir():
        file.unlink()
    opened().create(session_of("other"), NOW)
    assert here.peek("s") is None
    assert here.request("s") == "nobody"


def test_closing_while_others_look_raises_nothing_and_lets_nothing_revoked_pass(here: Process) -> None:
    failures: list[BaseException] = []
    revoked = threading.Event()
    done = threading.Event()

    def look() -> None:
        try:
            while not done.is_set():
                was_revoked = revoked.is_set()
                assert not (here.peek("s") is not None and was_revoked)
        except BaseException as error:
            failures.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # four that look must not keep the one that closes from its turn
    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(20):
            here.store.close()
            here.load("s")
        here.store.end(session_of("s").key, "revoked", NOW)
        revoked.set()
        for _ in range(20):
            here.store.close()
            here.load("s")
    finally:
        done.set()
        for looker in lookers:
            looker.join()
        sys.setswitchinterval(interval)
    assert failures == []


class Failing(MemoryStore):
    """A store that fails, or can't tell."""

    answers: Sequence[int] | Exception | None = None
    fails = False

    def counters(self) -> Sequence[int] | None:
        if not self.fails:
            return super().counters()
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers


@pytest.mark.parametrize("answers", [None, StoreUnavailable("gone")])
def test_a_store_that_can_not_tell_any_more_settles_nothing(answers: Exception | None) -> None:
    store = Failing()
    store.answers = answers
    store.create(session_of("s"), NOW)
    process = Process(store)
    assert [process.request("s"), process.request("s")] == ["loaded", "at hand"]
    store.fails = True
    assert process.peek("s") is None
    assert [process.request("s"), process.request("s")] == ["loaded", "loaded"]
    store.fails = False
    assert process.request("s") == "at hand"


def test_what_was_revoked_between_stamp_and_settle_is_not_kept() -> None:
    store = MemoryStore()
    store.create(session_of("s"), NOW)
    process = Process(store)
    key = session_of("s").key
    stamp = process.sessions.note(key)
    loaded = store.load(key, NOW)
    assert isinstance(loaded, Session)
    assert store.end(key, "revoked", NOW)
    assert process.sessions.settle(loaded, UNTIL, stamp).session == loaded
    assert process.peek("s") is None
    assert process.at_hand() == 0
    assert isinstance(store.load(key, NOW), Tombstone)


# Stores that tell versions -----------------------------------------------------------------------------------


class Telling(MemoryStore):
    """Tells a session's version, and counts only while ``counts``."""

    reads_versions = True
    counts = False
    fails = False
    asked = 0

    def counters(self) -> Sequence[int] | None:
        return super().counters() if self.counts else None

    def version(self, key: bytes) -> int | None:
        self.asked += 1
        if self.fails:
            raise StoreUnavailable("gone")
        return super().version(key)


class Asking(Process):
    """What a shell does with such a store."""

    store: Telling

    def peek(self, name: object) -> Settled | None:
        settled = super().peek(name)
        if settled is None and (at_hand := self.sessions.at_hand(header_of(name), NEEDLE)) is not None:
            settled = self.sessions.ask(at_hand)
        return settled


@pytest.fixture
def asking() -> Asking:
    store = Telling()
    store.create(session_of("s"), NOW)
    process = Asking(store)
    assert [process.request("s"), process.request("s")] == ["loaded", "at hand"]
    store.asked = 0
    return process


def test_a_session_of_the_same_version_passes_after_one_look(asking: Asking) -> None:
    assert [asking.request("s") for _ in range(3)] == ["at hand"] * 3
    assert asking.store.asked == 3


def test_who_is_not_at_hand_is_not_asked_for(asking: Asking) -> None:
    assert asking.peek("other") is None
    assert asking.store.asked == 0


def test_another_version_does_not_pass(asking: Asking) -> None:
    asking.store.save(session_of("s", version=2, data=b'{"new":1}'), NOW)
    assert asking.peek("s") is None
    assert [asking.request("s"), asking.request("s")] == ["loaded", "at hand"]
    settled = asking.peek("s")
    assert settled is not None
    assert settled.session.data == b'{"new":1}'


def test_an_ended_session_does_not_pass(asking: Asking) -> None:
    asking.store.end(session_of("s").key, "revoked", NOW)
    assert [asking.request("s") for _ in range(3)] == ["nobody"] * 3


def test_nobody_passes_by_a_version_that_could_not_be_read(asking: Asking) -> None:
    asking.store.fails = True
    assert asking.peek("s") is None
    asking.store.fails = False
    assert asking.request("s") == "at hand"


def test_where_the_counts_can_tell_again_nobody_is_asked(asking: Asking) -> None:
    """And what they say of the time before is not believed."""
    asking.store.counts = True
    assert [asking.request("s") for _ in range(3)] == ["at hand"] * 3
    assert asking.store.asked == 1
    asking.store.counts = False
    assert asking.request("s") == "at hand"
    assert asking.store.asked == 2
    asking.store.counts = True
    asking.store.end(session_of("s").key, "revoked", NOW)
    assert asking.request("s") == "nobody"


def test_what_was_granted_to_an_older_version_is_not_to_a_newer(asking: Asking) -> None:
    store = asking.store
    first = asking.sessions.settle(session_of("s"), UNTIL, None, 1, "here")
    assert asking.sessions.settle(session_of("s"), UNTIL, None, 1, "there").granted.keys() == {"here", "there"}
    store.save(session_of("s", version=2), NOW)
    again = asking.sessions.settle(session_of("s", version=2), UNTIL, None, 1, "there")
    assert again.granted.keys() == {"there"}
    assert first.granted.keys() == {"here"}


class Elsewhere(Telling):
    """A store that has a way of its own under asyncio, and may vouch for its counters when it is asked."""

    vouches = True

    @property
    def asynchronous(self) -> Awaited:  # type: ignore[override]
        return Awaited(self)


class Awaited:
    def __init__(self, store: Elsewhere) -> None:
        self.store = store

    def noted_counters(self) -> Sequence[int] | None:
        return MemoryStore.counters(self.store)

    async def counters(self) -> Sequence[int] | None:
        return self.noted_counters() if self.store.vouches else None

    async def version(self, key: bytes) -> int | None:
        return self.store.version(key)


@pytest.fixture
def elsewhere() -> Asking:
    store = Elsewhere()
    store.create(session_of("s"), NOW)
    process = Asking(store)
    assert [process.request("s"), process.request("s")] == ["loaded", "at hand"]
    store.asked = 0
    return process


def passes(process: Asking) -> bool:
    settled = process.sessions.at_hand(header_of("s"), NEEDLE)
    assert settled is not None
    return asyncio.run(process.sessions.ask_async(settled)) is settled


def test_counters_that_were_asked_vouch(elsewhere: Asking) -> None:
    assert passes(elsewhere)
    assert elsewhere.store.asked == 0
    elsewhere.store.end(session_of("s").key, "revoked", NOW)
    assert not passes(elsewhere)


def test_where_a_counter_has_moved_the_version_is_asked_for_once(elsewhere: Asking) -> None:
    elsewhere.store._counters[slot_of(session_of("s").key)] += 2  # another session of the slot
    assert passes(elsewhere)
    assert passes(elsewhere)
    assert elsewhere.store.asked == 1
    elsewhere.store.save(session_of("s", version=2), NOW)
    assert not passes(elsewhere)


def test_where_the_counters_can_not_tell_the_version_is_asked_for_every_time(elsewhere: Asking) -> None:
    assert isinstance(elsewhere.store, Elsewhere)
    elsewhere.store.vouches = False
    assert [passes(elsewhere) for _ in range(3)] == [True] * 3
    assert elsewhere.store.asked == 3
    elsewhere.store.fails = True
    assert not passes(elsewhere)
    elsewhere.store.fails = False
    elsewhere.store.end(session_of("s").key, "revoked", NOW)
    assert not passes(elsewhere)


# How many ----------------------------------------------------------------------------------------------------

MOST = 8


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Process:
    """A process that keeps eight sessions at hand, of a store with plenty."""
    monkeypatch.setattr(module, "MOST_SESSIONS", MOST)
    store = MemoryStore()
    for number in range(200):
        store.create(session_of(number), NOW)
    return Process(store)


def test_the_one_that_was_put_there_first_goes(small: Process) -> None:
    for number in range(MOST + 3):
        assert small.request(number) == "loaded"
    assert small.at_hand() == MOST
    assert [number for number in range(MOST + 3) if small.peek(number)] == list(range(3, MOST + 3))


def test_one_that_is_there_already_pushes_nobody_out(small: Process) -> None:
    for number in range(MOST):
        small.load(number)
    for _ in range(3):
        small.load(MOST - 1)
    assert all(small.peek(number) for number in range(MOST))


def test_many_threads_at_once_break_nothing(small: Process) -> None:
    def visit(seed: int) -> None:
        for step in range(400):
            small.request((seed * 37 + step * 11) % 200)
            assert small.at_hand() <= MOST

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(visit, range(8)))
    finally:
        sys.setswitchinterval(interval)
    assert small.at_hand() == MOST


# Cookie headers that are remembered ----------------------------------------------------------------------------

HEADERS = [header_of("s"), header_of("s") + b"; theme=dark", NEEDLE + token_of("s").encode()]


@pytest.mark.parametrize("name", [NEEDLE, b"", b"kmsi-8001="], ids=["of that name", "no fixed name", "of another"])
def test_a_header_leads_where_its_cookie_does_the_first_time_and_every_other(name: bytes) -> None:
    store = MemoryStore()
    for person in ("s", "other"):
        store.create(session_of(person), NOW)
    process = Process(store)
    process.sessions = SettledSessions(store, lambda: NOW, "sub", name)
    for person in ("s", "other"):
        process.load(person)
    led = [process.sessions.peek(header, NEEDLE) for header in HEADERS * 3]
    assert {settled.session.key for settled in led if settled} == {session_of("s").key}
    assert all(led)
    other = process.peek("other")
    assert other is not None
    assert other.session.key == session_of("other").key
    assert all(process.sessions.peek(header, b"kmsi-8001=") is None for header in HEADERS) or name == NEEDLE
    assert len(process.sessions._by_header) == (2 if name == NEEDLE else 0)


def test_a_session_is_remembered_by_one_header_and_by_none_that_is_long(small: Process) -> None:
    by_header = small.sessions._by_header
    small.load(0)
    for number in range(50):
        assert small.sessions.peek(header_of(0) + b"; visits=%d" % number, NEEDLE) is not None
    assert list(by_header) == [header_of(0) + b"; visits=49"]
    assert small.sessions.peek(header_of(0) + b"; long=" + b"x" * module.LONGEST_REMEMBERED, NEEDLE) is not None
    assert list(by_header) == [header_of(0) + b"; visits=49"]
    for number in range(1, MOST + 3):
        small.request(number)
        small.request(number)
    assert len(by_header) == MOST


def test_a_header_does_not_lead_to_what_was_replaced(small: Process) -> None:
    first = small.load(0)
    assert small.peek(0) is first
    small.store.save(session_of(0, version=2, data=b'{"new":1}'), NOW)
    assert small.peek(0) is None
    second = small.load(0)
    assert small.peek(0) is second
    assert second is not first


def test_nor_to_what_is_being_replaced(small: Process) -> None:
    """Another thread settles it anew, just as the header is about to be remembered."""
    small.load(0)

    class Meanwhile:
        def __init__(self) -> None:
            self.lock = small.sessions._lock

        def __enter__(self) -> None:
            small.sessions._lock = self.lock
            small.store.save(session_of(0, version=2), NOW)
            small.load(0)

        def __exit__(self, *_: object) -> None:
            pass

    small.sessions._lock = Meanwhile()  # type: ignore[assignment]
    assert small.peek(0) is None
    assert small.sessions._by_header == {}
    assert small.request(0) == "at hand"


def test_text_is_remembered_as_bytes_are(small: Process) -> None:
    """WSGI has headers in text."""
    small.load(0)
    text = header_of(0).decode()
    assert small.sessions.peek(text, NEEDLE) is small.sessions.peek(text, NEEDLE) is not None
    assert list(small.sessions._by_header) == [text]


# What the app is shown ---------------------------------------------------------------------------------------

CHANGES: dict[str, Callable[[Any], object]] = {
    "set": lambda claims: claims.__setitem__("sub", "bob"),
    "delete": lambda claims: claims.__delitem__("sub"),
    "update": lambda claims: claims.update(sub="bob"),
    "append": lambda claims: claims["groups"].append("admins"),
    "extend": lambda claims: claims["groups"].extend(["admins"]),
    "insert": lambda claims: claims["groups"].insert(0, "admins"),
    "add": lambda claims: claims["groups"].__iadd__(["admins"]),
    "times": lambda claims: claims["groups"].__imul__(2),
    "item": lambda claims: claims["groups"].__setitem__(0, "admins"),
    "no item": lambda claims: claims["groups"].__delitem__(0),
    "pop": lambda claims: claims["groups"].pop(),
    "remove": lambda claims: claims["groups"].remove("readers"),
    "clear": lambda claims: claims["groups"].clear(),
    "sort": lambda claims: claims["groups"].sort(),
    "reverse": lambda claims: claims["groups"].reverse(),
    "inner set": lambda claims: claims["address"].__setitem__("city", "Rome"),
    "inner delete": lambda claims: claims["address"].__delitem__("city"),
    "inner update": lambda claims: claims["address"].update(city="Rome"),
    "inner or": lambda claims: claims["address"].__ior__({"city": "Rome"}),
    "inner default": lambda claims: claims["address"].setdefault("country", "CH"),
    "inner pop": lambda claims: claims["address"].pop("city"),
    "inner popitem": lambda claims: claims["address"].popitem(),
    "inner clear": lambda claims: claims["address"].clear(),
    "innermost": lambda claims: claims["address"]["lines"].append("y"),
}


@pytest.fixture
def shown() -> tuple[Process, Settled]:
    store = MemoryStore()
    store.create(session_of("s", data=b'{"items":["a"]}'), NOW)
    process = Process(store)
    settled = process.load("s")
    assert settled is not None
    return process, settled


@pytest.mark.parametrize("change", CHANGES)
def test_no_request_can_change_the_claims_that_others_are_shown(shown: tuple[Process, Settled], change: str) -> None:
    process, settled = shown
    with pytest.raises((TypeError, AttributeError)):
        CHANGES[change](settled.session.claims)
    again = process.peek("s")
    assert again is not None
    assert again.session.claims == CLAIMS
    stored = process.store.load(session_of("s").key, NOW)
    assert isinstance(stored, Session)
    assert stored.claims == CLAIMS


@pytest.mark.parametrize("change", [name for name in CHANGES if name != "set"])
def test_the_users_claims_are_a_copy_that_may_be_changed(shown: tuple[Process, Settled], change: str) -> None:
    process, settled = shown
    CHANGES[change](settled.user.claims)
    assert settled.user.claims == CLAIMS == settled.session.claims
    again = process.peek("s")
    assert again is not None
    assert again.user.claims == CLAIMS


def test_what_the_apps_hook_said_can_not_be_changed_either() -> None:
    """The policies go by it for as long as the session lasts."""
    store = MemoryStore()
    store.create(session_of("s", signals={"risk": "high", "device": {"isCompliant": False}}), NOW)
    process = Process(store)
    settled = process.load("s")
    assert settled is not None
    with pytest.raises(TypeError):
        settled.session.signals["risk"] = "none"  # type: ignore[index]
    with pytest.raises(TypeError):
        settled.session.signals["device"]["isCompliant"] = True
    stored = store.load(session_of("s").key, NOW)
    assert isinstance(stored, Session)
    assert stored.signals == settled.session.signals == {"risk": "high", "device": {"isCompliant": False}}


def test_claims_are_lists_and_dicts_as_json_has_them(shown: tuple[Process, Settled]) -> None:
    claims = shown[1].session.claims
    assert isinstance(claims["groups"], list)
    assert isinstance(claims["address"], dict)
    assert claims["groups"] == ["readers"]
    assert json.loads(json.dumps(dict(claims))) == CLAIMS
    mine = copy.deepcopy(dict(claims))
    mine["groups"].append("mine")
    mine["address"]["lines"].append("mine")
    also = claims["groups"].copy()
    also.append("mine")
    assert claims == CLAIMS


def test_each_request_has_data_of_its_own(shown: tuple[Process, Settled]) -> None:
    one, other = shown[1].new_data(), shown[1].new_data()
    one["items"].append("b")
    one["more"] = 1
    assert other == {"items": ["a"]} == shown[1].new_data()


# Through the shell -------------------------------------------------------------------------------------------


class Counted(MemoryStore):
    """Counts its loads."""

    loads = 0

    def load(self, key: bytes, now: float) -> Session | Tombstone | None:
        self.loads += 1
        return super().load(key, now)


async def app(scope: Any, receive: Any, send: Any) -> None:
    body = scope["user"].identity.encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


TOKEN = token_of("s")
OURS = f"kmsi-8000={TOKEN}"
SPLIT: dict[str, Headers] = {
    "alone": [("cookie", OURS)],
    "joined": [("cookie", f"a=b; {OURS}; c=d")],
    "last": [("cookie", "a=b"), ("cookie", "c=d"), ("cookie", OURS)],
    "first": [("cookie", OURS), ("cookie", "a=b"), ("cookie", "c=d")],
    "middle": [("cookie", "a=b"), ("cookie", OURS), ("cookie", "c=d")],
    "in a group": [("cookie", "a=b"), ("cookie", f"x=y; {OURS}; z=z"), ("cookie", "kmsi-8000.t.x=1"), ("cookie", "")],
    "other headers between": [("cookie", OURS), ("accept", "*/*"), ("x-kmsi-8000", "kmsi-8000="), ("cookie", "a=b")],
    "of two the last": [("cookie", f"kmsi-8000={token_of('older')}"), ("cookie", OURS)],
}


@pytest.mark.parametrize("backend", ["asgi-asyncio", "asgi-trio"])
@pytest.mark.parametrize("split", SPLIT)
def test_cookies_in_several_headers_take_the_fast_path(split: str, backend: str) -> None:
    store = Counted()
    store.create(session_of("s"), NOW)
    store.loads = 0  # making one looks for its key, too
    shell = KMSIMiddleware(
        app,
        issuer="https://login.example.com",
        client_id="app",
        secret_keys=["k" * 32],
        base_url="http://localhost:8000",
        store=store,
        clock=lambda: NOW,
    )
    server = Server(backend, shell)
    assert server("GET", "http://localhost:8000/", SPLIT[split]).text == "alice"
    assert store.loads == 1
    for headers in (SPLIT[split], SPLIT["alone"], SPLIT[split]):
        assert server("GET", "http://localhost:8000/", headers).text == "alice"
    assert store.loads == 1, "settled: nothing is loaded"
    store.end(session_of("s").key, "revoked", NOW)
    assert server("GET", "http://localhost:8000/", [*SPLIT[split], ("accept", "*/*")]).status == 401
