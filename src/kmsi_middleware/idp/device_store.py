"""What the provider remembers of devices: their primary refresh tokens, and which browser is on which device.

A token belongs to the device's owner of that day: with another owner, or with a clock that went back, it is none.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Literal

from .config import Device
from .primary_refresh_token import PrimaryRefreshToken, prt_refreshed
from .store import Store, digest

Event = Literal["device_sign_in", "lock", "unlock", "native_app_sign_in"]
BROWSER_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class DeviceState:
    """``token`` is ``None`` while nobody has signed in to the device."""

    token: PrimaryRefreshToken | None = None
    locked: bool = False


class DeviceStore:
    """Kept in the provider's one file. ``now`` is in seconds since the epoch."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def state(self, device: Device, now: float) -> DeviceState:
        with self._store.reading() as db:
            row = db.execute(
                "SELECT refreshed_at, mfa, locked FROM devices WHERE id = ? AND owner = ? AND refreshed_at <= ?",
                (device.id, device.owner, now),
            ).fetchone()
        return (
            DeviceState(PrimaryRefreshToken(device.join, row[0], bool(row[1])), bool(row[2])) if row else DeviceState()
        )

    def note(self, device: Device, event: Event, now: float, *, mfa: bool = False) -> DeviceState:
        """What ``event`` makes of the device. ``mfa``: a second factor was shown in it."""
        with self._store.writing() as db:
            state = _after(self.state(device, now), device, event, int(now), mfa)
            if state.token is not None:
                db.execute(
                    "INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?, ?)",
                    (device.id, device.owner, state.token.refreshed_at, state.token.mfa, state.locked),
                )
        return state

    def put_browser(self, device: Device, now: float) -> str:
        """A cookie value for a browser that is on ``device``."""
        cookie = secrets.token_urlsafe(32)
        with self._store.writing() as db:
            db.execute("DELETE FROM device_browsers WHERE expires <= ?", (now,))
            db.execute(
                "INSERT INTO device_browsers VALUES (?, ?, ?)", (digest(cookie), device.id, now + BROWSER_SECONDS)
            )
        return cookie

    def device_of(self, cookie: str, now: float) -> str | None:
        """The id of the device that the browser with this cookie is on."""
        with self._store.reading() as db:
            row = db.execute(
                "SELECT device FROM device_browsers WHERE cookie = ? AND expires > ?", (digest(cookie), now)
            ).fetchone()
        return str(row[0]) if row else None


def _after(state: DeviceState, device: Device, event: Event, now: int, mfa: bool) -> DeviceState:
    token = state.token
    if event == "lock":
        return DeviceState(token, locked=token is not None)
    if token is None:
        first = event == "native_app_sign_in" or (event == "device_sign_in" and device.join != "registered")
        return DeviceState(PrimaryRefreshToken(device.join, now, mfa) if first else None)
    return DeviceState(
        prt_refreshed(token, event, now, mfa=mfa and event != "unlock"),
        locked=state.locked and event == "native_app_sign_in",
    )
