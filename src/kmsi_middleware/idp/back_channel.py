"""Telling apps by back channel that a person is signed out (OpenID Connect Back-Channel Logout 1.0).

1. The tokens are sent after the answer, and over the network. So the app that the provider lives in is told like any
   other: by then its only worker is free again, even a synchronous one (:mod:`.bridge` goes on in a thread of its own).
   It needs to be told: a frame reaches the one browser that signs out, and a logout token all of them.
2. All apps are told at once and within a bounded time. A failure is logged, and stops nothing.
3. Every ``*.localhost`` is this machine (RFC 6761, section 6.3), as for browsers, whatever the resolver says.
4. A token names a session (``sid``) where one session ended, and only the person (``sub``) where all of them did.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio
import httpx

from .provider import Provider
from .site import Site
from .store import SignIn

_SECONDS = 3
_log = logging.getLogger("kmsi_middleware.idp")


class _Network(httpx.AsyncHTTPTransport):
    """Rule 3."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host.endswith(".localhost"):
            request.url = request.url.copy_with(host="localhost")  # the Host header has its name already
        return await super().handle_async_request(request)


async def send_logout_tokens(site: Site, sign_ins: Sequence[SignIn]) -> None:
    """Tells each app that has a back-channel logout URI."""

    async def send(uri: str, sign_in: SignIn, sub: str) -> None:
        token = provider.logout_token(sign_in.client_id, sub, sign_in.sid)
        try:
            answer = await client.post(uri, data={"logout_token": token})
            if answer.status_code not in (200, 204):
                _log.warning("back-channel logout of %s: answered %d", sign_in.client_id, answer.status_code)
        except httpx.HTTPError as error:
            _log.warning("back-channel logout of %s failed: %s", sign_in.client_id, type(error).__name__)

    provider = Provider(site)
    with anyio.move_on_after(_SECONDS) as limit:
        # The address is the developer's own; no proxy of the environment belongs in between.
        client = httpx.AsyncClient(transport=site.backchannel or _Network(), timeout=_SECONDS, trust_env=False)
        async with client, anyio.create_task_group() as tasks:
            for sign_in in sign_ins:
                app, user = site.config.app(sign_in.client_id), site.config.user(sign_in.username)
                if app and user and app.backchannel_logout_uri:
                    tasks.start_soon(send, app.backchannel_logout_uri, sign_in, user.sub)
    if limit.cancelled_caught:
        _log.warning("back-channel logout: gave up after %d seconds", _SECONDS)
