"""Authentication contexts for Starlette and FastAPI: routes that need more than a session.

    @require_auth_context("c1")                                   # Starlette, over an endpoint
    async def pay(request): ...

    @app.post("/pay", dependencies=[Depends(auth_context("c1"))])  # FastAPI

Where a policy wants a fresh sign-in, or a second factor, for the context, a person is taken to it and back to the
page; a script gets a 401 (RFC 9470). Paths can be mapped without code, by the setting ``auth_contexts``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .vocabulary import contexts

__all__ = ["auth_context", "require_auth_context"]

Endpoint = Callable[..., Awaitable[Any]]


async def _instead(request: Request, context: str) -> Response | None:
    require = request.scope.get("kmsi.require")
    if require is None:
        return None  # signed in, and there are no policies, so nothing more is wanted
    answer = await require(context)
    if answer is None:
        return None
    status, headers, body = answer
    return Response(body, status, dict(headers))


def require_auth_context(context: str) -> Callable[[Endpoint], Endpoint]:
    """Decorates an async endpoint whose first argument is the request. ``context``: ``c1`` to ``c99``; anything else
    raises ``ValueError``."""
    context = contexts.auth_context(context)

    def decorate(endpoint: Endpoint) -> Endpoint:
        @functools.wraps(endpoint)
        async def guarded(request: Request, *args: Any, **kwargs: Any) -> Any:
            return await _instead(request, context) or await endpoint(request, *args, **kwargs)

        return guarded

    return decorate


def auth_context(context: str) -> Callable[[Request], Awaitable[None]]:
    """A FastAPI dependency. ``context``: ``c1`` to ``c99``; anything else raises ``ValueError``."""
    context = contexts.auth_context(context)

    async def dependency(request: Request) -> None:
        response = await _instead(request, context)
        if response is not None:
            raise _Instead(response)

    return dependency


class _Instead(HTTPException):
    """A dependency can't answer, but it can raise: status and headers say all that a browser or a script needs."""

    def __init__(self, response: Response) -> None:
        headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        super().__init__(response.status_code, detail=_detail(response), headers=headers)


def _detail(response: Response) -> str:
    """What a problem says; of a page or a redirect nothing can be told in short."""
    if "json" in response.headers.get("content-type", ""):
        problem = json.loads(bytes(response.body))
        if isinstance(problem, dict) and isinstance(problem.get("detail"), str):
            return str(problem["detail"])
    return "This page needs more than you have shown."
