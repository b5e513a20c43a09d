"""A tea counter with one page: sign-in, app data kept with the session, a public page, sign-out.

Runs alone, with the provider for development inside:  flask --app examples/flask_app/app.py run --port 8402
Or with yours: set KMSI_ISSUER, KMSI_CLIENT_ID, KMSI_CLIENT_SECRET, KMSI_SECRET_KEYS and KMSI_BASE_URL.
"""

import os
from datetime import UTC, datetime

from flask import Flask, redirect, render_template_string, request

from kmsi_middleware import SignInFacts, SignInSignals
from kmsi_middleware.wsgi import KMSIMiddleware

app = Flask(__name__)


@app.get("/")
def counter():
    return page(cups=request.environ["kmsi.session"].get("cups", 0))


@app.post("/cup")
def drink():
    data = request.environ["kmsi.session"]  # kept with the session, on the server
    data["cups"] = data.get("cups", 0) + 1
    return redirect("/")


@app.get("/about")
def about():
    return page(public=True)


def page(**values: object) -> str:
    session = request.environ["kmsi"]  # None on a public page, when nobody is signed in
    until = datetime.fromtimestamp(session.expires_at, UTC) if session else None
    return render_template_string(PAGE, session=session, until=until, other=os.environ.get("OTHER_APP"), **values)


def signals(sign_in: SignInFacts) -> SignInSignals:
    """What your provider knows about a sign-in. With high risk, or on a shared device, nobody is asked to stay."""
    risk = "high" if sign_in.claims.get("risk") == "high" else "none"
    return SignInSignals(risk=risk, shared_device=sign_in.claims.get("shared_device") is True)


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tea counter</title><link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark; --page: #edf3ee; --card: #fff; --line: #d2dcd4; --text: #1b231d; --ink: #1f6b3f }
  @media (prefers-color-scheme: dark) {
    :root { --page: #0f1511; --card: #1a221c; --line: #344037; --text: #e8efe9; --ink: #84d3a3 } }
  body { margin: 0; padding: 2rem 1rem; background: var(--page); color: var(--text); font: 1rem/1.6 system-ui }
  main { max-width: 34rem; margin: auto; padding: 2rem; background: var(--card); border-radius: 1rem }
  h1 { margin: 0 } a, h1 { color: var(--ink) } nav { display: flex; flex-wrap: wrap; gap: .5rem 1.25rem }
  dl { display: grid; margin: 0; grid-template-columns: auto 1fr; gap: .25rem 1.25rem; overflow-wrap: anywhere }
  dt { opacity: .7 } dd { margin: 0 } nav, dl { padding: 1rem 0; border-top: 1px solid var(--line) }
  button { padding: .6rem .9rem; border: 1px solid var(--ink); border-radius: .5rem; background: none;
    color: var(--ink); font: inherit; cursor: pointer } form { margin: 1rem 0 }
  [action="/cup"] button { background: var(--ink); color: var(--card) }
</style>
<main>
<h1>Tea counter</h1>
{% if public %}<p>This page is public. Everything else here needs a sign-in.</p>
{% else %}<form method="post" action="/cup">
  <p>Hello {{ session.name }}. Cups of tea in this session: <strong>{{ cups }}</strong></p>
  <button>One more cup</button>
</form>{% endif %}
{% if session %}<dl>
  <dt>Signed in</dt><dd>{{ session.name }}</dd>
  <dt>Session</dt><dd>{% if session.persistent %}kept when the browser closes, until{% else
    %}ends when the browser closes, or on{% endif %} {{ until.strftime("%d %B %Y, %H:%M") }} UTC</dd>
  <dt>Decision</dt><dd><code>{{ session.decision }}</code></dd>
</dl>
{% endif %}<nav>
  {% if public %}<a href="/">Tea counter</a>{% else %}<a href="/about">Public page</a>{% endif %}
  {% if other %}<a href="{{ other }}">The other app</a>{% endif %}
  {% if session %}<a href="/.auth/sessions">Where you’re signed in</a>{% endif %}
  <a href="/.auth/me">/.auth/me</a>
</nav>
{% if session %}<form method="post" action="/.auth/logout"><button>Sign out</button></form>{% endif %}
</main></html>"""

app.wsgi_app = KMSIMiddleware(
    app.wsgi_app,
    issuer=os.environ.get("KMSI_ISSUER", "embedded"),
    app_name="Tea counter",
    public_paths=["/about"],
    sign_in_signals=signals,
)
