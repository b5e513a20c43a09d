"""A policy as data: what :mod:`.load` makes and :mod:`.evaluate` reads. Names are Graph's, in Python's spelling.

In every condition an empty tuple, or ``None``, means "not configured": it restricts nothing. Ids and names are
compared in lower case (Graph's ids are GUIDs, whose case means nothing).
"""

from __future__ import annotations

import ipaddress
from typing import Literal

from ...vocabulary.records import frozen
from .device_filter import DeviceFilter

State = Literal["enabled", "disabled", "enabledForReportingButNotEnforced"]
Level = Literal["none", "low", "medium", "high"]
GuestType = Literal[
    "internalGuest",
    "b2bCollaborationGuest",
    "b2bCollaborationMember",
    "b2bDirectConnectUser",
    "otherExternalUser",
    "serviceProvider",
]
Control = Literal["block", "mfa", "compliantDevice", "domainJoinedDevice", "passwordChange"]

ALL = "all"
NONE = "none"
GUESTS = "guestsorexternalusers"
ALL_TRUSTED = "alltrusted"


@frozen
class Guests:
    """``includeGuestsOrExternalUsers``: kinds of guests, of the tenants named, or of all if none is."""

    types: tuple[GuestType, ...]
    tenants: tuple[str, ...] = ()


@frozen
class Users:
    """Who: ``all``, ``none``, ``guestsorexternalusers`` or ids; groups; roles; guests. Exclusion wins."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include_groups: tuple[str, ...] = ()
    exclude_groups: tuple[str, ...] = ()
    include_roles: tuple[str, ...] = ()
    exclude_roles: tuple[str, ...] = ()
    include_guests: Guests | None = None
    exclude_guests: Guests | None = None


@frozen
class Applications:
    """What: ``all``, ``none`` or app ids; or user actions; or authentication contexts. One of the three."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    user_actions: tuple[str, ...] = ()
    auth_contexts: tuple[str, ...] = ()


@frozen
class NamedLocation:
    """An ``ipNamedLocation`` or a ``countryNamedLocation``."""

    id: str
    name: str
    trusted: bool = False
    ranges: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    countries: tuple[str, ...] = ()
    unknown_countries: bool = False
    """``includeUnknownCountriesAndRegions``: an address that was looked up and belongs to no country is in here."""


@frozen
class Locations:
    """Where: ``all``, ``alltrusted`` or ids of named locations."""

    include: tuple[str, ...]
    exclude: tuple[str, ...] = ()


@frozen
class Platforms:
    """On what: ``all``, or ``android``, ``ios``, ``windows``, ``windowsphone``, ``macos``, ``linux``."""

    include: tuple[str, ...]
    exclude: tuple[str, ...] = ()


@frozen
class Conditions:
    """All of them must hold for a policy to apply."""

    users: Users
    applications: Applications
    client_app_types: tuple[str, ...] = (ALL,)
    sign_in_risk_levels: tuple[Level, ...] = ()
    user_risk_levels: tuple[Level, ...] = ()
    platforms: Platforms | None = None
    locations: Locations | None = None
    device_filter: DeviceFilter | None = None


@frozen
class GrantControls:
    """``AND``: all of them; ``OR``: one of them. ``block`` stands alone."""

    operator: Literal["AND", "OR"]
    controls: tuple[Control, ...]


@frozen
class SignInFrequency:
    """``seconds`` is ``None`` for "every time". ``second_factor_only``: ``secondaryAuthentication``."""

    seconds: int | None
    second_factor_only: bool = False


@frozen
class Policy:
    """One policy."""

    id: str
    """Graph's id, or the display name where a file has none."""
    display_name: str
    state: State
    conditions: Conditions
    grant: GrantControls | None = None
    sign_in_frequency: SignInFrequency | None = None
    persistent_browser: Literal["always", "never"] | None = None
    source: str = ""
    """The file that it came from, for messages."""


@frozen
class PolicySet:
    """All policies in force, and the named locations that they speak of."""

    policies: tuple[Policy, ...] = ()
    locations: tuple[NamedLocation, ...] = ()
    notes: tuple[str, ...] = ()
    """What the loader reports: fields that it does not know, each with file and policy."""

    @property
    def enforced(self) -> PolicySet:
        """Without those that are disabled or in report-only mode."""
        return PolicySet(tuple(policy for policy in self.policies if policy.state == "enabled"), self.locations)
