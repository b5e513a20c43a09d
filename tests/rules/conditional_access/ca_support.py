"""Policies and facts in few words, for the tests of Conditional Access."""

from __future__ import annotations

import ipaddress
from typing import Any, Literal

from kmsi_middleware.rules.conditional_access.device_filter import DeviceFilter, parse
from kmsi_middleware.rules.conditional_access.facts import Facts
from kmsi_middleware.rules.conditional_access.policy import (
    ALL,
    Applications,
    Conditions,
    Control,
    GrantControls,
    NamedLocation,
    Policy,
    PolicySet,
    SignInFrequency,
    Users,
)

HOUR = 3_600
DAY = 86_400
MIDNIGHT = 1_700_006_400  # 2023-11-15 00:00:00 UTC

EVERYBODY = Users(include=(ALL,))
EVERY_APP = Applications(include=(ALL,))

OFFICE = NamedLocation("office", "The office", trusted=True, ranges=(ipaddress.ip_network("192.0.2.0/24"),))
LAB = NamedLocation("lab", "The lab", ranges=(ipaddress.ip_network("2001:db8::/32"),))
GERMANY = NamedLocation("germany", "Germany", countries=("de",))
NOWHERE = NamedLocation("nowhere", "Nowhere", countries=("aq",), unknown_countries=True)
PLACES = (OFFICE, LAB, GERMANY, NOWHERE)

EVERY_TIME = SignInFrequency(None)
HOURLY = SignInFrequency(HOUR)


def grant(*controls: Control, operator: Literal["AND", "OR"] = "AND") -> GrantControls:
    return GrantControls(operator, controls)


BLOCK = grant("block")
MFA = grant("mfa")


def device_filter(rule: str, mode: Literal["include", "exclude"] = "include") -> DeviceFilter:
    return DeviceFilter(mode, parse(rule), rule)


def policy(
    name: str = "p",
    *,
    state: Any = "enabled",
    users: Users = EVERYBODY,
    applications: Applications = EVERY_APP,
    grant: GrantControls | None = None,
    frequency: SignInFrequency | None = None,
    persistent: Literal["always", "never"] | None = None,
    **conditions: Any,
) -> Policy:
    return Policy(
        id=name,
        display_name=f"Policy {name}",
        state=state,
        conditions=Conditions(users=users, applications=applications, **conditions),
        grant=grant,
        sign_in_frequency=frequency,
        persistent_browser=persistent,
    )


def policies(*these: Policy) -> PolicySet:
    return PolicySet(policies=these, locations=PLACES)


ADA = Facts(
    user_ids=frozenset({"ada-id", "ada@example.com"}),
    groups=frozenset({"staff", "nurses"}),
    roles=frozenset({"reader"}),
    guest=False,
    home_tenant="home",
    application="shop",
    sign_in_risk="low",
    user_risk="none",
    platform="windows",
    address="192.0.2.7",
    country="de",
    device={"isCompliant": True, "trustType": "AzureAD"},
)
