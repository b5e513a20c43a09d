"""A policy's conditions, from Graph's JSON.

1. A policy that names nobody, or nothing, is refused: Graph wants ``None`` to be said.
2. Applications, user actions and authentication contexts: one of the three.
3. A condition that is there and can't be judged here is refused, whatever the policy's state: a policy that applied
   to more or fewer people than its author meant would be worse than none.
4. An exclusion without an inclusion is refused; Graph wants ``All`` to be said.

Source: Graph ``conditionalAccessConditionSet`` and the types of its members, v1.0 and beta.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, cast, get_args

from ...vocabulary.contexts import auth_context
from .device_filter import DeviceFilter, FilterError, parse
from .policy import ALL, Applications, Conditions, Guests, GuestType, Level, Locations, Platforms, Users
from .reading import Members

LEVELS: tuple[Level, ...] = get_args(Level)
GUEST_TYPES: tuple[GuestType, ...] = get_args(GuestType)
PLATFORMS = ("all", "android", "iOS", "windows", "windowsPhone", "macOS", "linux")
CLIENT_APP_TYPES = (
    *("all", "browser", "mobileAppsAndDesktopClients", "exchangeActiveSync"),
    *("easSupported", "easUnsupported", "other"),
)
USER_ACTIONS = ("urn:user:registersecurityinfo", "urn:user:registerdevice")
SUITES = ("Office365", "MicrosoftAdminPortals")
"""Microsoft's own applications by the suite."""

_WORKLOADS = "only people sign in here, no workload identities: leave the policy out"
_UNSUPPORTED = {
    "agentIdRiskLevels": _WORKLOADS,
    "agents": _WORKLOADS,
    "authenticationFlows": "here is one flow alone, the authorization code flow: leave the policy out",
    "clientApplications": _WORKLOADS,
    "deviceStates": "give devices.deviceFilter, as device.isCompliant -eq True",
    "insiderRiskLevels": "insider risk is not known here: leave the policy out, or give signInRiskLevels",
    "servicePrincipalRiskLevels": _WORKLOADS,
    "times": "times of the day are not known here: leave the policy out",
}
_UNSUPPORTED_APPLICATIONS = {
    "applicationFilter": "custom security attributes are not known here: give the app ids in includeApplications",
    "globalSecureAccess": "network traffic does not pass through here: leave the policy out",
    "networkAccess": "network traffic does not pass through here: leave the policy out",
}
_UNSUPPORTED_DEVICES = dict.fromkeys(
    ("includeDevices", "excludeDevices", "includeDeviceStates", "excludeDeviceStates"),
    "give deviceFilter, as device.isCompliant -eq True",
)
_RISKS_WITHOUT_MEANING = {"hidden": "nobody can tell it: give low, medium, high or none"}


def read_conditions(members: Members) -> Conditions:
    """All conditions of a policy. Raises :class:`.reading.PolicyError`; the ids of locations are not yet checked."""
    members.unsupported(_UNSUPPORTED)
    users, applications = members.inner("users"), members.inner("applications")
    if users is None:
        raise members.refuse("users", 'say whom, as {"includeUsers": ["All"]}')
    if applications is None:
        raise members.refuse("applications", 'say what, as {"includeApplications": ["All"]}')
    conditions = Conditions(
        users=_users(users),
        applications=_applications(applications),
        client_app_types=_lower(members.words("clientAppTypes", CLIENT_APP_TYPES)) or (ALL,),
        sign_in_risk_levels=_levels(members, "signInRiskLevels"),
        user_risk_levels=_levels(members, "userRiskLevels"),
        platforms=_platforms(members.inner("platforms")),
        locations=_locations(members.inner("locations")),
        device_filter=_devices(members.inner("devices")),
    )
    members.done()
    return conditions


def _users(members: Members) -> Users:
    everyone = ("All", "None", "GuestsOrExternalUsers")
    users = Users(
        include=members.ids("includeUsers", *everyone),
        exclude=members.ids("excludeUsers", "GuestsOrExternalUsers", without=("All", "None")),
        include_groups=members.ids("includeGroups", without=everyone),
        exclude_groups=members.ids("excludeGroups", without=everyone),
        include_roles=members.ids("includeRoles", without=everyone),
        exclude_roles=members.ids("excludeRoles", without=everyone),
        include_guests=_guests(members.inner("includeGuestsOrExternalUsers")),
        exclude_guests=_guests(members.inner("excludeGuestsOrExternalUsers")),
    )
    members.done()
    if not (users.include or users.include_groups or users.include_roles or users.include_guests):
        raise members.refuse("includeUsers", "it is for nobody: give All, ids, groups, roles or guests; or None")
    return users


def _guests(members: Members | None) -> Guests | None:
    if members is None:
        return None
    words = members.words("guestOrExternalUserTypes", (*GUEST_TYPES, "none"), flags=True)
    types = tuple(word for word in words if word != "none")
    tenants = _tenants(members.inner("externalTenants"))
    members.done()
    if not types and tenants is not None:
        raise members.refuse("externalTenants", "it goes with guestOrExternalUserTypes only")
    return Guests(types=cast("tuple[GuestType, ...]", types), tenants=tenants or ()) if types else None


def _tenants(members: Members | None) -> tuple[str, ...] | None:
    """The tenants named; empty for all of them."""
    if members is None:
        return None
    kind = members.word("membershipKind", ("all", "enumerated"))
    named = members.ids("members")
    members.done()
    if kind is None and not named:
        return None
    if kind is None:
        raise members.refuse("membershipKind", "give all or enumerated")
    if (kind == "enumerated") != bool(named):
        raise members.refuse("members", "enumerated goes with tenant ids, all goes without")
    return named


def _applications(members: Members) -> Applications:
    members.unsupported(_UNSUPPORTED_APPLICATIONS)
    applications = Applications(
        include=members.ids("includeApplications", "All", "None", *SUITES),
        exclude=members.ids("excludeApplications", *SUITES, without=("All", "None")),
        user_actions=_lower(members.words("includeUserActions", USER_ACTIONS)),
        auth_contexts=members.ids("includeAuthenticationContextClassReferences"),
    )
    members.done()
    for context in applications.auth_contexts:
        try:
            auth_context(context)
        except ValueError:
            raise members.refuse("includeAuthenticationContextClassReferences", "give c1 to c99") from None
    targets = sum(map(bool, (applications.include, applications.user_actions, applications.auth_contexts)))
    if targets != 1:
        problem = "give one of includeApplications, includeUserActions, includeAuthenticationContextClassReferences"
        raise members.refuse("includeApplications", problem if targets else f"it is for nothing: {problem}; or None")
    if applications.exclude and not applications.include:
        raise members.refuse("excludeApplications", "it goes with includeApplications only")
    if applications.user_actions:
        members.note("includeUserActions", "sign-ins to apps have no such action: the policy applies to none here")
    for suite in SUITES:
        for name, ids in (("includeApplications", applications.include), ("excludeApplications", applications.exclude)):
            if suite.lower() in ids:
                members.note(name, f"{suite} means Microsoft's applications, and none here")
    return applications


def _levels(members: Members, name: str) -> tuple[Level, ...]:
    return cast("tuple[Level, ...]", members.words(name, LEVELS, _RISKS_WITHOUT_MEANING))


def _platforms(members: Members | None) -> Platforms | None:
    if members is None:
        return None
    include = _lower(members.words("includePlatforms", PLATFORMS))
    exclude = _lower(members.words("excludePlatforms", PLATFORMS))
    members.done()
    if exclude and not include:
        raise members.refuse("includePlatforms", "an exclusion needs an inclusion: give all")
    return Platforms(include, exclude) if include else None


def _locations(members: Members | None) -> Locations | None:
    if members is None:
        return None
    include = members.ids("includeLocations", "All", "AllTrusted", without=("None",))
    exclude = members.ids("excludeLocations", "AllTrusted", without=("All", "None"))
    members.done()
    if exclude and not include:
        raise members.refuse("includeLocations", "an exclusion needs an inclusion: give All")
    return Locations(include, exclude) if include else None


def _devices(members: Members | None) -> DeviceFilter | None:
    if members is None:
        return None
    members.unsupported(_UNSUPPORTED_DEVICES)
    inner = members.inner("deviceFilter")
    members.done()
    if inner is None:
        return None
    mode, rule = inner.word("mode", ("include", "exclude")), inner.text("rule")
    inner.done()
    if mode is None and rule is None:
        return None
    if mode is None:
        raise inner.refuse("mode", "give include or exclude")
    if rule is None:
        raise inner.refuse("rule", 'give a rule, as device.trustType -eq "AzureAD"')
    try:
        tree = parse(rule)
    except FilterError as error:
        raise inner.refuse("rule", error.problem) from None
    return DeviceFilter(cast('Literal["include", "exclude"]', mode), tree, rule)


def _lower(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(word.lower() for word in words)


def names_of_conditions(conditions: Conditions) -> Mapping[str, bool]:
    """Graph's name of every condition beside users and applications, and whether it restricts anything."""
    return {
        "clientAppTypes": ALL not in conditions.client_app_types,
        "signInRiskLevels": bool(conditions.sign_in_risk_levels),
        "userRiskLevels": bool(conditions.user_risk_levels),
        "platforms": conditions.platforms is not None,
        "locations": conditions.locations is not None,
        "devices": conditions.device_filter is not None,
    }
