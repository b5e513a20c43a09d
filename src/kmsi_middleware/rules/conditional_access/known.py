"""What the ID token and the app's hooks tell about a person, as facts and proofs.

1. A hook that answers knows better than the ID token.
2. Which claim is what: the usual names, as Entra ID has them, or those of the setting ``claims_map``. A claim that
   people choose for themselves at many providers is none of them.
3. What nobody tells is not known, and counts against the person where a policy asks for it. So does a claim that
   can't be understood as a whole.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from ...vocabulary.signals import SignInSignals
from .facts import Facts, Proofs
from .grants import device_proofs, shows_second_factor
from .policy import Level

_LEVELS: dict[str, Level] = {"none": "none", "low": "low", "medium": "medium", "high": "high"}
_GUEST = {"0": False, "1": True, "member": False, "guest": True, "false": False, "true": True}
_USUAL: Mapping[str, tuple[str, ...]] = {
    "user": ("oid", "sub", "upn"),
    "groups": ("groups",),
    "roles": ("wids",),
    "guest": ("acct",),
    "home_tenant": ("tid",),
    "sign_in_risk": (),
    "user_risk": (),
    "device": ("xms_dev",),
    "country": (),
    "password_changed_at": (),
}
_PLATFORMS = (
    ("windowsphone", "windows phone"),
    ("android", "android"),
    ("ios", "iphone|ipad|ipod"),
    ("windows", "windows nt"),
    ("macos", "mac os x|macintosh"),
    ("linux", "linux|x11|cros"),
)


def _values(claims: Mapping[str, Any], claims_map: Mapping[str, str], fact: str) -> list[Any]:
    names = (claims_map[fact],) if fact in claims_map else _USUAL[fact]
    return [claims[name] for name in names if claims.get(name) is not None]


def _items(claims: Mapping[str, Any], claims_map: Mapping[str, str], fact: str) -> list[Any] | None:
    """All items of all claims of a fact; ``None`` if there is no such claim."""
    values = _values(claims, claims_map, fact)
    if not values:
        return None
    return [item for value in values for item in (value if isinstance(value, list | tuple) else [value])]


def _user_ids(claims: Mapping[str, Any], claims_map: Mapping[str, str]) -> frozenset[str]:
    items = _items(claims, claims_map, "user") or []
    return frozenset(str(item).lower() for item in items if isinstance(item, str | int) and not isinstance(item, bool))


def _texts(claims: Mapping[str, Any], claims_map: Mapping[str, str], fact: str) -> frozenset[str] | None:
    """All texts of a fact, in lower case; ``None`` if there is no such claim, or it holds anything else."""
    items = _items(claims, claims_map, fact)
    if items is None or not all(isinstance(item, str) for item in items):
        return None
    return frozenset(item.lower() for item in items)


def _level(claims: Mapping[str, Any], claims_map: Mapping[str, str], fact: str) -> Level | None:
    for value in _values(claims, claims_map, fact):
        return _LEVELS.get(str(value).lower())
    return None


def _is_guest(claims: Mapping[str, Any], claims_map: Mapping[str, str]) -> bool | None:
    for value in _values(claims, claims_map, "guest"):
        if isinstance(value, bool):
            return value
        if isinstance(value, str | int):
            return _GUEST.get(str(value).lower())
    return None


def _device(claims: Mapping[str, Any], claims_map: Mapping[str, str]) -> Mapping[str, Any] | None:
    for value in _values(claims, claims_map, "device"):
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return None
        if isinstance(value, Mapping):
            return value
    return None


def _is_instant(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def platform_of(user_agent: str) -> str | None:
    """The device platform that a browser names, in Graph's words; anybody may say what they like here."""
    text = user_agent.lower()
    return next((name for name, pattern in _PLATFORMS if re.search(pattern, text)), None)


def facts_of(
    claims: Mapping[str, Any],
    claims_map: Mapping[str, str],
    signals: SignInSignals,
    *,
    application: str,
    address: str,
    user_agent: str,
    country: str | None,
    auth_context: str | None,
    country_claim: bool = True,
) -> Facts:
    """Everything that is known about a request of this person.

    ``country``: what a look-up of the address told; ``None``: nothing. ``country_claim``: whether a claim may tell
    it then; ``False`` where addresses are looked up.
    """
    guest = signals.guest if signals.guest is not None else _is_guest(claims, claims_map)
    tenant = _values(claims, claims_map, "home_tenant")
    told = country
    if told is None and country_claim:
        told = next((item for item in _values(claims, claims_map, "country") if isinstance(item, str)), None)
    return Facts(
        user_ids=_user_ids(claims, claims_map),
        groups=_texts(claims, claims_map, "groups"),
        roles=_texts(claims, claims_map, "roles"),
        guest=guest,
        home_tenant=str(tenant[0]).lower() if tenant else None,
        application=application.lower(),
        auth_context=auth_context,
        sign_in_risk=signals.risk if signals.risk is not None else _level(claims, claims_map, "sign_in_risk"),
        user_risk=signals.user_risk if signals.user_risk is not None else _level(claims, claims_map, "user_risk"),
        platform=platform_of(user_agent),
        address=address or None,
        country=told,
        device=signals.device if signals.device is not None else _device(claims, claims_map),
    )


def second_factor_at(claims: Mapping[str, Any], signals: SignInSignals, signed_in_at: int) -> int | None:
    """When a second factor was shown in this sign-in: with the sign-in itself, or never."""
    shown = signals.second_factor if signals.second_factor is not None else shows_second_factor(claims.get("amr"))
    return signed_in_at if shown else None


def proofs_of(
    claims: Mapping[str, Any],
    claims_map: Mapping[str, str],
    signals: SignInSignals,
    *,
    auth_time: int | None,
    second_factor_at: int | None,
    asked_at: int,
    password_change_demanded_at: int | None = None,
    last_used_at: int | None = None,
    verified_max_age: int | None = None,
) -> Proofs:
    """What the person has shown."""
    device = signals.device if signals.device is not None else _device(claims, claims_map)
    compliant, joined = device_proofs(device)
    changed = signals.password_changed_at
    for value in _values(claims, claims_map, "password_changed_at"):
        if changed is None and _is_instant(value):
            changed = int(value)
    return Proofs(
        first_factor_at=auth_time,
        second_factor_at=second_factor_at,
        asked_at=asked_at,
        last_used_at=last_used_at,
        verified_max_age=verified_max_age,
        password_changed_at=changed,
        password_change_demanded_at=password_change_demanded_at,
        compliant_device=compliant,
        domain_joined_device=joined,
    )
