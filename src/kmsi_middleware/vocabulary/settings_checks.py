"""What the settings must satisfy, each by itself and all together. Every refusal says what would work."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from .addresses import EMBEDDED, is_loopback_host, is_origin, is_shared_issuer, without_password
from .contexts import auth_context
from .effects import SessionStore
from .errors import SettingsError
from .user_flows import place

if TYPE_CHECKING:
    from .settings import Settings

FACTS = (
    "user",
    "groups",
    "roles",
    "guest",
    "home_tenant",
    "sign_in_risk",
    "user_risk",
    "device",
    "country",
    "password_changed_at",
)
_WELL_KNOWN = "/.well-known/openid-configuration"
COOKIE_LIMIT_DAYS = 400  # rfc6265bis 5.5: a browser shortens anything longer

_RANGES = {
    "session_lifetime": (900, 86_400, "seconds"),
    "session_max_age": (1, COOKIE_LIMIT_DAYS, "days"),
    "keep_me_signed_in_days": (0, 90, "days"),
    "clock_skew": (0, 300, "seconds"),
    "sign_in_log_days": (1, 3_650, "days"),
    "http_timeout": (1, 60, "seconds"),
    "background_grace": (0, 86_400, "seconds"),
    "revalidate_every": (300, 86_400, "seconds, or 0 for never"),
    "revocation_lag": (50, 60_000, "milliseconds, or 0 for none"),
}
_OFF = {("revalidate_every", 0), ("revocation_lag", 0)}
_STORES = re.compile(r"memory:|sqlite:.+|rediss?(\+(sentinel|cluster))?://.+")
_ASYMMETRIC = re.compile(r"(RS|PS|ES)(256|384|512)|EdDSA|Ed25519|ES256K")


def check_each(settings: Settings) -> None:
    """What each setting must satisfy by itself."""
    for name, (low, high, unit) in _RANGES.items():
        if not low <= getattr(settings, name) <= high and (name, getattr(settings, name)) not in _OFF:
            raise SettingsError(name, getattr(settings, name), f"give {low:,} to {high:,} {unit}")
    for name, flow in settings.user_flows.items():  # first, because the issuer is one of them
        if flow.authority:
            _issuer(place(name, "authority"), flow.authority)
    if settings.issuer and settings.issuer != EMBEDDED:
        _issuer("issuer", settings.issuer)
    if "openid" not in settings.scope.split():
        raise SettingsError("scope", settings.scope, "it must contain openid, else there is no sign-in")
    for name in settings.id_token_algorithms:
        if not _ASYMMETRIC.fullmatch(name):
            raise SettingsError("id_token_algorithms", name, "give signature algorithms with a public key, as RS256")
    if not settings.id_token_algorithms:
        raise SettingsError("id_token_algorithms", (), "give at least one, as RS256")
    for key in settings.secret_keys:
        if len(key) < 32:
            raise SettingsError(
                "secret_keys",
                f"({len(key)} characters)",
                "each needs 32 or more, as `openssl rand -hex 32` makes",
            )
    if settings.base_url is not None:
        parts = _url("base_url", settings.base_url, example="https://app.example.com")
        if parts.query or parts.fragment or settings.base_url.endswith("/"):
            raise SettingsError(
                "base_url", settings.base_url, "give scheme, host and at most a path, no slash at the end"
            )
    for text in settings.trusted_proxies:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise SettingsError("trusted_proxies", text, "give addresses or networks, as 10.0.0.0/8") from None
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", settings.prefix) or _has_dots(settings.prefix):
        raise SettingsError(
            "prefix", settings.prefix, "give a path of letters and digits, as /.auth, no slash at the end"
        )
    for path in settings.public_paths:
        _pattern("public_paths", path, "exact (/about) or ending in /* (/static/*)")
    for path, context in settings.auth_contexts.items():
        _pattern("auth_contexts", path, "exact (/pay) or ending in /* (/payments/*)")
        if "%" in path:
            raise SettingsError("auth_contexts", path, "write the path decoded, as /café, not /caf%C3%A9")
        try:
            auth_context(context)
        except ValueError:
            raise SettingsError("auth_contexts", context, "give an authentication context, c1 to c99") from None
    for fact in settings.claims_map:
        if fact not in FACTS:
            raise SettingsError("claims_map", fact, f"give one of {', '.join(FACTS)}")
    if settings.password_change_url is not None:
        _url("password_change_url", settings.password_change_url)
    for name in ("websocket_origins", "frame_ancestors"):
        for origin in getattr(settings, name):
            if not is_origin(origin):
                raise SettingsError(name, origin, "give an origin, as https://app.example.com, with no path")
    if not re.fullmatch(r"\S+", settings.user_claim):
        raise SettingsError("user_claim", settings.user_claim, "give a claim's name, as sub or preferred_username")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", settings.cookie_name):
        raise SettingsError("cookie_name", settings.cookie_name, "give 1 to 40 letters, digits, - or _")
    _store(settings.store)
    for name in ("sign_in_signals", "current_risk"):
        hook = getattr(settings, name)
        if hook is not None and not callable(hook):
            raise SettingsError(name, hook, "give a function")


def check_together(settings: Settings) -> None:
    """What the settings must satisfy together, once all sources are merged."""
    _check_user_flows(settings)
    if not settings.issuer:
        raise SettingsError(
            "issuer", "", "name your provider, as https://login.example.com, or embedded for development"
        )
    base = settings.base
    if base is not None and base.scheme != "https" and not is_loopback_host(base.hostname or ""):
        raise SettingsError("base_url", settings.base_url, "outside loopback it must be https")
    if settings.front_channel_logout_cookie and base is not None and base.scheme != "https":
        problem = f"browsers take such a cookie on https only, not on {settings.base_url}: leave it out"
        raise SettingsError("front_channel_logout_cookie", True, problem)
    if settings.embedded:
        if base is not None and not is_loopback_host(base.hostname or ""):
            raise SettingsError(
                "issuer", EMBEDDED, f"the embedded provider is for loopback, not for {settings.base_url}"
            )
        for name in ("client_id", "client_secret"):
            if getattr(settings, name):
                raise SettingsError(name, "(set)", "the embedded provider registers the app by itself: leave it out")
        return
    if settings.idp_config is not None:
        raise SettingsError("idp_config", settings.idp_config, "it goes with issuer=embedded only")
    if not settings.client_id:
        raise SettingsError("client_id", "", f"give the app's client id at {settings.issuer}")
    if not settings.secret_keys:
        raise SettingsError(
            "secret_keys", "()", "give at least one of 32 or more characters, as `openssl rand -hex 32` makes"
        )
    if settings.client_secret is not None and len(settings.client_secret) < 8:
        raise SettingsError(
            "client_secret", "(too short)", "give the secret of the app's registration, 8 characters or more"
        )
    method = settings.token_endpoint_auth_method
    if method in ("client_secret_basic", "client_secret_post") and not settings.client_secret:
        raise SettingsError("token_endpoint_auth_method", method, "it needs client_secret")
    if is_shared_issuer(settings.issuer) and not settings.allowed_tenants:
        raise SettingsError(
            "allowed_tenants", "()", f"{settings.issuer} is for all tenants: list those that may sign in"
        )


def _check_user_flows(settings: Settings) -> None:
    flows = settings.user_flows
    if settings.embedded:
        return
    for name, flow in flows.items():
        if not flow.authority:
            raise SettingsError(place(name, "authority"), None, "every user flow needs it, except with issuer=embedded")
    if flows and settings.issuer != flows[flows.default].authority:
        problem = f"leave it out: with user_flows, sign-ins go to the authority of {flows.default}"
        raise SettingsError("issuer", settings.issuer, problem)


def _store(store: object) -> None:
    problem = "give sqlite:PATH, redis://HOST:6379/0, memory: or a store object"
    if not isinstance(store, str):
        contract = {*vars(SessionStore), *SessionStore.__annotations__}
        missing = sorted(name for name in contract if not name.startswith("_") and not hasattr(store, name))
        if missing:
            raise SettingsError("store", f"({type(store).__name__})", f"{problem}; this has no {', '.join(missing)}")
    elif not _STORES.fullmatch(store):
        raise SettingsError("store", without_password(store), problem)


def _pattern(name: str, path: str, examples: str) -> None:
    if not path.startswith("/") or "*" in path.removesuffix("/*") or "//" in path or _has_dots(path):
        raise SettingsError(name, path, f"give a path from the root, {examples}")
    if "?" in path or "#" in path:
        raise SettingsError(name, path, f"give the path alone, {examples}: a query is not looked at")


def _issuer(name: str, value: str) -> None:
    if re.search("[<>{}]", value.replace("{tenantid}", "")):
        raise SettingsError(name, without_password(value), "put your own in the place of what is in brackets")
    if value.rstrip("/").endswith(_WELL_KNOWN):
        without = without_password(value.rstrip("/").removesuffix(_WELL_KNOWN))
        raise SettingsError(name, without_password(value), f"leave out {_WELL_KNOWN}: {without}")
    parts = _url(name, value)
    if parts.scheme == "http" and not is_loopback_host(parts.hostname or ""):
        raise SettingsError(name, value, "outside loopback it must be https")
    if parts.query or parts.fragment:
        raise SettingsError(name, value, "an issuer has no query and no fragment")


def _url(name: str, value: str, *, example: str = "https://login.example.com") -> SplitResult:
    problem = f"give a whole URL, as {example}"
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise SettingsError(name, without_password(value), problem) from None
    # No user, no password, and nothing that would break out of a Content-Security-Policy.
    if not is_origin(f"{parts.scheme}://{parts.netloc}") or re.search(r"[\s\\]", value):
        raise SettingsError(name, without_password(value), problem)
    return parts


def _has_dots(path: str) -> bool:
    """Whether a browser or server would shorten the path before it is matched (RFC 3986 §5.2.4)."""
    return any(segment in (".", "..") for segment in path.split("/"))
