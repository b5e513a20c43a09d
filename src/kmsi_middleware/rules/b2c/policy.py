"""What one policy file says of sessions, as data; each value with the element that says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Generic, TypeVar

from ...vocabulary.records import frozen
from .elements import Element

T = TypeVar("T")


@frozen
class Said(Generic[T]):
    """A value, and where it stands."""

    value: T
    element: Element
    attribute: str = ""

    @property
    def place(self) -> str:
        """Within its file."""
        return f"line {self.element.line}: {self.element.name} {self.attribute}".rstrip()


@frozen
class Behaviors:
    """``UserJourneyBehaviors``. ``None``: not said, so B2C's default."""

    scope: Said[str] | None = None
    keep_alive_in_days: Said[int] | None = None
    enforce_id_token_hint: Said[bool] | None = None
    session_expiry_type: Said[str] | None = None
    session_expiry_in_seconds: Said[int] | None = None


@frozen
class TechnicalProfile:
    """A technical profile, as far as it has to do with sessions."""

    element: Element
    remember_me: Said[bool] | None = None
    """``setting.enableRememberMe``."""
    protocol: str | None = None
    issues_tokens: bool = False
    """Whether it issues tokens to apps."""
    manages: bool = False
    """Whether it manages single sign-on sessions so that B2C knows which apps they reached."""
    manager: str | None = None
    """``UseTechnicalProfileForSessionManagement``: the technical profile that does."""


@frozen
class PolicyFile:
    """One file, or a fragment of one."""

    file: str
    policy: str | None = None
    """``PolicyId``."""
    tenant: str | None = None
    """``TenantId``."""
    base: str | None = None
    """``PolicyId`` of the policy that it builds on."""
    journey: Said[str] | None = None
    """``DefaultUserJourney``."""
    behaviors: Behaviors | None = None
    """``None``: this is no relying party's file."""
    pages: Mapping[str, Said[tuple[int, ...]]] = field(default_factory=dict)
    """Content definitions whose page is ``unifiedssp``: its version, by ``Id``."""
    profiles: Mapping[str, TechnicalProfile] = field(default_factory=dict)
    """By ``Id``."""
    notes: tuple[str, ...] = ()
    """What has no meaning here, with its line."""
