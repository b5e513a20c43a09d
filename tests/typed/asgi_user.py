"""An app as its author's type checker sees it: Starlette and FastAPI. `make lint` checks it; nobody runs it."""

from __future__ import annotations

from typing import Annotated, Any, assert_type

from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from kmsi_middleware import KMSIMiddleware, Session, SessionRequired, Settings, SignInFacts, SignInSignals
from kmsi_middleware.sessions import Sessions
from kmsi_middleware.starlette import auth_context, require_auth_context
from kmsi_middleware.tokens import access_token, access_token_async


def signals(facts: SignInFacts) -> SignInSignals:
    return SignInSignals(risk="high" if facts.client_address == "192.0.2.7" else "none")


# The one line, with settings in every form ------------------------------------------------------------------

api = FastAPI()
api.add_middleware(KMSIMiddleware)
api.add_middleware(KMSIMiddleware, issuer="embedded")
api.add_middleware(
    KMSIMiddleware,
    issuer="https://login.example.com",
    client_id="app",
    secret_keys=["0123456789abcdef0123456789abcdef"],
    public_paths=["/about", "/static/*"],
    auth_contexts={"/payments/*": "c1"},
    policies="policies/",
    protect="none",
    session_lifetime=3_600,
    sign_in_signals=signals,
)
api.add_middleware(KMSIMiddleware, Settings(issuer="embedded", public_paths=["/about"], trusted_proxies="10.0.0.0/8"))
kept: dict[str, Any] = {"issuer": "embedded"}
api.add_middleware(KMSIMiddleware, **kept)
wrapped = KMSIMiddleware(api, issuer="embedded", store="memory:")
listed = Starlette(middleware=[Middleware(KMSIMiddleware, issuer="embedded", protect="none")])

# What a type checker must refuse ----------------------------------------------------------------------------

api.add_middleware(KMSIMiddleware, isuer="embedded")  # type: ignore[call-arg]
api.add_middleware(KMSIMiddleware, session_lifetime="soon")  # type: ignore[arg-type]
Settings(protect="some")  # type: ignore[arg-type]


# The person, their session, and tokens ----------------------------------------------------------------------


@requires("authenticated")
async def home(request: Request) -> Response:
    session: Session | None = request.scope["kmsi"]
    if session is None:
        raise SessionRequired
    request.session["seen"] = True
    return PlainTextResponse(f"{request.user.display_name} {session.name} {await access_token_async(request)}")


@require_auth_context("c1")
async def pay(request: Request) -> Response:
    return PlainTextResponse("paid")


async def calls_pay(request: Request) -> None:
    assert_type(await pay(request), Response)


@api.get("/orders")
@require_auth_context("c1")
def orders(request: Request, page: int = 0) -> dict[str, str]:
    return {"token": access_token(request)}


def calls_orders(request: Request) -> None:
    assert_type(orders(request, page=1), dict[str, str])
    orders(request, page="one")  # type: ignore[arg-type]


@api.post("/pay", dependencies=[Depends(auth_context("c1"))])
async def paying(user: Annotated[str, Depends(access_token_async)]) -> str:
    return user


async def sign_out_elsewhere(request: Request) -> int:
    return await Sessions().revoke_others_async(request.scope["kmsi"])


routes = [Route("/", home), Route("/pay", pay), Route("/elsewhere", sign_out_elsewhere)]
