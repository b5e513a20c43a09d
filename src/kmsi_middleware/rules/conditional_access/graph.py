"""A policy as Graph's ``conditionalAccessPolicy`` JSON: what :mod:`.load` reads, the other way round.

What our model does not keep (dates, templates) is left out; what Graph writes for "not configured" is written.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...vocabulary.settings import DAY
from .policy import Conditions, Guests, Policy, SignInFrequency

_SPELLING = {
    name.lower(): name
    for name in (
        *("All", "None", "GuestsOrExternalUsers", "AllTrusted"),
        *("iOS", "windowsPhone", "macOS"),
        *("mobileAppsAndDesktopClients", "exchangeActiveSync", "easSupported", "easUnsupported"),
        *("Office365", "MicrosoftAdminPortals"),
    )
}


def as_graph(policy: Policy) -> dict[str, Any]:
    """A policy as a JSON object. Loading it gives a policy that decides the same."""
    return {
        "id": policy.id,
        "displayName": policy.display_name,
        "state": policy.state,
        "conditions": _conditions(policy.conditions),
        "grantControls": policy.grant
        and {
            "operator": policy.grant.operator,
            "builtInControls": list(policy.grant.controls),
        },
        "sessionControls": _session_controls(policy),
    }


def _words(items: Iterable[str]) -> list[str]:
    return [_SPELLING.get(item.lower(), item) for item in items]


def _small(items: Iterable[str]) -> list[str]:
    """The same, where Graph writes ``all`` in small letters."""
    return ["all" if item == "All" else item for item in _words(items)]


def _conditions(conditions: Conditions) -> dict[str, Any]:
    users, applications = conditions.users, conditions.applications
    platforms, locations, devices = conditions.platforms, conditions.locations, conditions.device_filter
    return {
        "userRiskLevels": list(conditions.user_risk_levels),
        "signInRiskLevels": list(conditions.sign_in_risk_levels),
        "clientAppTypes": _small(conditions.client_app_types),
        "applications": {
            "includeApplications": _words(applications.include),
            "excludeApplications": _words(applications.exclude),
            "includeUserActions": list(applications.user_actions),
            "includeAuthenticationContextClassReferences": list(applications.auth_contexts),
        },
        "users": {
            "includeUsers": _words(users.include),
            "excludeUsers": _words(users.exclude),
            "includeGroups": list(users.include_groups),
            "excludeGroups": list(users.exclude_groups),
            "includeRoles": list(users.include_roles),
            "excludeRoles": list(users.exclude_roles),
            "includeGuestsOrExternalUsers": _guests(users.include_guests),
            "excludeGuestsOrExternalUsers": _guests(users.exclude_guests),
        },
        "platforms": platforms
        and {
            "includePlatforms": _small(platforms.include),
            "excludePlatforms": _words(platforms.exclude),
        },
        "locations": locations
        and {
            "includeLocations": _words(locations.include),
            "excludeLocations": _words(locations.exclude),
        },
        "devices": devices and {"deviceFilter": {"mode": devices.mode, "rule": devices.text}},
    }


def _guests(guests: Guests | None) -> dict[str, Any] | None:
    if guests is None:
        return None
    tenants: dict[str, Any] = {
        "@odata.type": "#microsoft.graph.conditionalAccessAllExternalTenants",
        "membershipKind": "all",
    }
    if guests.tenants:
        tenants = {
            "@odata.type": "#microsoft.graph.conditionalAccessEnumeratedExternalTenants",
            "membershipKind": "enumerated",
            "members": list(guests.tenants),
        }
    return {"guestOrExternalUserTypes": ",".join(guests.types), "externalTenants": tenants}


def _session_controls(policy: Policy) -> dict[str, Any] | None:
    if policy.sign_in_frequency is None and policy.persistent_browser is None:
        return None
    persistent = policy.persistent_browser
    return {
        "persistentBrowser": persistent and {"mode": persistent, "isEnabled": True},
        "signInFrequency": policy.sign_in_frequency and _frequency(policy.sign_in_frequency),
    }


def _frequency(frequency: SignInFrequency) -> dict[str, Any]:
    value: int | None = None
    unit: str | None = None
    if frequency.seconds is not None:
        unit = "hours" if frequency.seconds % DAY else "days"
        value = max(1, frequency.seconds // (3_600 if unit == "hours" else DAY))
    return {
        "value": value,
        "type": unit,
        "isEnabled": True,
        "frequencyInterval": "everyTime" if frequency.seconds is None else "timeBased",
        "authenticationType": "secondaryAuthentication"
        if frequency.second_factor_only
        else "primaryAndSecondaryAuthentication",
    }
