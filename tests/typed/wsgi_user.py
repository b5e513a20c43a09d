"""An app as its author's type checker sees it: Flask, and any other WSGI app. `make lint` checks it; nobody runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import flask

from kmsi_middleware import Session, Settings
from kmsi_middleware.flask import require_auth_context
from kmsi_middleware.tokens import access_token
from kmsi_middleware.wsgi import KMSIMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

app = flask.Flask(__name__)
# Flask's own wsgi_app is a method: mypy wants this comment of whatever is put in its place.
app.wsgi_app = KMSIMiddleware(app.wsgi_app, issuer="embedded")  # type: ignore[method-assign]
with_settings: WSGIApplication = KMSIMiddleware(app, Settings(issuer="embedded", public_paths=["/about"]))
around: WSGIApplication = KMSIMiddleware(with_settings, issuer="embedded", store="memory:", protect="none")
KMSIMiddleware(app, isuer="embedded")  # type: ignore[call-arg]


@app.get("/")
def home() -> str:
    session: Session | None = flask.request.environ["kmsi"]
    flask.request.environ["kmsi.session"]["seen"] = True
    return session.name if session is not None else "nobody"


@app.post("/pay/<int:amount>")
@require_auth_context("c1")
def pay(amount: int) -> dict[str, str]:
    return {"token": access_token(flask.request)}


def calls_pay() -> None:
    assert_type(pay(5), dict[str, str])
    pay("five")  # type: ignore[arg-type]
