"""Users: the developer's page on which an administrator's work is done.

1. The page is there only where the passwords are shown, for whoever uses it can be anybody.
2. Disabling a person, changing the password and revoking the sign-ins each end all that the person is signed in
   with, and tell no app: an app learns of it when it asks, by ``invalid_grant`` for a refresh token and
   ``login_required`` for ``prompt=none``. So does Microsoft Entra.
3. Signing a person out is a sign-out in every browser at once: sessions end, refresh tokens stay, and every
   app is told by back channel, by one logout token for all its sessions of the person. There is no browser for frames.
"""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from . import pages
from .back_channel import send_logout_tokens
from .config import User
from .site import Refused, Site, moment, named, own_form, parameters
from .user_store import UserStore

_DONE = {
    "sign_out": "Signed out in every browser.",
    "revoke": "Sessions and tokens have ended.",
    "disable": "Disabled. Sessions and tokens have ended.",
    "enable": "Enabled.",
    "change_password": "The password is changed. Sessions and tokens have ended.",
}


async def users(site: Site, request: Request) -> Response:
    """GET shows the users, POST does something to one of them."""
    if not site.config.show_passwords:
        raise Refused("not_found", "The identity provider has no such page.", status=404, title="There is nothing here")
    if request.method != "POST":
        return _page(site, parameters(request.url.query))
    values = await own_form(request, site)
    user = site.config.user(values.get("user", ""))
    if user is None:
        raise Refused("unknown_user", "No user of this name is known here.")
    tell = _do(site, user, values)
    said = urlencode([("done", values["event"]), ("user", user.username), *named(values)])
    place = f"{site.path}/users?{said}#user-{site.config.users.index(user) + 1}"
    return RedirectResponse(place, 303, {"Cache-Control": "no-store"}, background=tell)


def _do(site: Site, user: User, values: dict[str, str]) -> BackgroundTask | None:
    store, event = UserStore(site.store), values.get("event")
    if event == "disable":
        store.disable(user)
    elif event == "enable":
        store.enable(user)
    elif event == "revoke":
        store.revoke(user)
    elif event == "sign_out":
        return BackgroundTask(send_logout_tokens, site, store.end_sessions(user))
    elif event == "change_password":
        password = values.get("password", "")
        if user.password is None or not password.strip():
            raise Refused("invalid_request", "A password is a text that is not empty, for somebody who has one.")
        store.change_password(user, password)
    else:
        raise Refused("invalid_request", f"No such thing as “{event}” happens to users.")
    return None


def _page(site: Site, given: dict[str, str]) -> Response:
    """``given``: what was done last, and to whom; and the app that led here."""
    store = UserStore(site.store)
    done = {given.get("user"): _DONE.get(given.get("done", ""))}
    context = {
        "action": f"{site.path}/users",
        "hidden": named(given),
        "back": site.way_back(given),
        "users": [_shown(site, store, user) | {"done": done.get(user.username)} for user in site.config.users],
    }
    return pages.page("idp_users.html", context, form_action=["'self'"])


def _shown(site: Site, store: UserStore, user: User) -> dict[str, object]:
    state = store.state(user)

    def names(client_ids: tuple[str, ...]) -> list[str]:
        return [app.name for client_id in client_ids if (app := site.config.app(client_id))]

    return {
        "username": user.username,
        "name": user.name,
        "password": user.password,
        "disabled": user.disabled,
        "browsers": state.browsers,
        "apps": names(state.apps),
        "refresh_tokens": names(state.refresh_tokens),
        "revoked": moment(state.revoked) if state.revoked is not None else None,
    }
