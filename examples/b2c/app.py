"""One app of a tenant of Azure AD B2C: sign-in by its policy, profile editing, password reset, sign-out.

Runs alone, with a tenant for development inside:  uvicorn app:app --app-dir examples/b2c
With yours: put your policy files here, and set KMSI_CLIENT_ID, KMSI_CLIENT_SECRET, KMSI_SECRET_KEYS and KMSI_BASE_URL.
Three apps, the tenant and a provider that it federates with, all on this machine:  python examples/b2c/run.py
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from kmsi_middleware import KMSIMiddleware, b2c

HERE = Path(__file__).parent
POLICY = (HERE / "SignUpOrSignin.xml", HERE / "TrustFrameworkExtensions.xml")
TENANT = "https://contoso.b2clogin.com/contoso.onmicrosoft.com"


def flows(tenant: str = TENANT) -> dict[str, Any]:
    """The policy, as it is uploaded to the tenant, and two user flows that are set in the portal."""
    return {
        **b2c.load(*POLICY, authority=f"{tenant}/B2C_1A_signup_signin/v2.0"),
        "B2C_1_profile": {"authority": f"{tenant}/B2C_1_profile/v2.0", "kind": "profile_editing"},
        "B2C_1_reset": {"authority": f"{tenant}/B2C_1_reset/v2.0", "kind": "password_reset"},
    }


async def home(request: Request) -> Response:
    session = request.scope["kmsi"]
    until = datetime.fromtimestamp(session.expires_at, UTC) if session else None
    shown = {"name": request.app.title, "others": request.app.others}
    return HTMLResponse(PAGE.render(user=request.user, session=session, until=until, **shown))


def make(name: str, others: dict[str, str] | None = None, **settings: Any) -> Starlette:
    """The app, under a name."""
    app = Starlette(routes=[Route("/", home), Route("/about", home)])
    app.title, app.others = name, others or {}  # type: ignore[attr-defined]
    # The policy's pages ask “Keep me signed in”, so the app does not.
    settings = {"user_flows": flows(), "kmsi_asked_by": "idp", "app_name": name, "public_paths": ["/about"]} | settings
    app.add_middleware(KMSIMiddleware, **settings)
    return app


PAGE = Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ name }}</title><link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark }
  body { max-width: 34rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.6 system-ui }
  body { background: Canvas; color: CanvasText }
  dl { display: grid; grid-template-columns: auto 1fr; gap: .25rem 1.25rem; overflow-wrap: anywhere }
  dd { margin: 0 } nav { display: flex; flex-wrap: wrap; gap: .5rem 1.25rem }
  button { padding: .6rem .9rem; font: inherit }
</style>
<main>
<h1>{{ name }}</h1>
{% if session %}<dl>
  <dt>Signed in</dt><dd>{{ user.display_name }}</dd>
  <dt>User flow</dt><dd>{{ session.user_flow }}</dd>
  <dt>Session</dt><dd>{% if session.persistent %}kept{% else %}not kept{% endif %}, until
    {{ until.strftime("%d %B %Y, %H:%M") }} UTC</dd>
</dl>
{% else %}<p>This page is public. <a href="/">Sign in</a></p>
{% endif %}<nav>
  <a href="/.auth/login?user_flow=B2C_1_profile&amp;post_login_redirect_uri=/">Edit your profile</a>
  <a href="/.auth/login?user_flow=B2C_1_reset&amp;post_login_redirect_uri=/">New password</a>
  {% for title, url in others.items() %}<a href="{{ url }}">{{ title }}</a> {% endfor %}
</nav>
{% if session %}<form method="post" action="/.auth/logout"><p><button>Sign out</button></p></form>{% endif %}
</main></html>""")

app = make("Groceries", **({} if os.environ.get("KMSI_CLIENT_ID") else {"issuer": "embedded"}))
