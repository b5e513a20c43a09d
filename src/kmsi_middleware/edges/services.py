"""Performing effects: what a flow asks for, done. Once for WSGI and once, with ``await``, for ASGI."""

from __future__ import annotations

import inspect
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.to_thread

from ..vocabulary import effects as ask
from ..vocabulary.effects import Effect, Flow
from ..vocabulary.errors import Refused
from ..vocabulary.messages import Busy
from ..vocabulary.records import frozen
from ..vocabulary.session import Session
from ..vocabulary.settings import CurrentRiskHook, SignInSignalsHook
from ..vocabulary.signals import SignInFacts, SignInSignals
from . import keeping
from .aside import Aside
from .keeping import Keeping, store_call
from .provider import ProviderClient
from .shielded import to_the_end
from .sign_in_log import SignInLog
from .unmatched import UnmatchedCounter

if TYPE_CHECKING:
    from .countries import Countries
    from .watch import Watch

T = TypeVar("T")
_log = logging.getLogger("kmsi_middleware")


@frozen
class Services(Keeping):
    """Everything that does I/O for one app."""

    provider: ProviderClient
    log: SignInLog
    hook: SignInSignalsHook | None = None
    current_risk: CurrentRiskHook | None = None
    watch: Watch | None = None
    countries: Countries | None = None
    unmatched: UnmatchedCounter = field(default_factory=UnmatchedCounter)
    aside: Aside = field(default_factory=Aside)
    closes: Callable[[], None] | None = None
    """Closes whatever else the app has open: the embedded provider."""

    def persist(self, attempt: Callable[[float, int], Flow[T | Busy]], clock: Callable[[], float]) -> T:
        """Drive a flow again and again, until nobody else is at it. ``attempt`` is given the time and a count."""
        for number in itertools.count():
            now = clock()
            outcome = self.run(attempt(now, number), now)
            if not isinstance(outcome, Busy):
                return outcome
            time.sleep(outcome.seconds)
        raise AssertionError

    async def persist_async(self, attempt: Callable[[float, int], Flow[T | Busy]], clock: Callable[[], float]) -> T:
        """The same with ``await``."""
        for number in itertools.count():
            now = clock()
            outcome = await self.run_async(attempt(now, number), now)
            if not isinstance(outcome, Busy):
                return outcome
            await anyio.sleep(outcome.seconds)
        raise AssertionError

    def perform(self, effect: Effect, now: float) -> Any:
        """Perform one effect, waiting for it."""
        match effect:
            case ask.GetProvider(issuer):
                return self.provider.provider(issuer, now)
            case ask.GetKeys(jwks_uri, unknown_kid):
                return self.provider.keys(jwks_uri, unknown_kid, now)
            case ask.Fetch(request, within):
                return self.provider.fetch(request, now, within)
            case ask.Tell(requests, seconds):
                return self.provider.tell(requests, now, seconds)
            case ask.ToTheEnd(flow):
                return self.run(flow, now)  # a thread is not cancelled
            case ask.AskSignals(facts):
                try:
                    return SignInSignals.of(self.hook(facts) if self.hook else None)  # type: ignore[arg-type]
                except Exception as error:
                    raise _signals_failed() from error
        if store_call(effect) is not None:
            return Keeping.perform(self, effect, now)
        work, _ = self._local(effect, now)
        return work()

    async def perform_async(self, effect: Effect, now: float) -> Any:
        """Perform one effect without holding up the event loop."""
        match effect:
            case ask.GetProvider(issuer):
                return await self.provider.provider_async(issuer, now)
            case ask.GetKeys(jwks_uri, unknown_kid):
                return await self.provider.keys_async(jwks_uri, unknown_kid, now)
            case ask.Fetch(request, within):
                return await self.provider.fetch_async(request, now, within)
            case ask.Tell(requests, seconds):
                return await self.provider.tell_async(requests, now, seconds)
            case ask.ToTheEnd(flow):
                return await to_the_end(self.run_async(flow, now))
            case ask.AskSignals(facts):
                try:
                    return SignInSignals.of(await self._signals(facts))
                except Exception as error:
                    raise _signals_failed() from error
        if store_call(effect) is not None:
            return await Keeping.perform_async(self, effect, now)
        work, quick = self._local(effect, now)
        return work() if quick else await anyio.to_thread.run_sync(work)

    def _current_risk(self, session: Session) -> SignInSignals:
        """What has changed since the sign-in. A hook that fails lets nobody pass."""
        try:
            return SignInSignals.of(self.current_risk(session) if self.current_risk else None)
        except Exception as error:
            raise _signals_failed() from error

    async def _signals(self, facts: SignInFacts) -> Any:
        if self.hook is None:
            return None
        if inspect.iscoroutinefunction(self.hook):
            return await self.hook(facts)
        # In a tuple, because trio's threads return no awaitable, and an object's hook may be async.
        (answer,) = await anyio.to_thread.run_sync(lambda hook: (hook(facts),), self.hook)
        return await answer if inspect.isawaitable(answer) else answer

    def _local(self, effect: Effect, now: float) -> tuple[Callable[[], Any], bool]:
        """What this machine does by itself, and whether it is quick enough for an event loop's thread."""
        match effect:
            case ask.AppendSignIn(record):
                return lambda: self.log.append(record, now), False
            case ask.NoteSession(record):
                return lambda: keeping.log(record), True
            case ask.NoteLongTarget(characters):
                text = "a page of %d characters is too long to return to: the sign-in leads to the start page"
                return lambda: _log.info(text, characters), True
            case ask.CountUnmatched(kind, address):
                return lambda: self.unmatched.hit(kind, address, now), True
            case ask.GetPolicies():
                assert self.watch is not None
                book = self.watch.book
                return lambda: book.current(now), True
            case ask.GetCountry(address):
                countries = self.countries
                return lambda: countries.country(address) if countries is not None else None, True
            case ask.AskRisk(session):
                return lambda: self._current_risk(session), True
            case ask.MayAsk():
                return lambda: self.provider.may_ask(now), True
            case ask.PutAside(key, payload):
                return lambda: self.aside.put(key, payload), True
            case ask.ReadAside(key):
                return lambda: self.aside.read(key), True
            case ask.MayTry(kind, address):
                return lambda: self.unmatched.allows(kind, address, now), True
        raise TypeError(f"nobody performs {effect!r}")

    def close(self) -> None:
        """Close what is open. A later use opens it again."""
        self.store.close()
        self.log.close()
        if self.closes is not None:
            self.closes()


def _signals_failed() -> Refused:
    """A hook that fails says nothing about the sign-in, and what is not known does not let anybody in."""
    _log.exception("sign_in_signals failed")
    return Refused("signals_failed", "the app could not judge this sign-in", status=500)
