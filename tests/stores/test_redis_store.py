"""What Redis adds to the contract: its own expiry, commands that are sent twice, and every order in which two can
meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from tests.redis_support import Awaited, RedisServer
from tests.stores import test_store_contract as contract
from tests.stores.store_actors import DAY, ISSUER, NOW, key_of, session

from kmsi_middleware.edges.play import play
from kmsi_middleware.edges.stores import open_store
from kmsi_middleware.edges.stores.redis import RedisStore
from kmsi_middleware.edges.stores.redis.values import SLACK
from kmsi_middleware.vocabulary.effects import SessionStore
from kmsi_middleware.vocabulary.errors import KMSIError, SignInRevoked, StoreConflict, StoreUnavailable
from kmsi_middleware.vocabulary.session import EVERYBODY, Mark, Session, Tombstone, sid_key, user_key

KEY = key_of("ada")
ADA = user_key(ISSUER, "ada")


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    made = open_store(redis_url)
    assert isinstance(made, RedisStore)
    yield made
    made.close()


@pytest.fixture(params=["threads", "asyncio"])
def face(request: pytest.FixtureRequest, redis_url: str) -> Iterator[SessionStore]:
    """The store as threads see it, and as asyncio does."""
    if request.param == "threads":
        made = open_store(redis_url)
        yield made
        made.close()
    else:
        awaited = Awaited(redis_url)
        yield awaited  # type: ignore[misc]
        awaited.end_loop()


# Expiry ------------------------------------------------------------------------------------------------------


def test_whatever_is_kept_the_server_lets_go_of_by_itself(store: RedisStore, redis_server: RedisServer) -> None:
    store.create(session(sids=("a", "b")), NOW)
    store.save(session(version=2, expires_at=int(NOW) + 2 * DAY), NOW)
    store.create(session(2), NOW)
    store.end(key_of(2), "revoked", NOW)
    store.put_ticket(KEY, b"payload", int(NOW) + 600, NOW)
    store.put_ticket(key_of(2), b"payload", int(NOW) + 600, NOW)
    store.take_ticket(key_of(2), NOW)
    store.put_mark(ADA, Mark(valid_from=5), int(NOW) + 60, NOW)
    with redis_server.client() as client:
        kept = {key: client.ttl(key) for key in client.scan_iter()}
        kinds = {key.decode()[5:7] for key in kept}
    assert kinds == {"s:", "t:", "m:", "i:", "u:"}
    assert min(kept.values()) > 0
    lives = {key[5:]: seconds for key, seconds in kept.items()}
    at = store.operations
    for key, seconds in [
        (at.key_of(KEY), 3 * DAY + SLACK),
        (at.key_of(key_of(2)), DAY + SLACK),
        (at._user_key(ADA), 3 * DAY + SLACK),
        (at._sid_key("a"), 2 * DAY + SLACK),
        (at._ticket_key(KEY), 600 + SLACK),
        (at._ticket_key(key_of(2)), 10),
        (at._mark_key(ADA), 60 + SLACK),
    ]:
        assert lives[key[5:]] == pytest.approx(seconds, abs=3)


def test_an_ended_session_is_in_no_set_any_more(store: RedisStore, redis_server: RedisServer) -> None:
    store.create(session(sids=("a", "b")), NOW)
    store.end(KEY, "revoked", NOW)
    with redis_server.client() as client:
        assert client.keys() == [store.operations.key_of(KEY)]


def test_a_set_drops_who_expired_the_day_before(store: RedisStore, redis_server: RedisServer) -> None:
    for number in range(5):
        store.create(session(number), NOW)
    later = NOW + 2 * DAY
    store.create(session("new", expires_at=int(later) + DAY), later)
    with redis_server.client() as client:
        assert client.zcard(store.operations._user_key(ADA)) == 1
        assert client.zcard(store.operations._sid_key("sid-1")) == 1


def test_a_session_that_lives_longer_is_found_for_longer_and_never_for_less(store: RedisStore) -> None:
    made = session()
    store.create(made, NOW)
    longer = replace(made, version=2, expires_at=int(NOW) + 9 * DAY)
    store.save(longer, NOW)
    with pytest.raises(StoreConflict):  # it read what is there no longer
        store.save(replace(made, version=2, expires_at=int(NOW) + 10), NOW)
    store.create(session("other", expires_at=int(NOW) + 9 * DAY), NOW + 5 * DAY)
    assert longer in store.find_user(ADA, NOW + 5 * DAY)
    assert longer in store.find("sid-1", ISSUER, NOW + 5 * DAY)


# Commands that are sent twice ----------------------------------------------------------------------------------


@pytest.fixture
def stammering(store: RedisStore) -> RedisStore:
    """Sends everything twice, and believes the second answer: as after a connection that broke before the first."""
    perform = store._client.perform

    def twice(asked: Any) -> Any:
        perform(asked)
        return perform(asked)

    store._client.perform = twice  # type: ignore[method-assign]
    return store


CONTRACT = [
    (name, value)
    for name, value in vars(contract).items()
    if name.startswith("test_") and value.__code__.co_varnames[: value.__code__.co_argcount] == ("store",)
    if value is not contract.test_threads_share_a_store  # see the next test
]


@pytest.mark.parametrize("test", [value for _, value in CONTRACT], ids=[name for name, _ in CONTRACT])
def test_the_contract_holds_where_every_command_is_sent_twice(
    stammering: RedisStore, test: Callable[[SessionStore], None]
) -> None:
    test(stammering)


def test_threads_that_send_everything_twice_lose_no_save(stammering: RedisStore) -> None:
    """Who repeats a save may hear of a conflict with who came in between, and save once more: so there may be more
    versions than saves."""
    held = contract.shared_by_threads(stammering)
    assert held.version >= 161
    assert held == session(version=held.version)


def test_who_repeats_the_taking_of_a_ticket_gets_it_and_nobody_else(store: RedisStore) -> None:
    store.put_ticket(KEY, b"payload", int(NOW) + 600, NOW)
    taking = store.operations.take_ticket(KEY, NOW)
    step = next(taking)
    first = store._client.perform(step)  # type: ignore[arg-type]
    assert store.take_ticket(KEY, NOW) is None
    assert store._client.perform(step) == first == [b"payload"]


# Every order in which two can meet -----------------------------------------------------------------------------


class Player:
    """Plays operations step by step."""

    def __init__(self, store: RedisStore, *works: Any) -> None:
        self.store = store
        self.works = list(works)
        self.outcomes: list[Any] = []
        self.answer: Any = None
        self.work: Any = None

    def step(self) -> bool:
        """One step to the server. False: there is nothing more to do."""
        while True:
            try:
                if self.work is None:
                    if not self.works:
                        return False
                    made = self.works.pop(0)
                    self.work = made(self) if callable(made) else made
                    asked = next(self.work)
                else:
                    asked = self.work.send(self.answer)
            except StopIteration as done:
                self.outcomes.append(done.value)
                self.work = None
            except KMSIError as error:
                self.outcomes.append(type(error))
                self.work = None
            else:
                self.answer = self.store._client.perform(asked)
                return True

    def finish(self) -> list[Any]:
        while self.step():
            pass
        return self.outcomes


def steps_of(make: Callable[[], Player]) -> int:
    player, count = make(), 0
    while player.step():
        count += 1
    return count


def orders(first: int, second: int) -> Iterator[list[bool]]:
    """All ways to interleave so many steps: whether it is the first one's turn."""
    for places in combinations(range(first + second), first):
        yield [place in places for place in range(first + second)]


def revoke_user(store: RedisStore) -> Player:
    at, marked = store.operations, Mark(valid_from=int(NOW))
    return Player(
        store,
        at.put_mark(ADA, marked, int(NOW) + DAY, NOW),
        at.find_user(ADA, NOW),
        lambda player: at.end_many([each.key for each in player.outcomes[-1]], "revoked", NOW),
    )


def revoke_sid(store: RedisStore) -> Player:
    at, marked = store.operations, Mark(valid_from=int(NOW))
    return Player(
        store,
        at.put_mark(sid_key(ISSUER, "sid-1"), marked, int(NOW) + DAY, NOW),
        at.find("sid-1", ISSUER, NOW),
        lambda player: at.end_many([each.key for each in player.outcomes[-1]], "revoked", NOW),
    )


def revoke_everybody(store: RedisStore) -> Player:
    at, marked = store.operations, Mark(valid_from=int(NOW))
    return Player(
        store,
        at.put_mark(EVERYBODY, marked, int(NOW) + DAY, NOW),
        at.page(b"", 100, NOW),
        lambda player: at.end_many([each.key for each in player.outcomes[-1][0]], "revoked", NOW),
    )


@pytest.mark.parametrize("revoker", [revoke_user, revoke_sid, revoke_everybody])
def test_in_no_order_does_a_sign_in_outlive_a_revocation_after_it(
    store: RedisStore, revoker: Callable[[RedisStore], Player], redis_server: RedisServer
) -> None:
    made = session(begun_at=int(NOW))

    def create() -> Player:
        return Player(store, store.operations.create(made, NOW))

    seen = set()
    lengths = steps_of(create), steps_of(lambda: revoker(store))
    with redis_server.client() as client:
        for order in orders(*lengths):
            client.flushdb()
            creating, revoking = create(), revoker(store)
            for turn in order:
                (creating if turn else revoking).step()
            (outcome,), found = creating.finish(), revoking.finish()
            left = store.load(KEY, NOW)
            assert not isinstance(left, Session), order
            assert outcome in (None, SignInRevoked, StoreConflict)
            if outcome is None:
                assert found[-1] == 1  # who created it was ended
            if found[-1]:
                assert left == Tombstone("revoked", int(NOW), "c0ffee")
            seen.add((outcome, bool(found[-1])))
    assert {(None, True), (SignInRevoked, True), (SignInRevoked, False)} <= seen


def test_a_sign_in_that_died_on_the_way_lives_on_after_no_revocation(
    store: RedisStore, redis_server: RedisServer
) -> None:
    """Wherever the first one dies, and whenever the second one comes, which is of the same sign-in."""
    made = session(begun_at=int(NOW))

    def create() -> Player:
        return Player(store, store.operations.create(made, NOW))

    length, revoking_length = steps_of(create), steps_of(lambda: revoke_user(store))
    with redis_server.client() as client:
        for died in range(length + 1):
            for order in orders(length + 2, revoking_length):
                client.flushdb()
                dead, second, revoking = create(), create(), revoke_user(store)
                for _ in range(died):
                    dead.step()
                for turn in order:
                    (second if turn else revoking).step()
                second.finish()
                revoking.finish()
                assert not isinstance(store.load(KEY, NOW), Session), (died, order)


def test_in_every_order_one_of_two_creates_and_the_other_finds_the_session(
    store: RedisStore, redis_server: RedisServer
) -> None:
    def create() -> Player:
        return Player(store, store.operations.create(session(), NOW))

    length = steps_of(create)
    with redis_server.client() as client:
        for order in orders(length + 2, length + 2):
            client.flushdb()
            one, two = create(), create()
            for turn in order:
                player = one if turn else two
                player.step()
                if player.outcomes == [StoreConflict]:
                    assert isinstance(store.load(KEY, NOW), Session), order
            assert sorted([*one.finish(), *two.finish()], key=str) == sorted([None, StoreConflict], key=str)
            assert store.find_user(ADA, NOW) == [session()]


def test_a_session_that_is_being_created_is_nobodys_yet(store: RedisStore) -> None:
    creating = Player(store, store.operations.create(session(), NOW))
    creating.step()
    creating.step()
    assert store.load(KEY, NOW) is None
    assert store.version(KEY) is None
    with pytest.raises(StoreConflict):
        store.save(session(version=2), NOW)
    assert store.find_user(ADA, NOW) == [session()]  # but who revokes finds it
    assert creating.finish() == [None]
    assert store.load(KEY, NOW) == session()


# What else is in the database -------------------------------------------------------------------------------------


def test_keys_of_others_are_left_alone(store: RedisStore, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.mset({f"kmsi:s:{number}": "x" for number in range(2_000)})
    for number in range(20):
        store.create(session(number), NOW)
    found: set[bytes] = set()
    cursor, pages = b"", 0
    while cursor or not pages:
        sessions, cursor = store.page(cursor, 5, NOW)
        found |= {each.key for each in sessions}
        pages += 1
    assert found == {key_of(number) for number in range(20)}
    assert pages > 2


def test_a_prefix_may_look_like_a_pattern(redis_server: RedisServer, redis_url: str) -> None:
    strange = open_store(f"{redis_server.url}?prefix=%5Bab%5D*%3F%5C:")
    strange.create(session(), NOW)
    with redis_server.client() as client:
        client.set("a:s:" + "00" * 32, "not ours")
        assert strange.page(b"", 10, NOW) == ([session()], b"")
    strange.close()


def test_prefixes_are_stores_of_their_own(store: RedisStore, redis_server: RedisServer) -> None:
    other = open_store(f"{redis_server.url}?prefix=other:")
    other.create(session(), NOW)
    assert store.load(KEY, NOW) is None
    assert store.find_user(ADA, NOW) == []
    assert store.page(b"", 10, NOW) == ([], b"")
    other.close()


@pytest.mark.parametrize("value", [b"garbage", b"S", b"S0000000001", b"Sxxxxxxxxxx", b"T000", b"S" + b"9" * 60])
def test_what_can_not_be_read_is_a_failure_and_not_an_answer(
    face: SessionStore, redis_server: RedisServer, value: bytes
) -> None:
    face.create(session(), NOW)
    with redis_server.client() as client:
        client.set(face.operations.key_of(KEY), value)  # type: ignore[attr-defined]
    with pytest.raises(StoreUnavailable):
        face.load(KEY, NOW)
    if value[:1] != b"T":
        with pytest.raises(StoreUnavailable):
            face.find_user(ADA, NOW)


def test_a_version_that_can_not_be_read_is_a_failure(face: SessionStore, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set(face.operations.key_of(KEY), b"Sxxxxxxxxxx")  # type: ignore[attr-defined]
    with pytest.raises(StoreUnavailable):
        face.version(KEY)


def test_another_type_under_our_key_is_a_failure(face: SessionStore, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.lpush(face.operations.key_of(KEY), "x")  # type: ignore[attr-defined]
    for attempt in (
        lambda: face.load(KEY, NOW),
        lambda: face.version(KEY),
        lambda: face.create(session(), NOW),
        lambda: face.save(session(version=2), NOW),
    ):
        with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
            attempt()


def test_scripts_that_the_server_forgot_are_sent_again(face: SessionStore, redis_server: RedisServer) -> None:
    face.create(session(), NOW)
    with redis_server.client() as client:
        client.script_flush()
    face.save(session(version=2), NOW)
    assert face.end_many([KEY, key_of(2)], "revoked", NOW) == 1


def test_play_is_what_drives_both(store: RedisStore) -> None:
    """An operation asks with plain data, so that whoever performs it needs to know nothing else."""
    asked: list[Sequence[Any]] = []

    def perform(step: Any) -> Any:
        asked.append(step)
        return store._client.perform(step)

    play(store.operations.create(session(), NOW), perform)
    assert [[command.arguments[0] for command in step] for step in asked] == [
        ["EVALSHA"] * 2,  # the sets of the sid and of the user
        ["EVALSHA"],  # pending
        ["GET"] * 3,  # marks of the user, of the issuer's session, and for everybody
        ["EVALSHA"],
    ]
