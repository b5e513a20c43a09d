"""What is known about a sign-in or a request. Every field that is ``None`` is *not known*, which is not the same as
no: a condition that needs it counts against the person, and the evaluation says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...vocabulary.records import frozen
from .policy import GuestType, Level


@frozen
class Facts:
    """The inputs of :func:`.evaluate.evaluate`. Ids and names in lower case.

    What is not a value of its kind (an address that is none, a level that Graph doesn't have) counts as not known.
    """

    user_ids: frozenset[str] = frozenset()
    """Every id that a policy may know the person by: ``oid``, ``sub``, user principal name."""
    groups: frozenset[str] | None = None
    roles: frozenset[str] | None = None
    guest: GuestType | bool | None = None
    """The kind of guest; ``False``: a member; ``True``: a guest of unknown kind; ``None``: not known."""
    home_tenant: str | None = None
    application: str = ""
    user_action: str | None = None
    """What the person is about to do, if it is one of Graph's user actions; ``None``: none of them."""
    auth_context: str | None = None
    """The route's authentication context; ``None``: it has none."""
    sign_in_risk: Level | None = None
    user_risk: Level | None = None
    platform: str | None = None
    client_app: str = "browser"
    address: str | None = None
    country: str | None = None
    """Two letters (ISO 3166), from the address; ``""``: looked up, and the address belongs to none."""
    device: Mapping[str, Any] | None = None
    """Graph's device properties (``isCompliant``, ``trustType``, …); ``None``: no device is known."""


CHANGING = frozenset(
    {
        "user_action",
        "auth_context",
        "sign_in_risk",
        "user_risk",
        "platform",
        "client_app",
        "address",
        "country",
        "device",
    }
)
"""The facts that may differ from one request of a session to the next. All others are the person's or the app's."""


@frozen
class Proofs:
    """What the person has shown, and when (seconds since 1970); ``None``: not shown, or not known."""

    first_factor_at: int | None = None
    """``auth_time``, as the issuer's clock has it."""
    second_factor_at: int | None = None
    """The same, where :func:`.grants.shows_second_factor`."""
    asked_at: int | None = None
    """When the sign-in that the session came from was taken up, by our clock."""
    verified_max_age: int | None = None
    """The ``max_age`` that the sign-in was asked with, and that its answer held."""
    last_used_at: int | None = None
    password_changed_at: int | None = None
    password_change_demanded_at: int | None = None
    """When the person was first sent to change the password, by our clock."""
    compliant_device: bool | None = None
    domain_joined_device: bool | None = None
