"""Access tokens for the app's own code, by one function for callers that wait and one for those that await.

1. The app hands over what it has of its request, and finds the middleware that served it there, under ``TOKENS``.
2. What it is told when there is no token to give is noted with the request. If it lets that escape, the shell answers
   as :func:`kmsi_middleware.flows.guard.instead` says: the person is sent to sign in, a script is told why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
import anyio.to_thread

from ..flows import guard, tokens
from ..flows.deployment import Deployment
from ..rules.app_data import AppData
from ..vocabulary.effects import Flow
from ..vocabulary.errors import KMSIError, SessionRequired
from ..vocabulary.messages import Busy, Reply, Request
from .services import Services

TOKENS = "kmsi.tokens"
"""Where in a scope or an environ the request's :class:`TokenAccess` is, and its :class:`AppData`."""

Carrier = MutableMapping[str, Any]
"""A scope or an environ."""


class TokenAccess:
    """One app's access tokens. ``request_of`` reads a request off its carrier; ``blocks`` says that the app runs in
    threads alone, where waiting holds up nobody else."""

    def __init__(
        self,
        deployment: Deployment,
        services: Services,
        clock: Callable[[], float],
        request_of: Callable[[Any], Request],
        *,
        blocks: bool,
    ) -> None:
        self._deployment = deployment
        self._services = services
        self._clock = clock
        self._request_of = request_of
        self._blocks = blocks

    def access_token(self, carrier: Carrier) -> str:
        """See :func:`kmsi_middleware.tokens.access_token`."""
        if not self._blocks and _is_in_event_loop():
            raise RuntimeError("this would hold up the event loop: await access_token_async(request) instead")
        with _noted(carrier):
            return self._services.persist(self._attempt(carrier), self._clock)

    async def access_token_async(self, carrier: Carrier) -> str:
        """See :func:`kmsi_middleware.tokens.access_token_async`."""
        if self._blocks:
            return await anyio.to_thread.run_sync(self.access_token, carrier)
        with _noted(carrier):
            return await self._services.persist_async(self._attempt(carrier), self._clock)

    def _attempt(self, carrier: Carrier) -> Callable[[float, int], Flow[str | Busy]]:
        return partial(tokens.access_token, self._deployment, self._request_of(carrier), carrier.get("kmsi"))

    def instead(self, carrier: Carrier, now: float) -> Flow[Reply | None]:
        """Rule 2, for a request with a failure noted."""
        failure = carrier[TOKENS][1].failure
        return guard.instead(self._deployment, self._request_of(carrier), failure, now)


@contextmanager
def _noted(carrier: Carrier) -> Iterator[None]:
    """Rule 2."""
    try:
        yield
    except KMSIError as error:
        data: AppData = carrier[TOKENS][1]
        data.touched, data.failure = True, error
        raise


def note_failure(data: AppData, error: BaseException | None) -> None:
    """Rule 2, for an error that the app may have raised by itself."""
    if isinstance(error, SessionRequired):
        data.failure = data.failure or error


def _is_in_event_loop() -> bool:
    try:
        anyio.get_cancelled_exc_class()  # whichever event loop it is, it has one
    except RuntimeError:
        return False
    return True
