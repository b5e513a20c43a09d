"""Reading what a browser or a provider sent to a reserved path."""

from __future__ import annotations

from urllib.parse import parse_qsl

from ..vocabulary.effects import Flow, GetProvider
from ..vocabulary.errors import ProtocolError, ProviderUnavailable, Refused
from ..vocabulary.messages import Request

MOST_FIELDS = 64


def query(request: Request) -> dict[str, str]:
    """The query's parameters. Raises :class:`Refused` for one that came twice (RFC 6749 §3.1)."""
    return _single(request.query)


def form(request: Request) -> dict[str, str]:
    """The fields of a posted form, likewise."""
    if request.header("content-type").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Refused("bad_form", "a form is expected here", status=415)
    try:
        return _single(request.body.decode("utf-8"))
    except UnicodeDecodeError:
        raise Refused("bad_form", "the form can't be read") from None


def _single(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise Refused("bad_parameters", "the request's parameters can't be read") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise Refused("parameter_repeated", "a parameter came twice")
        found[name] = value
    return found


def provider_origins(request: Request) -> Flow[tuple[str, ...]]:
    """The origins of the issuer's pages, for a Content-Security-Policy; none if it can't be reached.

    Browsers hold a form's redirects against ``form-action``, so a form that may lead to the issuer names it.
    """
    try:
        provider = yield GetProvider(request.site.issuer)
    except (ProviderUnavailable, ProtocolError):
        return ()
    origins: tuple[str, ...] = provider.origins
    return origins
