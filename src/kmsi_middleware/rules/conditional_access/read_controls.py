"""A policy's grant and session controls, from Graph's JSON.

1. A control that is set and can't be kept here is refused.
2. ``block`` stands alone. ``passwordChange`` goes with ``mfa`` (AND), ``userRiskLevels`` and all applications, and
   with no condition beside; Graph says so too.
3. A session control says whether it is enabled; one that is not is not configured.
4. A sign-in frequency is 1 to 23 hours, 1 to 365 days, or every time.
5. A persistent browser session, always or never, needs all applications and excludes none: all tabs of a browser
   share one session, and so its persistence.

Entra ID: Configure authentication session management, "Policy 2: Persistent browser session". Graph:
``conditionalAccessGrantControls``, ``conditionalAccessSessionControls``, v1.0 and beta.
"""

from __future__ import annotations

from typing import Literal, cast, get_args

from .policy import ALL, Applications, Conditions, Control, GrantControls, SignInFrequency
from .read_conditions import names_of_conditions
from .reading import Members, is_set

CONTROLS: tuple[Control, ...] = get_args(Control)

HOUR, DAY = 3_600, 86_400
_LONGEST = {"hours": 23, "days": 365}

_CONTROLS_NOT_KEPT = {
    "approvedApplication": "a browser is no approved app: give compliantDevice, or leave the policy out",
    "compliantApplication": "a browser has no app protection policy: give compliantDevice, or leave the policy out",
    "riskRemediation": "give mfa and passwordChange with the operator AND",
}
_GRANTS_NOT_KEPT = {
    "authenticationStrength": "which methods were used is not known here: give mfa in builtInControls",
    "customAuthenticationFactors": "external providers can't be called from here: give mfa in builtInControls",
    "termsOfUse": "there are no terms of use here: leave them out",
}
_SESSIONS_NOT_KEPT = {
    "applicationEnforcedRestrictions": "only Exchange Online and SharePoint Online have it: leave it out",
    "cloudAppSecurity": "there is no reverse proxy here: leave it out",
    "continuousAccessEvaluation": "sessions here are judged at every request anyway: leave it out",
    "disableResilienceDefaults": "sessions here are never extended for an outage: leave it out",
    "globalSecureAccessFilteringProfile": "network traffic does not pass through here: leave it out",
    "networkAccessSecurity": "network traffic does not pass through here: leave it out",
    "secureSignInSession": "sessions here can't be bound to a device: leave it out",
}


def read_grant(members: Members | None, conditions: Conditions) -> GrantControls | None:
    """The grant controls; ``None`` if there are none. Raises :class:`.reading.PolicyError`."""
    if members is None:
        return None
    members.unsupported(_GRANTS_NOT_KEPT)
    operator = members.word("operator", ("AND", "OR"))
    controls = cast("tuple[Control, ...]", members.words("builtInControls", CONTROLS, _CONTROLS_NOT_KEPT))
    members.done()
    if not controls:
        return None
    if operator is None:
        if len(controls) > 1:
            raise members.refuse("operator", "give AND (all of them) or OR (one of them)")
        operator = "OR"
    if "block" in controls and len(controls) > 1:
        raise members.refuse("builtInControls", "block stands alone: leave the others out, or block")
    if "passwordChange" in controls:
        _check_password_change(members, operator, controls, conditions)
    return GrantControls(cast('Literal["AND", "OR"]', operator), controls)


def _check_password_change(
    members: Members, operator: str, controls: tuple[Control, ...], conditions: Conditions
) -> None:
    name, control = "builtInControls", "passwordChange"
    if operator != "AND" or "mfa" not in controls:
        raise members.refuse(name, f"{control} goes with mfa and the operator AND, so that the right person changes it")
    if not is_for_all(conditions.applications):
        raise members.refuse(name, f'{control} needs includeApplications ["All"], and nothing excluded')
    if not conditions.user_risk_levels:
        raise members.refuse(name, f"{control} needs userRiskLevels")
    beside = [name for name, configured in names_of_conditions(conditions).items() if configured]
    beside.remove("userRiskLevels")
    if beside:
        raise members.refuse(
            name, f"{control} goes with users, applications and userRiskLevels alone: leave {', '.join(beside)} out"
        )


def read_sign_in_frequency(members: Members | None) -> SignInFrequency | None:
    """The sign-in frequency; ``None`` if it is not configured. Raises :class:`.reading.PolicyError`."""
    if members is None or not _enabled(members, "frequencyInterval", "authenticationType", "type", "value"):
        return None
    interval = members.word("frequencyInterval", ("timeBased", "everyTime")) or "timeBased"
    kind = members.word("authenticationType", ("primaryAndSecondaryAuthentication", "secondaryAuthentication"))
    unit, value = members.word("type", ("hours", "days")), members.whole("value")
    members.done()
    second_factor_only = kind == "secondaryAuthentication"
    if interval == "everyTime":
        for name, given in (("value", value), ("type", unit)):
            if given is not None:
                raise members.refuse(name, "everyTime has none: leave it out, or give timeBased")
        return SignInFrequency(None, second_factor_only)
    if unit is None:
        raise members.refuse("type", "give hours or days")
    if value is None or not 1 <= value <= _LONGEST[unit]:
        raise members.refuse("value", f"give 1 to {_LONGEST[unit]} {unit}" + (", or days" if unit == "hours" else ""))
    return SignInFrequency(value * (HOUR if unit == "hours" else DAY), second_factor_only)


def read_persistent_browser(members: Members | None, conditions: Conditions) -> Literal["always", "never"] | None:
    """Whether browsers stay signed in; ``None`` if that is not configured. Raises :class:`.reading.PolicyError`."""
    if members is None or not _enabled(members, "mode"):
        return None
    mode = members.word("mode", ("always", "never"))
    members.done()
    if mode is None:
        raise members.refuse("mode", "give always or never")
    if not is_for_all(conditions.applications):
        raise members.refuse(
            "mode",
            "a persistent browser session needs all applications: give conditions.applications.includeApplications "
            '["All"] and exclude none, because all tabs of a browser share one session',
        )
    return cast('Literal["always", "never"]', mode)


def refuse_other_session_controls(members: Members) -> None:
    """Raises :class:`.reading.PolicyError` for a session control that can't be kept."""
    members.unsupported(_SESSIONS_NOT_KEPT)


def is_for_all(applications: Applications) -> bool:
    """Whether a policy is for all applications and excludes none."""
    return ALL in applications.include and not applications.exclude


def _enabled(members: Members, *names: str) -> bool:
    """Rule 3. ``names``: the members that a control has which is enabled."""
    enabled = members.flag("isEnabled")
    if enabled is None and is_set(members.value):
        raise members.refuse("isEnabled", "give true or false")
    if not enabled:
        members.pass_over(*names)
        members.done(binding=False)
    return enabled is True
