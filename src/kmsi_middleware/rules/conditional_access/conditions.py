"""The conditions of a policy: for each, its name in Graph's ``analysisReasons``, whether it holds, and what it reads.

1. What is not configured restricts nothing.
2. Exclusion wins over inclusion.
3. A fact that is not known counts against the person: an inclusion that needs it holds, an exclusion that needs it
   doesn't help; and the answer names the fact. Where another fact settles the condition anyway, nothing is missing.
4. What is not a value of its kind (a level that Graph doesn't have, an address that is none) is not known.
5. A fact is read only by conditions that declare it (:attr:`Condition.reads`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from ...vocabulary.records import frozen
from . import locations
from .device_filter import match
from .facts import Facts
from .policy import ALL, ALL_TRUSTED, GUESTS, NONE, Conditions, Guests, NamedLocation, Users

Reason = Literal[
    "notSet",
    "users",
    "application",
    "userActions",
    "authenticationContext",
    "devicePlatform",
    "devices",
    "clientApps",
    "location",
    "signInRisk",
    "userRisk",
    "emptyPolicy",
    "policyNotEnabled",
]
"""Graph's ``whatIfAnalysisReasons``, those that can come about here. ``notSet``: the policy applies."""

LEVELS = frozenset({"none", "low", "medium", "high"})
PLATFORMS = frozenset({"android", "ios", "windows", "windowsphone", "macos", "linux"})
CLIENT_APPS = frozenset({"browser", "mobileappsanddesktopclients", "exchangeactivesync", "other"})
GUEST_TYPES = frozenset(
    {
        "internalguest",
        "b2bcollaborationguest",
        "b2bcollaborationmember",
        "b2bdirectconnectuser",
        "otherexternaluser",
        "serviceprovider",
    }
)


# Answers -------------------------------------------------------------------------------------------------

Answer = Literal[False] | tuple[str, ...]
"""``False``: no. An empty tuple: yes. Names: it can't be told, for want of these facts."""

_YES: Answer = ()


def _yes(truth: bool) -> Answer:
    return _YES if truth else False


def _any(answers: Iterable[Answer]) -> Answer:
    """Yes if one is; else what it can't be told for; else no."""
    missing: tuple[str, ...] = ()
    for answer in answers:
        if answer == ():
            return _YES
        if answer:
            missing += answer
    return missing or False


def _unless(included: Answer, excluded: Answer) -> Answer:
    """Rules 2 and 3."""
    if included is False or excluded == ():
        return False
    return included + (excluded or ())


class Known:
    """The facts, read when a condition needs them and not before; each place looked up once."""

    __slots__ = ("_facts", "_locations", "_places", "_sets")

    def __init__(self, facts: Facts, named: Iterable[NamedLocation]) -> None:
        self._facts = facts
        self._locations = {location.id: location for location in named}
        self._places: dict[str, Answer] = {}
        self._sets: dict[str, frozenset[str] | None] = {}

    def _set(self, fact: Literal["user_ids", "groups", "roles"]) -> frozenset[str] | None:
        """A set of ids in lower case; ``None`` if it is not known, or no set of texts."""
        if fact not in self._sets:
            own = getattr(self._facts, fact)
            well_formed = isinstance(own, frozenset | set) and all(isinstance(item, str) for item in own)
            self._sets[fact] = frozenset(item.lower() for item in own) if well_formed else None
        return self._sets[fact]

    def _text(self, fact: str) -> str | None:
        """A text in lower case; ``None`` if it is not known, or no text."""
        own = getattr(self._facts, fact)
        return own.lower() if isinstance(own, str) else None

    def member(self, fact: Literal["groups", "roles"], wanted: tuple[str, ...]) -> Answer:
        """Whether the person is in one of the groups or roles ``wanted``."""
        if not wanted:
            return False
        own = self._set(fact)
        return (fact,) if own is None else _yes(not own.isdisjoint(wanted))

    def person(self, wanted: tuple[str, ...]) -> Answer:
        """Whether the person is named by ``wanted``: all, none, guests, or ids."""
        if not wanted:
            return False
        if ALL in wanted:
            return _YES
        ids = tuple(item for item in wanted if item not in (NONE, GUESTS))
        answers: list[Answer] = []
        if ids:
            own = self._set("user_ids")
            answers.append(_yes(not own.isdisjoint(ids)) if own else ("user_ids",))
        if GUESTS in wanted:
            guest = self._guest()
            answers.append(("guest",) if guest is None else _yes(guest is not False))
        return _any(answers)

    def _guest(self) -> str | bool | None:
        guest = self._facts.guest
        if isinstance(guest, str):
            return guest.lower() if guest.lower() in GUEST_TYPES else None
        return guest if isinstance(guest, bool) else None

    def guest(self, wanted: Guests | None) -> Answer:
        """Whether the person is a guest of the kinds and tenants ``wanted``."""
        if wanted is None:
            return False
        guest = self._guest()
        if guest is False:
            return False
        kinds = {kind.lower() for kind in wanted.types}
        if guest is None or (guest is True and not kinds >= GUEST_TYPES):
            kind: Answer = ("guest",)
        else:
            kind = _yes(guest is True or guest in kinds)
        if kind is False or not wanted.tenants:
            return kind
        tenant = self._text("home_tenant")
        if not tenant:
            return (*kind, "home_tenant")
        return kind if tenant in wanted.tenants else False

    def application(self, wanted: tuple[str, ...]) -> Answer:
        """Whether the app is one of those ``wanted``."""
        if not wanted or wanted == (NONE,):
            return False
        if ALL in wanted:
            return _YES
        own = self._text("application")
        return _yes(own in wanted) if own else ("application",)

    def exactly(self, fact: Literal["user_action", "auth_context"], wanted: tuple[str, ...]) -> Answer:
        """Whether what has no "not known" is one of those ``wanted``."""
        return _yes(self._text(fact) in wanted)

    def one_of(self, fact: str, values: frozenset[str], wanted: tuple[str, ...]) -> Answer:
        """Whether a fact with a fixed set of values is one of those ``wanted``."""
        if not wanted:
            return False
        names = {item.lower() for item in wanted}
        if ALL in names:
            return _YES
        own = self._text(fact)
        return _yes(own in names) if own in values else (fact,)

    def place(self, wanted: tuple[str, ...]) -> Answer:
        """Whether the request comes from one of the places ``wanted``."""
        if ALL in wanted:
            return _YES
        return _any(self._place(name) for name in wanted)

    def _place(self, name: str) -> Answer:
        if name not in self._places:
            if name == ALL_TRUSTED:
                trusted = (item.id for item in self._locations.values() if item.trusted)
                self._places[name] = _any([self._place(id) for id in trusted])
            elif name in self._locations:
                self._places[name] = self._inside(self._locations[name])
            else:  # the loader refuses it; should one come by another way, it counts against the person
                self._places[name] = (f"location {name}",)
        return self._places[name]

    def _inside(self, location: NamedLocation) -> Answer:
        address = self._facts.address if location.ranges else None
        country = self._facts.country if _by_country(location) else None
        if country and not re.fullmatch("[A-Za-z]{2}", country):
            country = None
        inside = locations.contains(location, address, country)
        if inside is not None:
            return _yes(inside)
        return ("address",) if location.ranges else ("country",)

    def device(self, conditions: Conditions) -> Answer:
        """Whether the device is one that the filter lets the policy apply to."""
        wanted = conditions.device_filter
        if wanted is None:
            return _YES
        found = match(wanted.rule, self._facts.device)
        if found.missing:
            return tuple(f"device.{name}" for name in found.missing)
        return _yes(found.holds == (wanted.mode == "include"))


def _by_country(location: NamedLocation) -> bool:
    return bool(location.countries) or location.unknown_countries


# The conditions ------------------------------------------------------------------------------------------


@frozen
class Condition:
    """``holds``: its answer. ``reads``: which changing facts it reads for these conditions (a superset)."""

    reason: Reason
    holds: Callable[[Conditions, Known], Answer]
    reads: Callable[[Conditions, Mapping[str, NamedLocation]], set[str]]


def _users(users: Users, known: Known) -> Answer:
    everyone = not (users.include or users.include_groups or users.include_roles or users.include_guests)
    included = _any(
        [
            _yes(everyone),
            known.person(users.include),
            known.member("groups", users.include_groups),
            known.member("roles", users.include_roles),
            known.guest(users.include_guests),
        ]
    )
    if included is False:
        return False
    excluded = _any(
        [
            known.person(users.exclude),
            known.member("groups", users.exclude_groups),
            known.member("roles", users.exclude_roles),
            known.guest(users.exclude_guests),
        ]
    )
    return _unless(included, excluded)


def _application(conditions: Conditions, known: Known) -> Answer:
    wanted = conditions.applications
    return _unless(known.application(wanted.include or (ALL,)), known.application(wanted.exclude))


def _listed(fact: Literal["user_action", "auth_context"], wanted: tuple[str, ...], known: Known) -> Answer:
    return known.exactly(fact, wanted) if wanted else _YES


def _platform(conditions: Conditions, known: Known) -> Answer:
    wanted = conditions.platforms
    if wanted is None:
        return _YES
    included = known.one_of("platform", PLATFORMS, wanted.include or (ALL,))
    return _unless(included, known.one_of("platform", PLATFORMS, wanted.exclude))


def _place(conditions: Conditions, known: Known) -> Answer:
    wanted = conditions.locations
    if wanted is None:
        return _YES
    included = known.place(wanted.include or (ALL,))
    return False if included is False else _unless(included, known.place(wanted.exclude))


def _place_reads(conditions: Conditions, named: Mapping[str, NamedLocation]) -> set[str]:
    if conditions.locations is None:
        return set()
    names = set(conditions.locations.include) | set(conditions.locations.exclude)
    if ALL_TRUSTED in names:
        names |= {location.id for location in named.values() if location.trusted}
    wanted = [named[name] for name in names if name in named]
    found = {"address"} if any(location.ranges for location in wanted) else set()
    return found | ({"country"} if any(_by_country(location) for location in wanted) else set())


def _read_if(fact: str, when: Callable[[Conditions], object]) -> Callable[..., set[str]]:
    return lambda conditions, _: {fact} if when(conditions) else set()


def _client_apps(conditions: Conditions) -> tuple[str, ...]:
    """The types wanted; the two that Exchange ActiveSync once was split into mean it."""
    names = conditions.client_app_types or (ALL,)
    return tuple("exchangeactivesync" if name.lower().startswith("eas") else name for name in names)


def _levels(wanted: tuple[str, ...]) -> tuple[str, ...]:
    return wanted or (ALL,)


CONDITIONS: tuple[Condition, ...] = (
    Condition("users", lambda c, known: _users(c.users, known), lambda _c, _n: set()),
    Condition(
        "userActions",
        lambda c, known: _listed("user_action", c.applications.user_actions, known),
        _read_if("user_action", lambda c: c.applications.user_actions),
    ),
    Condition(
        "authenticationContext",
        lambda c, known: _listed("auth_context", c.applications.auth_contexts, known),
        _read_if("auth_context", lambda c: c.applications.auth_contexts),
    ),
    Condition("application", _application, lambda _c, _n: set()),
    Condition("devicePlatform", _platform, _read_if("platform", lambda c: c.platforms)),
    Condition("devices", lambda c, known: known.device(c), _read_if("device", lambda c: c.device_filter)),
    Condition(
        "clientApps",
        lambda c, known: known.one_of("client_app", CLIENT_APPS, _client_apps(c)),
        _read_if("client_app", lambda c: c.client_app_types and ALL not in c.client_app_types),
    ),
    Condition("location", _place, _place_reads),
    Condition(
        "signInRisk",
        lambda c, known: known.one_of("sign_in_risk", LEVELS, _levels(c.sign_in_risk_levels)),
        _read_if("sign_in_risk", lambda c: c.sign_in_risk_levels),
    ),
    Condition(
        "userRisk",
        lambda c, known: known.one_of("user_risk", LEVELS, _levels(c.user_risk_levels)),
        _read_if("user_risk", lambda c: c.user_risk_levels),
    ),
)
