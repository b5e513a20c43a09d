"""A relying party for the OpenID Foundation's conformance suite to test. docs/conformance.md tells how.

    KMSI_ISSUER=https://localhost.emobix.co.uk:8443/test/a/kmsi/ SSL_CERT_FILE=suite.pem \\
      uvicorn --factory app:create --app-dir examples/conformance_rp --port 8405

Without KMSI_CLIENT_ID it registers itself at the issuer. What else there is to set, docs/settings.md has.
"""

import os
import secrets

import httpx
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from kmsi_middleware import KMSIMiddleware
from kmsi_middleware.tokens import access_token_async


async def home(request: Request) -> Response:
    """Who has signed in, and what userinfo says (OpenID Connect Core 1.0 §5.3)."""
    token = await access_token_async(request)
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}) as http:
        found = (await http.get(metadata_url(request.user.claims["iss"]))).raise_for_status().json()
        userinfo = (await http.get(found["userinfo_endpoint"])).raise_for_status().json()
    if userinfo.get("sub") != request.user.claims["sub"]:
        return PlainTextResponse("What userinfo says is about somebody else.", 502)
    return HTMLResponse(PAGE.render(user=request.user, claims=request.user.claims | userinfo))


def metadata_url(issuer: str) -> str:
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def register(issuer: str, base_url: str) -> dict[str, str]:
    """OpenID Connect Dynamic Client Registration 1.0 §3. The bundle in SSL_CERT_FILE is trusted."""
    here = f"{base_url}/.auth"
    with httpx.Client() as http:
        found = http.get(metadata_url(issuer)).raise_for_status().json()
        if found["issuer"] != issuer:
            raise SystemExit(f"the metadata of {issuer} is that of {found['issuer']}")
        client = {
            "client_name": "kmsi-middleware",
            "contacts": ["conformance@example.com"],
            "redirect_uris": [f"{here}/callback"],
            "response_types": ["code"],
            "grant_types": ["authorization_code"],
            "token_endpoint_auth_method": "client_secret_basic",
            "post_logout_redirect_uris": [f"{here}/logged-out"],
            "frontchannel_logout_uri": f"{here}/frontchannel-logout",
            "frontchannel_logout_session_required": True,
            "backchannel_logout_uri": f"{here}/backchannel-logout",
            "backchannel_logout_session_required": True,
        }
        if base_url.startswith("https:"):
            client["initiate_login_uri"] = f"{here}/initiate-login"
        made = http.post(found["registration_endpoint"], json=client).raise_for_status().json()
    return {"client_id": made["client_id"], "client_secret": made["client_secret"]}


def create() -> Starlette:
    """The app, as the environment has it."""
    base_url = os.environ.get("KMSI_BASE_URL", "http://localhost:8405")
    settings = {
        "base_url": base_url,
        "secret_keys": secrets.token_hex(32),
        "store": "memory:",
        "id_token_algorithms": "RS256",  # what a client gets that registers no other
        "show_option_to_remain_signed_in": False,  # the suite is nobody who could be asked
    }
    settings = {name: value for name, value in settings.items() if f"KMSI_{name.upper()}" not in os.environ}
    if not os.environ.get("KMSI_CLIENT_ID"):
        settings |= register(os.environ["KMSI_ISSUER"], base_url)
    app = Starlette(routes=[Route("/", home)])
    app.add_middleware(KMSIMiddleware, **settings)
    return app


PAGE = Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Conformance</title><link rel="icon" href="data:,">
<h1>{{ user.display_name }}</h1>
<dl>{% for name, value in claims.items() %}<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>
<form method="post" action="/.auth/logout"><button>Sign out</button></form>
</html>""")
