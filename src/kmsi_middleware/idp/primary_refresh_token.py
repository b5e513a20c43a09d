"""A device's primary refresh token (PRT): the sign-in that a device answers for, and when it is renewed.

1. On joined and hybrid joined devices, unlocking the device and signing in to it renew the token, but only once
   it is four hours old.
2. On registered devices they don't: the person signs in to the device with another account.
3. Signing in within a native app (through the Web Account Manager) renews it on every device, at once.
4. A token that was not renewed for 14 days is worth nothing until it is.
5. Its time of renewal is the ``auth_time`` that apps are told, and what a sign-in frequency counts from.

Entra ID: Configure authentication session management, "User sign-in frequency and device identities".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ..vocabulary.records import frozen

Join = Literal["joined", "hybrid", "registered"]
Event = Literal["unlock", "device_sign_in", "native_app_sign_in"]

CYCLE = 4 * 3_600
LIFETIME = 14 * 86_400


@frozen
class PrimaryRefreshToken:
    """A device's token. ``refreshed_at``: seconds since 1970. ``mfa``: it carries the claim of a second factor."""

    join: Join
    refreshed_at: int
    mfa: bool = False


def prt_refreshed(prt: PrimaryRefreshToken, event: Event, now: int, *, mfa: bool = False) -> PrimaryRefreshToken:
    """The token after ``event``; the very same one if that does not renew it (rules 1 to 3).

    ``mfa``: a second factor was shown in it. Unlocking keeps the claim that the token has.
    """
    if event != "native_app_sign_in" and (prt.join == "registered" or now < prt.refreshed_at + CYCLE):
        return prt
    return replace(prt, refreshed_at=now, mfa=prt.mfa or mfa)


def prt_auth_time(prt: PrimaryRefreshToken, now: int) -> int | None:
    """The ``auth_time`` that the device answers for at ``now``; ``None``: it answers for none (rules 4 and 5)."""
    return prt.refreshed_at if now < prt.refreshed_at + LIFETIME else None


def prt_satisfies(prt: PrimaryRefreshToken, now: int, *, max_age: int | None) -> bool:
    """Whether an app's request with ``max_age`` (seconds) passes without asking the person."""
    auth_time = prt_auth_time(prt, now)
    return auth_time is not None and (max_age is None or now < auth_time + max_age)
