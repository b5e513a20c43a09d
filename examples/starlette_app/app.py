"""A notebook: sign-in, app data kept with the session, a public page, sign-out.

Runs alone, with the provider for development inside:  uvicorn app:app --app-dir examples/starlette_app
Or with yours: set KMSI_ISSUER, KMSI_CLIENT_ID, KMSI_CLIENT_SECRET, KMSI_SECRET_KEYS and KMSI_BASE_URL.
"""

import os
from datetime import UTC, datetime

from jinja2 import Environment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from kmsi_middleware import KMSIMiddleware, SignInFacts, SignInSignals


async def notebook(request: Request) -> Response:
    return page(request, "Notebook", note=request.session.get("note", ""))


async def write(request: Request) -> Response:
    form = await request.form()
    request.session["note"] = str(form.get("note", ""))[:280]  # kept with the session, on the server
    return RedirectResponse("/", 303)


async def payments(request: Request) -> Response:
    return page(request, "Payments")


async def about(request: Request) -> Response:
    return page(request, "Public page")


def page(request: Request, heading: str, **values: object) -> Response:
    session = request.scope["kmsi"]  # None on a public page, when nobody is signed in
    until = datetime.fromtimestamp(session.expires_at, UTC) if session else None
    known = {"user": request.user, "session": session, "until": until, "other": os.environ.get("OTHER_APP")}
    return HTMLResponse(PAGE.render(heading=heading, **known, **values))


def signals(sign_in: SignInFacts) -> SignInSignals:
    """What your provider knows about a sign-in. With high risk, or on a shared device, nobody is asked to stay."""
    risk = "high" if sign_in.claims.get("risk") == "high" else "none"
    return SignInSignals(risk=risk, shared_device=sign_in.claims.get("shared_device") is True)


PAGE = Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ heading }}{% if heading != "Notebook" %} · Notebook{% endif %}</title><link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark; --page: #f6f3ec; --card: #fff; --line: #ddd8cc; --text: #24211c; --ink: #8a4b14 }
  @media (prefers-color-scheme: dark) {
    :root { --page: #16140f; --card: #211e18; --line: #3d382e; --text: #efebe2; --ink: #e9ae74 } }
  body { margin: 0; padding: 2rem 1rem; background: var(--page); color: var(--text); font: 1rem/1.6 system-ui }
  main { max-width: 34rem; margin: auto; padding: 2rem; background: var(--card); border-radius: 1rem }
  h1 { margin: 0 } a, h1 { color: var(--ink) } nav { display: flex; flex-wrap: wrap; gap: .5rem 1.25rem }
  dl { display: grid; margin: 0; grid-template-columns: auto 1fr; gap: .25rem 1.25rem; overflow-wrap: anywhere }
  dt { opacity: .7 } dd { margin: 0 } nav, dl { padding: 1rem 0; border-top: 1px solid var(--line) }
  textarea, button { box-sizing: border-box; padding: .6rem .9rem; border: 1px solid var(--ink); font: inherit;
    border-radius: .5rem; background: none; color: inherit } textarea { width: 100% } form { margin: 1rem 0 }
  button { cursor: pointer; color: var(--ink) }
  [action="/note"] button { background: var(--ink); color: var(--card) }
</style>
<main>
<h1>{{ heading }}</h1>
{% if heading == "Public page" %}<p>This page is public. Everything else here needs a sign-in.</p>
{% elif heading == "Payments" %}
<p>Payments, {{ user.display_name }}. With the demo’s policies, who is here has just signed in.</p>
{% else %}<form method="post" action="/note">
  <p><label for="note">Hello {{ user.display_name }}. What should this session remember?</label></p>
  <textarea id="note" name="note" rows="3" maxlength="280">{{ note }}</textarea> <button>Keep it</button>
</form>{% endif %}
{% if session %}<dl>
  <dt>Signed in</dt><dd>{{ user.display_name }}</dd>
  <dt>Session</dt><dd>{% if session.persistent %}kept when the browser closes, until{% else
    %}ends when the browser closes, or on{% endif %} {{ until.strftime("%d %B %Y, %H:%M") }} UTC</dd>
  <dt>Decision</dt><dd><code>{{ session.decision }}</code></dd>
</dl>
{% endif %}<nav>
  <a href="/">Notebook</a> <a href="/payments">Payments</a> <a href="/about">Public page</a>
  {% if other %}<a href="{{ other }}">The other app</a>{% endif %}
  {% if session %}<a href="/.auth/sessions">Where you’re signed in</a>{% endif %}
  <a href="/.auth/me">/.auth/me</a>
</nav>
{% if session %}<form method="post" action="/.auth/logout"><button>Sign out</button></form>{% endif %}
</main></html>""")

pages = [Route("/", notebook), Route("/payments", payments), Route("/about", about)]
app = Starlette(routes=[*pages, Route("/note", write, methods=["POST"])])
app.add_middleware(
    KMSIMiddleware,
    issuer=os.environ.get("KMSI_ISSUER", "embedded"),
    app_name="Notebook",
    public_paths=["/about"],
    sign_in_signals=signals,
    auth_contexts={"/payments/*": "c1"},  # for the policies that KMSI_POLICIES names
    step_up="acr_values",
)
