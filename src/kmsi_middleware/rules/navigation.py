"""Who gets redirected to the identity provider, and what everybody else is told.

Only a top-level navigation by GET can take a person through a sign-in and back. A script's request that is
redirected ends in a CORS error, a posted form would be lost, a prefetch would start a sign-in that nobody asked
for. Browsers say what they do in ``Sec-Fetch-*`` (Fetch Metadata); where they don't, ``X-Requested-With``
and ``Accept`` tell enough.
"""

from __future__ import annotations

from enum import Enum

from ..vocabulary.messages import Request


class Kind(Enum):
    """What a request without a session gets."""

    NAVIGATION = "sent to the identity provider"
    PREFLIGHT = "passed to the app, anonymous"
    HTMX = "401 with HX-Redirect"
    PAGE = "401 as a page that says the session ended"
    SCRIPT = "401 as application/problem+json"


# The standard's, Safari's, Firefox's and Turbo's.
_PURPOSES = ("sec-purpose", "purpose", "x-moz", "x-sec-purpose")


def is_prefetch(request: Request) -> bool:
    """A prefetch or prerender: the person has not gone there (yet)."""
    purpose = " ".join(map(request.header, _PURPOSES)).lower()
    return "prefetch" in purpose or "prerender" in purpose


def is_preflight(request: Request) -> bool:
    """A CORS preflight (Fetch §4.8): carries no cookies by design."""
    return (
        request.method == "OPTIONS"
        and "origin" in request.headers
        and "access-control-request-method" in request.headers
    )


def kind_of(request: Request) -> Kind:
    """What this request gets when it has no session."""
    if is_preflight(request):
        return Kind.PREFLIGHT
    if request.header("hx-request").lower() == "true":
        return Kind.HTMX
    wants_html = "text/html" in request.header("accept").lower()
    mode = request.header("sec-fetch-mode").lower()
    # Android's WebView sends its app's name in X-Requested-With, with navigations too.
    if is_prefetch(request) or ("x-requested-with" in request.headers and mode != "navigate"):
        return Kind.SCRIPT
    if mode:
        if mode != "navigate":
            # Turbo and its kind fetch pages by script and show what they get.
            return Kind.PAGE if wants_html else Kind.SCRIPT
        if request.method == "GET" and request.header("sec-fetch-dest").lower() in ("document", ""):
            return Kind.NAVIGATION
        return Kind.PAGE if request.method != "HEAD" else Kind.SCRIPT
    if not wants_html or request.method == "HEAD":
        return Kind.SCRIPT
    return Kind.NAVIGATION if request.method == "GET" and not _is_turbo(request) else Kind.PAGE


def _is_turbo(request: Request) -> bool:
    return "turbo-frame" in request.headers or "vnd.turbo-stream" in request.header("accept").lower()


def is_sent_form(request: Request) -> bool:
    """A form that a person sent from a page: reloaded, what it leads to sends it once more."""
    return (
        request.method == "POST"
        and kind_of(request) is Kind.PAGE
        and request.header("sec-fetch-dest").lower() in ("document", "")
        and not _is_turbo(request)
    )


def is_plain_navigation(request: Request) -> bool:
    """A person's own click or form within this very origin: enough to sign out by GET."""
    return (
        request.method == "GET"
        and request.header("sec-fetch-mode").lower() == "navigate"
        and request.header("sec-fetch-site").lower() == "same-origin"
        and request.header("sec-fetch-dest").lower() in ("document", "")
        and not is_prefetch(request)
    )


def is_from_this_origin(request: Request) -> bool:
    """Whether a POST comes from a page of this origin, as far as the browser says so itself.

    Every browser in use sends ``Origin`` with a POST; ``null`` is not ours. ``Sec-Fetch-Site`` must not
    contradict it. A request with neither did not come from a page.
    """
    origin, fetch_site = request.header("origin"), request.header("sec-fetch-site").lower()
    if fetch_site not in ("", "same-origin"):
        return False
    if origin:
        return origin.lower() == request.site.origin.lower()
    return fetch_site == "same-origin"
