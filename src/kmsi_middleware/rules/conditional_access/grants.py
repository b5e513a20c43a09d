"""Grant controls: what a person must have shown to be let in, and what is still wanting.

1. ``AND``: every control of a policy; ``OR``: one of them. Each policy is met by itself.
2. ``mfa``: a second factor was shown. How old it may be is for the sign-in frequency.
3. ``compliantDevice``, ``domainJoinedDevice``: known to be so. Not known is not met.
4. ``passwordChange``: the password was changed after the person was told to, and the person signed in after that.
5. ``block`` is met by nothing.

Entra ID: Configure authentication session management, "Policy 3". RFC 8176 (``amr``); Microsoft Graph
``conditionalAccessGrantControls``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from ...vocabulary.records import frozen
from .evaluate import Demand
from .facts import Proofs
from .policy import Control, Policy

_WHOLE = {"mfa", "ngcmfa"}
_KINDS = (
    {"pwd", "pin", "kba"},
    {"hwk", "swk", "otp", "sms", "tel", "sc", "rsa"},
    {"face", "fpt", "iris", "retina", "vbm"},
)


@frozen
class Unmet:
    """A policy whose grant controls are not met. ``AND``: ``controls`` are all wanted; ``OR``: one of them is."""

    policy: Policy
    operator: Literal["AND", "OR"]
    controls: tuple[Control, ...]


def shows_second_factor(amr: object) -> bool:
    """Whether a sign-in's ``amr`` claim tells of two factors: ``mfa`` itself, or methods of two different kinds, as
    ``pwd`` with ``otp`` or ``hwk`` (RFC 8176 §2). Two of one kind are one factor; a malformed claim shows none."""
    words = amr.split() if isinstance(amr, str) else amr if isinstance(amr, list | tuple) else ()
    methods = {item.lower() for item in words if isinstance(item, str)}
    return bool(methods & _WHOLE) or sum(bool(methods & kind) for kind in _KINDS) > 1


def device_proofs(device: Mapping[str, Any] | None) -> tuple[bool | None, bool | None]:
    """``compliant_device`` and ``domain_joined_device`` of :class:`.facts.Proofs`, from Graph's device properties."""
    found = {str(name).lower(): value for name, value in (device or {}).items()}
    compliant, joined = found.get("iscompliant"), found.get("trusttype")
    return (
        compliant if isinstance(compliant, bool) else None,
        joined.lower() == "serverad" if isinstance(joined, str) else None,
    )


def unmet(grants: Iterable[Demand], proofs: Proofs, *, clock_skew: int = 0) -> tuple[Unmet, ...]:
    """The grants that are not met, each with what would meet it; empty: all are.

    ``clock_skew``: by how many seconds the issuer's clock may be behind ours.
    """
    found = []
    for demand in grants:
        wanting = tuple(item for item in demand.grant.controls if not _is_met(item, proofs, clock_skew))
        if len(wanting) == len(demand.grant.controls) or (wanting and demand.grant.operator == "AND"):
            found.append(Unmet(demand.policy, demand.grant.operator, wanting))
    return tuple(found)


def _is_met(control: Control, proofs: Proofs, clock_skew: int) -> bool:
    match control:
        case "mfa":
            return proofs.second_factor_at is not None
        case "compliantDevice":
            return proofs.compliant_device is True
        case "domainJoinedDevice":
            return proofs.domain_joined_device is True
        case "passwordChange":
            demanded, changed, signed_in = (
                proofs.password_change_demanded_at,
                proofs.password_changed_at,
                proofs.first_factor_at,
            )
            if demanded is None or changed is None or signed_in is None:
                return False
            return changed >= demanded - clock_skew and signed_in >= changed
        case _:
            return False
