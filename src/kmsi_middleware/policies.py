"""Conditional Access policies from Python: load them, ask what would follow, have them checked.

    from kmsi_middleware import policies

    mine = policies.load("policies/")
    found = policies.what_if(mine, user="mia@example.com", groups=["nurses"], ip="192.0.2.7", platform="windows")
    found.lets_in, found.cookies, found.evaluation.controls
    for finding in policies.check(mine):
        print(finding.text, finding.what_to_do)

``kmsi what-if`` and ``kmsi policies check`` say the same on the command line. It is the very code that decides in
earnest, so a test may rely on it.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from .edges.policy_files import Source, read_documents
from .rules import kmsi
from .rules.conditional_access import what_if as rules
from .rules.conditional_access.device_filter import PROPERTIES, VALUES
from .rules.conditional_access.evaluate import Controls, Frequency
from .rules.conditional_access.facts import Facts, Proofs
from .rules.conditional_access.grants import device_proofs
from .rules.conditional_access.lint import AssuranceLevel, Finding, lint
from .rules.conditional_access.load import load_policies
from .rules.conditional_access.policy import PolicySet
from .rules.conditional_access.read_conditions import GUEST_TYPES, LEVELS, PLATFORMS
from .rules.conditional_access.reading import PolicyError
from .rules.conditional_access.what_if import Simulation
from .vocabulary import contexts
from .vocabulary.settings import Settings
from .vocabulary.signals import SignInSignals

__all__ = [
    "Finding",
    "PolicyError",
    "PolicySet",
    "Simulation",
    "as_json",
    "check",
    "is_error",
    "load",
    "what_if",
]

Word = TypeVar("Word", bound=str)
CLIENT_APPS = ("browser", "mobileAppsAndDesktopClients", "exchangeActiveSync", "other")
_ERRORS = frozenset({"break_glass", "persistence_scope"})


def load(source: Source) -> PolicySet:
    """The policies and named locations of a file, a folder, or a list of files and of policies as parsed JSON.

    Raises :class:`PolicyError` naming file, policy and field. ``notes`` of the answer says what is not known there.
    """
    return load_policies(read_documents(source))


def what_if(
    policies: PolicySet,
    *,
    user: str | Iterable[str] = (),
    groups: Iterable[str] | None = None,
    roles: Iterable[str] | None = None,
    guest: str | bool | None = None,
    home_tenant: str | None = None,
    app: str = "",
    ip: str | None = None,
    country: str | None = None,
    platform: str | None = None,
    client_app: str = "browser",
    sign_in_risk: str | None = None,
    user_risk: str | None = None,
    device: Mapping[str, Any] | None = None,
    auth_context: str | None = None,
    mfa: bool = False,
    signed_in_at: float | None = None,
    now: float | None = None,
    settings: Settings | None = None,
    claims: Mapping[str, Any] | None = None,
    signals: SignInSignals | None = None,
    prompt: str = "",
    remembered: kmsi.Answer | None = None,
) -> Simulation:
    """What would follow if this person signed in so.

    What is not given is not known, and counts against the person where a policy asks for it; an empty ``groups`` or
    ``roles`` is known: in none. ``user``: every id that a policy may know the person by. ``guest``: Graph's kind of
    guest, ``True`` or ``False``. ``app``: the id that policies know the app by (``client_id``). ``country``: two
    letters, or ``""`` for an address that belongs to none. ``device``: Graph's device properties.

    ``mfa`` and ``signed_in_at`` (seconds since 1970) say what the person has shown: a second factor, a sign-in at
    the issuer. With neither, whatever the policies demand counts as shown. ``now`` is by default the time of day,
    ``settings`` the defaults; the rest is as in :class:`kmsi_middleware.rules.kmsi.Situation`.

    Raises ``ValueError`` for a value that there is not, as a misspelt platform.
    """
    at = int(time.time() if now is None else now)
    facts = Facts(
        user_ids=_ids("user", (user,) if isinstance(user, str) else user) or frozenset(),
        groups=_ids("groups", groups),
        roles=_ids("roles", roles),
        guest=guest if guest is None or isinstance(guest, bool) else _word("guest", guest, GUEST_TYPES),
        home_tenant=home_tenant.lower() if home_tenant else None,
        application=app.strip().lower(),
        auth_context=None if auth_context is None else contexts.auth_context(auth_context),
        sign_in_risk=None if sign_in_risk is None else _word("sign_in_risk", sign_in_risk, LEVELS),
        user_risk=None if user_risk is None else _word("user_risk", user_risk, LEVELS),
        platform=None if platform is None else _word("platform", platform, PLATFORMS[1:]).lower(),
        client_app=_word("client_app", client_app, CLIENT_APPS).lower(),
        address=_address(ip),
        country=_country(country),
        device=_device(device),
    )
    proofs: Proofs | None = None
    if mfa or signed_in_at is not None:
        shown_at = at if signed_in_at is None else int(signed_in_at)
        compliant, joined = device_proofs(facts.device)
        proofs = Proofs(
            first_factor_at=shown_at,
            second_factor_at=shown_at if mfa else None,
            compliant_device=compliant,
            domain_joined_device=joined,
        )
    return rules.simulate(
        policies,
        facts,
        settings or Settings(),
        now=at,
        proofs=proofs,
        claims=claims,
        signals=signals,
        prompt=prompt,
        remembered=remembered,
    )


def check(
    policies: PolicySet,
    settings: Settings | None = None,
    *,
    assurance_level: AssuranceLevel | None = None,
    issuer_remembers_second_factor: bool | None = None,
) -> tuple[Finding, ...]:
    """What a careful administrator would be told. ``assurance_level``: NIST's; ``issuer_remembers_second_factor``:
    whether "Remember MFA on trusted devices" is on at the issuer, where that is known."""
    return lint(
        policies,
        settings or Settings(),
        assurance_level=assurance_level,
        issuer_remembers_second_factor=issuer_remembers_second_factor,
    )


def is_error(finding: Finding) -> bool:
    """Whether a finding can lock people out, or a policy can't do what it says. The others are advice."""
    return finding.code in _ERRORS


def as_json(simulation: Simulation, *, applied_only: bool = False) -> dict[str, Any]:
    """As Microsoft Graph's ``evaluate`` answers, and beside it under ``kmsi`` what would follow here.

    ``applied_only``: no policies but those that apply.
    """
    return {**rules.as_json(simulation, applied_only=applied_only), "kmsi": _outcome(simulation)}


def _outcome(simulation: Simulation) -> dict[str, Any]:
    controls = simulation.evaluation.controls
    wanting = {id(item.policy): item.controls for item in simulation.unmet}
    decision = simulation.decision
    return {
        "letsIn": simulation.lets_in,
        "blockedBy": controls.block.id if controls.block is not None else None,
        "grants": [
            {
                "policy": demand.policy.id,
                "operator": demand.grant.operator,
                "builtInControls": list(demand.grant.controls),
                "wanting": list(wanting.get(id(demand.policy), ())),
            }
            for demand in controls.grants
        ],
        "signInFrequency": _frequency(controls.sign_in_frequency_first),
        "signInFrequencySecondFactor": _frequency(controls.sign_in_frequency_second),
        "signInDueAt": simulation.due.at if simulation.due is not None else None,
        "maxAge": simulation.max_age,
        "persistentBrowser": _persistence(controls),
        "staySignedInShown": decision.ask if decision is not None else None,
        "staySignedInReason": decision.reason if decision is not None else None,
        "cookies": [
            {"answer": cookie.answer, "persistent": cookie.persistent, "lifetime": cookie.lifetime}
            for cookie in simulation.cookies
        ],
        "notKnown": list(simulation.evaluation.missing),
    }


def _frequency(frequency: Frequency | None) -> dict[str, Any] | None:
    return None if frequency is None else {"seconds": frequency.seconds, "policy": frequency.policy.id}


def _persistence(controls: Controls) -> dict[str, Any] | None:
    by = controls.persistent_browser_policy
    return None if by is None else {"mode": controls.persistent_browser, "policy": by.id}


# What a value may be -------------------------------------------------------------------------------------


def _ids(name: str, given: Iterable[str] | None) -> frozenset[str] | None:
    if isinstance(given, str):
        raise ValueError(f"{name} {given!r}: give a list")
    return None if given is None else frozenset(item.strip().lower() for item in given if item.strip())


def _word(name: str, given: str, known: Collection[Word]) -> Word:
    for word in known:
        if word.lower() == given.strip().lower():
            return word
    raise ValueError(f"{name} {given!r}: give one of {', '.join(known)}")


def _address(given: str | None) -> str | None:
    if given is None:
        return None
    try:
        return str(ipaddress.ip_address(given.strip()))
    except ValueError:
        raise ValueError(f"ip {given!r}: give an address, as 192.0.2.7 or 2001:db8::7") from None


def _country(given: str | None) -> str | None:
    if given and not re.fullmatch("[A-Za-z]{2}", given):
        raise ValueError(f"country {given!r}: give two letters, as DE")
    return given


def _device(given: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    names = {name.lower(): name for name in PROPERTIES} | {"extensionattributes": ""}
    for name, value in (given or {}).items():
        if name.lower() not in names:
            raise ValueError(f"device {name!r}: give one of {', '.join(PROPERTIES)}")
        known = names[name.lower()]
        if known == "isCompliant" and value is not None and not isinstance(value, bool):
            raise ValueError(f"device isCompliant {value!r}: give true or false")
        if known in VALUES and value is not None:
            _word(f"device {known}", str(value), VALUES[known])
    return given
