"""What the app may know about a sign-in that the ID token does not say (the ``sign_in_signals`` hook)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
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
    user_risk: Risk | None = None
    """How likely it is that the account itself is compromised; ``risk`` is the sign-in's."""
    device: Mapping[str, Any] | None = None
    """Microsoft Graph's device properties (``isCompliant``, ``trustType``, …), for Conditional Access."""
    second_factor: bool | None = None
    """Whether a second factor was shown, where ``amr`` does not tell."""
    password_changed_at: int | None = None
    """When the password was last changed, in seconds since 1970."""

    def updated(self, newer: SignInSignals) -> SignInSignals:
        """These, and what ``newer`` knows instead."""
        known = {item.name: getattr(newer, item.name) for item in fields(newer)}
        return replace(self, **{name: value for name, value in known.items() if value is not None})

    def fingerprint(self) -> str:
        """A text that is the same for the same signals."""
        return repr(sorted(self.known().items()))

    def known(self) -> dict[str, Any]:
        """What is known, as JSON can hold it."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

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
        for name in ("shared_device", "guest", "silent", "consent", "second_factor"):
            if not isinstance(getattr(signals, name), bool | None):
                raise KMSIError(f"sign_in_signals: {name} must be True, False or None")
        for name in ("risk", "user_risk"):
            if getattr(signals, name) not in ("none", "low", "medium", "high", None):
                raise KMSIError(f"sign_in_signals: {name} must be none, low, medium or high")
        changed = signals.password_changed_at
        if isinstance(changed, bool) or not isinstance(changed, int | None):
            raise KMSIError("sign_in_signals: password_changed_at must be whole seconds since 1970")
        if signals.device is None:
            return signals
        if not isinstance(signals.device, Mapping):
            raise KMSIError("sign_in_signals: device must be a mapping of Graph's device properties")
        try:
            device = json.loads(json.dumps(signals.device, default=_plain, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise KMSIError(f"sign_in_signals: device must be plain data, as JSON can hold it: {error}") from error
        return replace(signals, device=device)


def _plain(value: object) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not plain")
