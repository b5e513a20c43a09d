"""Devices: the developer's page on which things happen to them, and the sign-ins that they answer for.

1. The page is there only where the passwords are shown, for whoever uses it acts as the devices' owners.
2. A browser is on a device from "Use this browser on it" until another is chosen. Its sign-ins then tell of the
   device in the ID token, whoever the person is.
3. The device's primary refresh token signs its owner in without a question, with ``auth_time`` at the token's
   renewal; see :mod:`.primary_refresh_token`. The browser's own session counts as well: the newer sign-in wins,
   unless that would lose the second factor while the older one will do.
4. A locked device goes on serving its background requests, so locking alone ends nothing.

Entra ID: Configure authentication session management, "User sign-in frequency and device identities".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast, get_args
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from . import pages
from .config import Device
from .device_store import DeviceState, DeviceStore, Event
from .primary_refresh_token import CYCLE, prt_auth_time, prt_satisfies
from .site import Refused, Site, Visit, moment, named, own_form, parameters

_JOINED = {"joined": "Joined", "hybrid": "Hybrid joined", "registered": "Registered"}
_BUTTONS: tuple[tuple[Event, str], ...] = (
    ("device_sign_in", "Sign in to it"),
    ("lock", "Lock"),
    ("unlock", "Unlock"),
    ("native_app_sign_in", "Sign in to a native app"),
)


async def devices(site: Site, request: Request) -> Response:
    """GET shows the devices, POST does something to one of them."""
    if not (site.config.devices and site.config.show_passwords):
        raise Refused("not_found", "The identity provider has no such page.", status=404, title="There is nothing here")
    visit = Visit(site, request)
    if request.method != "POST":
        return visit.finish(_page(visit, parameters(request.url.query)))
    values = await own_form(request, site)
    event = values.get("event")
    device = site.config.device(values.get("device", ""))
    if event == "leave":
        visit.leave_device()
    elif device is None:
        raise Refused("unknown_device", "No device with this id is known here.")
    elif event == "use":
        visit.use_device(device)
    elif event in get_args(Event):
        mfa = values.get("second_factor") == "yes"
        DeviceStore(site.store).note(device, cast("Event", event), site.clock(), mfa=mfa)
    else:
        raise Refused("invalid_request", f"No such thing as “{event}” happens to devices.")
    asked = urlencode(named(values))
    place = f"{site.path}/devices?{asked}" if asked else f"{site.path}/devices"
    return visit.finish(RedirectResponse(place, 303, {"Cache-Control": "no-store"}))


def sign_in_by_device(visit: Visit, *, login_hint: str | None, max_age: int | None) -> None:
    """Signs the owner of the browser's device in, if the device answers for a sign-in that will do (rule 3)."""
    site, device, session = visit.site, visit.device, visit.session
    if device is None:
        return
    owner = site.config.active(device.owner)
    if owner is None:
        return
    is_owner = visit.user is None or visit.user.username == owner.username
    if not (is_owner if login_hint is None else owner.answers_to(login_hint)):
        return
    now = int(site.clock())
    token = DeviceStore(site.store).state(device, now).token
    if token is None or not prt_satisfies(token, now, max_age=max_age):
        return
    if session is not None and is_owner:
        will_do = max_age is None or now < int(session.auth_time) + max_age
        if token.refreshed_at <= session.auth_time or (will_do and "mfa" in session.amr and not token.mfa):
            return
    visit.sign_in(owner, ("wia", "mfa") if token.mfa else ("wia",), token.refreshed_at)


def _page(visit: Visit, given: Mapping[str, str]) -> Response:
    """``given``: the app that led here."""
    site = visit.site
    now, store = site.clock(), DeviceStore(site.store)
    context = {
        "action": f"{site.path}/devices",
        "now": moment(now),
        "hidden": named(given),
        "back": site.way_back(given),
        "devices": [_shown(visit, device, store.state(device, now), now) for device in site.config.devices],
    }
    return pages.page("idp_devices.html", context, form_action=["'self'"])


def _shown(visit: Visit, device: Device, state: DeviceState, now: float) -> dict[str, object]:
    owner = visit.site.config.user(device.owner)
    token = state.token
    renewable = token is not None and device.join != "registered"
    return {
        "id": device.id,
        "here": visit.device == device,
        "name": device.name,
        "kind": f"{_JOINED[device.join]}, {device.operating_system}, {device.compliance}",
        "owner": owner.name if owner else device.owner,
        "locked": state.locked,
        "second_factor": token is not None and token.mfa,
        "renewed": moment(token.refreshed_at) if token else None,
        "expired": token is not None and prt_auth_time(token, int(now)) is None,
        "renewable_from": moment(token.refreshed_at + CYCLE) if token and renewable else None,
        "events": [
            (name, words)
            for name, words in _BUTTONS
            if name not in ("lock", "unlock") or (token and (name == "unlock") == state.locked)
        ],
    }
