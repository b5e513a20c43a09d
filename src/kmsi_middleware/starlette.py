"""Authentication contexts for Starlette and FastAPI: routes that need more than a session.

    @require_auth_context("c1")                                   # Starlette, over an endpoint
    async def pay(request): ...

    @app.post("/pay", dependencies=[Depends(auth_context("c1"))])  # FastAPI

Where a policy wants a fresh sign-in, or a second factor, for the context, a person is taken to it and back to the
page; a script gets a 401 (RFC 9470). Paths can be mapped without code, by the setting ``auth_contexts``.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import anyio.from_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .vocabulary import contexts

__all__ = ["auth_context", "require_auth_context"]

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


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
    """Decorates an endpoint, async or not, that takes the request. ``context``: ``c1`` to ``c99``; anything else
    raises ``ValueError``."""
    context = contexts.auth_context(context)

    def decorate(endpoint: Endpoint) -> Endpoint:
        @functools.wraps(endpoint)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            return await _instead(_request_among(args, kwargs), context) or await endpoint(*args, **kwargs)

        @functools.wraps(endpoint)
        def guarded_in_thread(*args: Any, **kwargs: Any) -> Any:  # frameworks run what is not async in one
            request = _request_among(args, kwargs)
            return anyio.from_thread.run(_instead, request, context) or endpoint(*args, **kwargs)

        return cast("Endpoint", guarded if inspect.iscoroutinefunction(endpoint) else guarded_in_thread)

    return decorate


def _request_among(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
    """The request that an endpoint was called with. Frameworks differ in how they pass it."""
    for given in (*args, *kwargs.values()):
        if isinstance(given, Request):
            return given
    raise TypeError("an endpoint with an authentication context takes the request: add `request: Request` to it")


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
