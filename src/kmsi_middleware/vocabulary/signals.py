"""What the app may know about a sign-in that the ID token does not say (the ``sign_in_signals`` hook)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

from .errors import KMSIError
from .records import frozen

Risk = Literal["none", "low", "medium", "high"]


@frozen
class SignInFacts:
    """What the hook is told: the checked ID token's claims, and what the browser's request said."""

    claims: Mapping[str, Any]
    client_address: str
    user_agent: str


@frozen
class SignInSignals:
    """What the hook may answer. ``None`` means "not known", and then the ID token decides."""

    risk: Risk | None = None
    shared_device: bool | None = None
    guest: bool | None = None
    silent: bool | None = None
    """Signed in by seamless single sign-on or integrated Windows authentication."""
    consent: bool | None = None
    """The sign-in was part of a user or admin consent flow."""

    @classmethod
    def of(cls, answer: SignInSignals | Mapping[str, Any] | None) -> SignInSignals:
        """The hook's answer in one shape. Raises :class:`KMSIError` for anything else: a misspelt signal
        must not silently count as absent."""
        if answer is None:
            return cls()
        if isinstance(answer, SignInSignals):
            signals = answer
        elif isinstance(answer, Mapping) and set(answer) <= {item.name for item in fields(cls)}:
            signals = cls(**answer)
        else:
            raise KMSIError(f"sign_in_signals must return SignInSignals, a mapping of its fields or None: {answer!r}")
        for name in ("shared_device", "guest", "silent", "consent"):
            if getattr(signals, name) not in (True, False, None):
                raise KMSIError(f"sign_in_signals: {name} must be True, False or None")
        if signals.risk not in ("none", "low", "medium", "high", None):
            raise KMSIError(f"sign_in_signals: risk must be none, low, medium or high, not {signals.risk!r}")
        return signals
