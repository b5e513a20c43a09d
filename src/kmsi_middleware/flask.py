"""Authentication contexts for Flask: views that need more than a session.

    @app.post("/pay")
    @require_auth_context("c1")
    def pay(): ...

Where a policy wants a fresh sign-in, or a second factor, for the context, a person is taken to it and back to the
page; a script gets a 401 (RFC 9470). Paths can be mapped without code, by the setting ``auth_contexts``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import flask

from .vocabulary import contexts

__all__ = ["require_auth_context"]

View = TypeVar("View", bound=Callable[..., Any])


def require_auth_context(context: str) -> Callable[[View], View]:
    """Decorates a view. ``context``: ``c1`` to ``c99``; anything else raises ``ValueError``."""
    context = contexts.auth_context(context)

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            environ = flask.request.environ
            require = environ.get("kmsi.require")
            if require is None:  # signed in, and there are no policies, so nothing more is wanted
                return view(*args, **kwargs)
            answer = require(context)
            if answer is None:
                return view(*args, **kwargs)
            status, headers, body = answer
            return flask.Response(body, status, headers)

        return cast("View", guarded)

    return decorate
