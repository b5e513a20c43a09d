"""The provider's pages: Jinja2 templates behind a Content-Security-Policy that is made for each page.

Rules:

1. A page loads nothing, and runs no script but the two of rule 3. Its own style sheet is allowed by hash.
2. Chromium applies ``form-action`` to the redirects after a form post as well, so a page whose form ends at
   an app must name that app's origin.
3. One script submits a form_post response, and one leaves the page of a sign-out in time. They are allowed by hash,
   and a button does the same without them.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

_STYLE = re.compile(r"<style[^>]*>(.*?)</style>", re.DOTALL)
_SUBMIT = "document.forms[0].submit()"
_FORM_POST = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Continue to {{ app_name }}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
</head>
<body>
<form method="post" action="{{ action }}">
{% for name, value in hidden %}<input type="hidden" name="{{ name }}" value="{{ value }}">
{% endfor %}<p>You go on to {{ app_name }}.</p>
<p><button type="submit">Continue</button></p>
</form>
<script>{{ submit }}</script>
</body>
</html>
"""


@cache
def _environment() -> Environment:
    return Environment(loader=PackageLoader("kmsi_middleware"), autoescape=True, undefined=StrictUndefined)


def _hashes(texts: Iterable[str]) -> str:
    found = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in dict.fromkeys(texts)
    ]
    return " ".join(found) or "'none'"


def _answer(
    html: str,
    status: int,
    form_action: Sequence[str],
    frames: Sequence[str] = (),
    script: str | None = None,
    referrer: str = "same-origin",
) -> HTMLResponse:
    policy = [
        "default-src 'none'",
        f"style-src {_hashes(_STYLE.findall(html))}",
        "img-src data:",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        f"form-action {' '.join(dict.fromkeys(form_action)) or chr(39) + 'none' + chr(39)}",
    ]
    if frames:
        policy.append(f"frame-src {' '.join(dict.fromkeys(frames))}")
    if script is not None:
        policy.append(f"script-src {_hashes([script])}")
    return HTMLResponse(
        html,
        status,
        {
            "Content-Security-Policy": "; ".join(policy),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            # no-referrer would make browsers send "Origin: null" with the provider's own forms.
            "Referrer-Policy": referrer,
        },
    )


def page(
    template: str,
    context: dict[str, Any],
    *,
    status: int = 200,
    form_action: Sequence[str] = (),
    frames: Sequence[str] = (),
    script: str | None = None,
) -> HTMLResponse:
    """Renders a template. ``form_action`` and ``frames`` are origins (or ``'self'``) for the policy; ``script`` is the
    one that the template has in it."""
    html = _environment().get_template(template).render(context)
    return _answer(html, status, form_action, frames, script)


def go_on(seconds: int) -> Markup:
    """The script by which a page goes to where its button leads, after so many seconds."""
    return Markup(f"setTimeout(() => location.replace(document.querySelector('.actions a').href), {seconds}000)")  # noqa: S704


def error_page(status: int, title: str, message: str, code: str, back: tuple[str, str] | None = None) -> HTMLResponse:
    """A page that says what went wrong, and leads ``back`` to that name and address, or nowhere."""
    context = {"title": title, "message": message, "code": code, "back": back}
    return page("idp_error.html", context, status=status)


def form_post(action: str, hidden: Sequence[tuple[str, str]], app_name: str, origin: str) -> HTMLResponse:
    """An authorization response by form post (OAuth 2.0 Form Post Response Mode)."""
    html = (
        _environment().from_string(_FORM_POST).render(action=action, hidden=hidden, app_name=app_name, submit=_SUBMIT)
    )
    # Apps may want to see in the Origin header who posts to them.
    return _answer(html, 200, [origin], script=_SUBMIT, referrer="origin")
