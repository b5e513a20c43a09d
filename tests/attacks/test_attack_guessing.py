"""Attacks by trying: tokens, the issuer's names of sessions, and secrets a character at a time. What stops them is
either that there is too much to try, or a limit; and neither leaves anything behind that grows."""

from __future__ import annotations

import hmac
import operator
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from types import SimpleNamespace
from typing import Any

import itsdangerous.signer
import pytest
from tests.attacks.attack_support import always, unchanged, weakened
from tests.flows.flow_support import (
    ALICE,
    COOKIE,
    FRAME,
    NAVIGATION,
    NOW,
    Browser,
    World,
    query_of,
)

from kmsi_middleware.edges.stores import MemoryStore
from kmsi_middleware.edges.unmatched import UnmatchedCounter
from kmsi_middleware.flows import callback
from kmsi_middleware.rules import cookies
from kmsi_middleware.rules.oidc import authorization, id_token
from kmsi_middleware.vocabulary.effects import LoadSession
from kmsi_middleware.vocabulary.errors import ProtocolError
from kmsi_middleware.vocabulary.messages import Forward, Outcome, Site
from kmsi_middleware.vocabulary.session import Tombstone

GUESSES = [f"{number:043d}" for number in range(2_000)]
"""As many as a test can try, of the 2^256 that there are."""

# Tokens ----------------------------------------------------------------------------------------------------------


def came_with(world: World, header: str) -> Outcome:
    return Browser(world).get("/", {**NAVIGATION, "cookie": header}, cookies=False)


def guesses_a_token(world: World) -> bool:
    """One guess after the other; a session is open."""
    Browser(world).sign_in()
    outcomes = (came_with(world, f"{COOKIE}={guess}") for guess in GUESSES)
    return any(isinstance(outcome, Forward) and outcome.session is not None for outcome in outcomes)


def one_of_few(_seals: Any, _purpose: str, token: str) -> str:
    """A token of ten random bits."""
    return f"{int.from_bytes(token.encode()[:2]) % 1_024:043d}"


def test_brute_force_on_tokens_fails_on_their_length() -> None:
    with weakened("kmsi_middleware.rules.seals.Seals.same_for", one_of_few):
        assert guesses_a_token(World())
    assert not guesses_a_token(World())


def all_of_them(header: str, site: Site) -> list[str]:
    return [value for name, value in cookies.ours(header, site) if name == site.cookie_name]


def tries_many_with_one_request(world: World) -> bool:
    """A thousand guesses in one Cookie header: whether the store is asked for more than a few of them."""
    came_with(world, "; ".join(f"{COOKIE}={guess}" for guess in GUESSES[:1_000]))
    return len(world.asked_for(LoadSession)) > 4


def test_brute_force_on_tokens_gets_few_tries_out_of_one_request() -> None:
    with weakened("kmsi_middleware.rules.cookies.session_tokens", all_of_them):
        assert tries_many_with_one_request(World())
    assert not tries_many_with_one_request(World())


_load = MemoryStore.load


def noting_what_is_asked_for(store: MemoryStore, key: bytes, now: float) -> Any:
    return _load(store, key, now) or store._sessions.setdefault(key, Tombstone("revoked", int(now)))


def is_filled_by_guesses(world: World) -> bool:
    """Whether anything is kept of guesses that were wrong: in the store, the log, or the counts."""
    for guess in GUESSES:
        came_with(world, f"{COOKIE}={guess}")
    kept = (world.store._sessions, world.store._tickets, world.log, world.unmatched._windows)
    return any(len(things) > 0 for things in kept)


def test_brute_force_on_tokens_leaves_nothing_behind() -> None:
    with weakened("kmsi_middleware.edges.stores.memory.MemoryStore.load", noting_what_is_asked_for):
        assert is_filled_by_guesses(World())
    assert not is_filled_by_guesses(World())


# The issuer's names of sessions ----------------------------------------------------------------------------------


def guesses_a_sid(address: Callable[[int], str]) -> bool:
    """An issuer numbers its sessions. The attacker tries a hundred numbers, each in a frame."""
    world = World()
    victim = Browser(world)
    victim.sign_in({**ALICE, "sid": "57"})
    for number in range(100):
        Browser(world, address=address(number)).get(f"/.auth/frontchannel-logout?sid={number}", FRAME)
    return victim.session is None


def from_one_place(_number: int) -> str:
    return "203.0.113.66"


def from_one_subscriber(number: int) -> str:
    """An IPv6 subscriber has 2^64 addresses."""
    return f"2001:db8:1:2::{number:x}"


def test_brute_force_on_sid_is_limited_by_address() -> None:
    with weakened("kmsi_middleware.edges.unmatched.UnmatchedCounter.allows", always):
        assert guesses_a_sid(from_one_place)
    assert not guesses_a_sid(from_one_place)


def test_brute_force_on_sid_is_limited_by_subscriber() -> None:
    with weakened("kmsi_middleware.edges.unmatched._network", unchanged):
        assert guesses_a_sid(from_one_subscriber)
    assert not guesses_a_sid(from_one_subscriber)


class Endless(OrderedDict[Any, Any]):
    """What forgets nothing."""

    def popitem(self, last: bool = True) -> Any:
        return next(iter(self.items()))


def fills_the_memory() -> bool:
    """From ever new addresses: whether each of them is remembered."""
    counter = UnmatchedCounter(tracked=256)
    for number in range(5_000):
        counter.hit("frontchannel-logout", f"10.{number >> 8}.{number & 255}.1", NOW)
    return len(counter._windows) > 256


def test_brute_force_on_sid_from_ever_new_addresses_fills_no_memory() -> None:
    with weakened("kmsi_middleware.edges.unmatched.OrderedDict", Endless):
        assert fills_the_memory()
    assert not fills_the_memory()


# Timing ----------------------------------------------------------------------------------------------------------

_steps: list[int] = []


def _alike(one: Any, other: Any) -> int:
    """How many characters two begin with alike."""
    return sum(1 for _ in takewhile(bool, map(operator.eq, one, other)))


def _compared(one: Any, other: Any) -> bool:
    """As a comparison does that stops at the first difference; how far it came, a stopwatch would tell."""
    _steps.append(_alike(one, other))
    return bool(len(one) == len(other) == _steps[-1])


class WatchedBytes(bytes):
    """Bytes that tell how far a comparison with them came. A constant-time one does not ask them."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, bytes) and _compared(bytes(self), bytes(other))

    __hash__ = bytes.__hash__


class WatchedText(str):
    """A text likewise."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and _compared(str(self), str(other))

    def encode(self, *args: Any) -> bytes:
        return WatchedBytes(super().encode(*args))

    __hash__ = str.__hash__


def is_learnt(attempt: Callable[[str], object], secret: str) -> bool:
    """Whether three wrong guesses, of which none, ten and twenty characters are right, can be told from each other:
    then a secret is found character by character."""
    told = []
    for right in (0, 10, 20):
        _steps.clear()
        wrong = "-" if secret[right] != "-" else "_"
        attempt((secret[:right] + wrong).ljust(len(secret), wrong))
        told.append(max(_steps, default=0))
    return told == [0, 10, 20]


NONCE = "n-0S6_WzA2Mj-n-0S6_WzA2Mj-n-0S6_WzA2Mj-1234"


def with_nonce(guess: str) -> None:
    with pytest.raises(ProtocolError):
        id_token.check_nonce({"nonce": guess}, WatchedText(NONCE))


stopping_early = SimpleNamespace(**{**vars(hmac), "compare_digest": operator.eq})


def test_timing_tells_nothing_of_a_nonce() -> None:
    with weakened("kmsi_middleware.rules.oidc.id_token.hmac", stopping_early):
        assert is_learnt(with_nonce, NONCE)
    assert not is_learnt(with_nonce, NONCE)


def transaction_is_learnt() -> bool:
    """Which transaction a cookie belongs to."""
    world = World()
    browser = Browser(world)
    transaction = authorization.opened_state(query_of(browser.begin())["state"], world.app.seals, world.now)
    assert transaction is not None
    secret = transaction.id
    watched = replace(transaction, id=WatchedText(secret))

    def attempt(guess: str) -> None:
        value = world.app.seals.sign("transaction", [guess, "seed", NOW], world.now)
        header = f"{COOKIE}{cookies.TRANSACTION}{secret[:8]}={value}"
        request = browser.request("GET", "/", {**NAVIGATION, "cookie": header}, cookies=False)
        assert callback._secrets(world.app, request, world.now, watched) is None

    return is_learnt(attempt, secret)


def test_timing_tells_nothing_of_a_transaction() -> None:
    with weakened("kmsi_middleware.flows.callback.hmac", stopping_early):
        assert transaction_is_learnt()
    assert not transaction_is_learnt()


_signature = itsdangerous.signer.HMACAlgorithm.get_signature


def signature_is_learnt(monkeypatch: pytest.MonkeyPatch) -> bool:
    """What is signed for the browser: transactions, tickets, remembered answers."""
    monkeypatch.setattr(
        itsdangerous.signer.HMACAlgorithm, "get_signature", lambda *args: WatchedBytes(_signature(*args))
    )
    seals = World().app.seals
    whole = seals.sign("interrupt", ["name", "/"], NOW)
    text, _, signature = whole.rpartition(".")
    secret = itsdangerous.encoding.base64_decode(signature).decode("latin-1")

    def attempt(guess: str) -> None:
        made = itsdangerous.encoding.base64_encode(guess.encode("latin-1")).decode()
        assert seals.unsign("interrupt", f"{text}.{made}", within=600, now=NOW) is None

    return is_learnt(attempt, secret)


def test_timing_tells_nothing_of_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    with weakened("itsdangerous.signer.hmac", stopping_early):
        assert signature_is_learnt(monkeypatch)
    assert not signature_is_learnt(monkeypatch)


def key_is_the_token(token: str) -> bytes:
    return token.encode()


def token_is_learnt() -> bool:
    """A database finds a row by comparing keys from their beginning: whether what it is asked for begins like the key
    of a session whose token begins like the guess."""
    world = World()
    victim = Browser(world)
    victim.sign_in()
    (session,) = world.live()

    def attempt(guess: str) -> None:
        came_with(world, f"{COOKIE}={guess}")
        _steps.extend(_alike(effect.key, session.key) for effect in world.asked_for(LoadSession))

    return is_learnt(attempt, victim.token)


def test_timing_tells_nothing_of_a_session_token() -> None:
    """It is looked up by its hash, so that a better guess is no nearer to it."""
    with weakened("kmsi_middleware.flows.sessions.key_of", key_is_the_token):
        assert token_is_learnt()
    assert not token_is_learnt()
