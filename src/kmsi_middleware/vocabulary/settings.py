"""The settings: one table of what can be set, checked before anything runs.

1. Each field carries its own documentation (unit, effect, where it comes from); ``docs/settings.md`` shows it.
2. Precedence: keyword, then :class:`Settings` object, then environment (``KMSI_`` and the name in capitals).
3. An unknown or impossible setting stops the start-up and says what would work.
4. A secret is in no message and no ``repr``.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Set
from dataclasses import Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Unpack
from urllib.parse import SplitResult, urlsplit

from .addresses import EMBEDDED, as_browsers_say, without_password
from .errors import SettingsError
from .session import Session
from .settings_checks import check_each, check_together
from .signals import SignInFacts, SignInSignals
from .user_flows import UserFlows, read_user_flows

if TYPE_CHECKING:
    from .settings_keywords import SettingsKeywords

ENVIRONMENT_PREFIX = "KMSI_"
DAY = 86_400

SignInSignalsHook = Callable[
    [SignInFacts],
    SignInSignals | Mapping[str, Any] | Awaitable[SignInSignals | Mapping[str, Any] | None] | None,
]

CurrentRiskHook = Callable[[Session], SignInSignals | Mapping[str, Any] | None]


class Texts(dict[str, str]):
    """A mapping of texts that is never changed, so that it can be a default."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self.items()))


def _setting(
    default: Any,
    *,
    unit: str,
    effect: str,
    source: str,
    environment: bool = True,
    secret: bool = False,
    shown: bool = True,
    read: Callable[[Any], Any] | None = None,
) -> Any:
    """``secret``: in no message. ``shown``: in a ``repr``; what may hold a password is not."""
    told = {"unit": unit, "effect": effect, "source": source, "environment": environment, "secret": secret}
    return field(
        default=Texts() if default == {} and read is None else default,
        repr=shown and not secret,
        metadata=told | {"read": read},
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set. Durations say their unit in the table; see ``docs/settings.md``.

    Raises :class:`~kmsi_middleware.errors.SettingsError` for a value that can't work.
    """

    issuer: str = _setting(
        "",
        unit="URL, or `embedded`",
        effect="The OpenID provider that signs people in. `embedded` serves a provider for development "
        "from the app itself, on loopback only. Required, except with `user_flows`.",
        source="OpenID Connect Discovery 1.0 §3",
    )
    client_id: str = _setting(
        "",
        unit="text",
        effect="The app's registration at the issuer. Required, except with `embedded`.",
        source="OpenID Connect Core 1.0 §3.1.2.1",
    )
    client_secret: str | None = _setting(
        None,
        unit="text",
        effect="The registration's secret. Without one the app is a public client and relies on PKCE.",
        source="OpenID Connect Core 1.0 §9",
        secret=True,
    )
    token_endpoint_auth_method: Literal["auto", "client_secret_basic", "client_secret_post", "none"] = _setting(
        "auto",
        unit="name",
        effect="How the app proves itself at the token endpoint. `auto`: `none` without a secret, else "
        "`client_secret_basic`, or `client_secret_post` where the issuer offers only that.",
        source="OpenID Connect Core 1.0 §9",
    )
    scope: str = _setting(
        "openid profile email",
        unit="names, separated by spaces",
        effect="What is asked for at sign-in. Must contain `openid`; `offline_access` asks for a refresh token.",
        source="OpenID Connect Core 1.0 §3.1.2.1",
    )
    response_mode: Literal["query", "form_post"] = _setting(
        "query",
        unit="name",
        effect="How the issuer is asked to send the answer back: `query`, in the address, or `form_post`, as a form. "
        "Both are always accepted.",
        source="OAuth 2.0 Form Post Response Mode 1.0",
    )
    id_token_algorithms: tuple[str, ...] = _setting(
        ("RS256", "PS256", "ES256", "EdDSA", "RS384", "RS512", "PS384", "PS512", "ES384", "ES512"),
        unit="list of names",
        effect="Signature algorithms that an ID token or a logout token may have. `none` and HMAC are never accepted.",
        source="ASVS 9.1.2; OpenID Connect Core 1.0 §3.1.3.7",
    )
    require_logout_token_type: bool = _setting(
        False,
        unit="true or false",
        effect="Whether a back-channel logout token must have the type `logout+jwt`. Many providers send `JWT`, or no "
        "type; without it a token is told from an ID token by its event and by having no nonce.",
        source="OpenID Connect Back-Channel Logout 1.0 §2.4; ASVS 10.5.5",
    )
    allowed_tenants: tuple[str, ...] = _setting(
        (),
        unit="list of tenant ids",
        effect="Which Entra tenants may sign in where the issuer names none (`common`, `organizations`): "
        "required there. `*` lets every tenant in.",
        source="Microsoft identity platform: `{tenantid}` issuers",
    )
    secret_keys: tuple[str, ...] = _setting(
        (),
        unit="list of texts, newest last",
        effect="Keys that seal what the browser carries during a sign-in. The newest seals, all of them open, "
        "so a key is rotated by appending one and dropping the oldest a day later. At least 32 characters "
        "each. Required, except with `embedded`, where one is made, and kept beside an SQLite store.",
        source="ASVS 9.1.1",
        secret=True,
    )
    base_url: str | None = _setting(
        None,
        unit="URL",
        effect="Where the app is reached from outside: scheme, host, port, and a path if a proxy strips one. "
        "https, except on loopback. Required outside loopback; scheme, host and cookie names come from it alone.",
        source="RFC 9700 §4.1",
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (),
        unit="list of addresses and networks",
        effect="Proxies whose `X-Forwarded-For` is believed for the client's address (the rightmost untrusted "
        "one). Nothing else is taken from forwarding headers.",
        source="RFC 7239 §8.1",
    )
    prefix: str = _setting(
        "/.auth",
        unit="path",
        effect="Where the reserved paths live: `login`, `logout`, `callback`, `me` and the others.",
        source="App Service authentication's spelling",
    )
    protect: Literal["all", "none"] = _setting(
        "all",
        unit="name",
        effect="`all`: every path needs a session, except `public_paths`. `none`: the app's own `@requires` decides. "
        "Where it turns away who is not signed in, by 403, or 401 without `WWW-Authenticate`, a navigation is sent to "
        "sign in, and a script gets the 401 that it gets everywhere. Its own words stay for a posted form, and for a "
        "request with `Authorization`.",
        source="",
    )
    public_paths: tuple[str, ...] = _setting(
        (),
        unit="list of paths",
        effect="Paths that need no session: exact, or ending in `/*` for everything below. Matched decoded and "
        "below the app's root path; a path that normalises differently is protected.",
        source="ASVS 7.2.1",
    )
    websocket_origins: tuple[str, ...] = _setting(
        (),
        unit="list of origins",
        effect="Other origins whose pages may open WebSockets to the app.",
        source="RFC 6455 §10.2",
    )
    store: Any = _setting(
        "sqlite:.kmsi/sessions.sqlite3",
        unit="`sqlite:PATH`, `redis://HOST:6379/0`, `memory:`, or a store object",
        effect="Where sessions are kept. SQLite serves all processes of one machine, Redis or Valkey those of many "
        "(extra `redis`); memory is for tests and one process.",
        source="",
        shown=False,
    )
    revocation_lag: int = _setting(
        0,
        unit="milliseconds, 50 to 60,000; 0 is strict",
        effect="Only for one Redis or Valkey server, or one that Sentinels watch: for how long after a revocation was "
        "answered another process may still let a request pass. Within it, requests are answered from memory. 0: "
        "the server is asked before any request passes (under ASGI with one question for all that wait).",
        source="",
    )
    session_lifetime: int = _setting(
        86_400,
        unit="seconds, 900 to 86,400",
        effect="How long a session that is not kept (answer No, or not asked) is good.",
        source="Azure AD B2C: Web app session lifetime; 24 hours as in Entra ID",
    )
    session_expiry: Literal["rolling", "absolute"] = _setting(
        "rolling",
        unit="name",
        effect="`rolling`: activity extends the session. `absolute`: it ends at a fixed time after the sign-in.",
        source="Azure AD B2C: Web app session timeout",
    )
    session_max_age: int = _setting(
        90,
        unit="days, 1 to 400",
        effect="After how many days since the sign-in even a rolling session ends.",
        source="Entra ID: the default sign-in frequency of 90 days",
    )
    keep_me_signed_in_days: int = _setting(
        30,
        unit="days, 1 to 90; 0 is off",
        effect="How long a session is good after the answer Yes to “Stay signed in?”. With 0 nobody is asked.",
        source="Azure AD B2C: Keep me signed in session (days)",
    )
    show_option_to_remain_signed_in: bool = _setting(
        True,
        unit="true or false",
        effect="Whether “Stay signed in?” is asked at all. It does not touch sessions that were kept before.",
        source="Entra ID: Show option to remain signed in",
    )
    inherit_keep_me_signed_in: bool = _setting(
        True,
        unit="true or false",
        effect="Whether a Yes that was given at the issuer (Entra's `signin_state` with `kmsi`, AD FS's `psso`) "
        "counts as the answer Yes here.",
        source="Entra ID, “Configure authentication session management”: persistent sessions of AD FS are complied "
        "with",
    )
    kmsi_asked_by: Literal["app", "idp"] = _setting(
        "app",
        unit="name",
        effect="Who asks “Stay signed in?”: this app (`app`), or the issuer on its own page (`idp`), whose tokens do "
        "not tell the answer. With `idp` the session here is never persistent, and renewed silently while the "
        "issuer's lasts.",
        source="Azure AD B2C: Enable Keep me signed in",
    )
    user_flows: UserFlows = _setting(
        UserFlows(),
        unit="mapping of names to properties; a text: JSON",
        effect="Azure AD B2C's user flows or policies, each with its own authority and session behavior: see below. "
        "The first that signs in is the one that sign-ins go through; `/.auth/login?user_flow=…` names another.",
        source="Azure AD B2C, “Configure session behavior”: user flows",
        read=read_user_flows,
    )
    sign_in_signals: SignInSignalsHook | None = _setting(
        None,
        unit="function, sync or async",
        effect="Says what the ID token doesn't: risk, shared device, guest, silent, consent. Async only under ASGI.",
        source="Entra ID, “Manage the ‘Stay signed in?’ prompt”: the logic that hides the prompt",
        environment=False,
    )
    clock_skew: int = _setting(
        60,
        unit="seconds, 0 to 300",
        effect="By how much the issuer's clock may differ from ours.",
        source="OpenID Connect Core 1.0 §3.1.3.7",
    )
    user_claim: str = _setting(
        "sub",
        unit="claim name",
        effect="Which claim the app sees as the user's identity (`request.user.identity`, `REMOTE_USER`). "
        "Only `sub` is sure never to be given to somebody else.",
        source="ASVS 10.5.2",
    )
    cookie_name: str = _setting(
        "kmsi",
        unit="letters, digits, `-` and `_`",
        effect="The middle of the cookies' names; `__Host-` goes before it on https, the port after it on loopback.",
        source="rfc6265bis §4.1.3.2",
    )
    app_name: str = _setting(
        "this app",
        unit="text",
        effect="What our pages call the app.",
        source="",
    )
    templates: str | None = _setting(
        None,
        unit="folder",
        effect="Where templates lie that replace our pages, one by one, by name.",
        source="",
    )
    frame_ancestors: tuple[str, ...] = _setting(
        (),
        unit="list of origins",
        effect="Who else, beside the issuer's own origins, may frame the front-channel logout.",
        source="OpenID Connect Front-Channel Logout 1.0 §2",
    )
    front_channel_logout_cookie: bool = _setting(
        False,
        unit="true or false",
        effect="For issuers whose front-channel logout names no session (`sid`), as Azure AD B2C's: a second cookie, "
        "SameSite=None, that can end its session and nothing else. https only. Where browsers send it, any site can "
        "sign people out by a frame; where third-party cookies are blocked, it does nothing.",
        source="OpenID Connect Front-Channel Logout 1.0 §2: `sid` is optional",
    )
    sign_in_log_days: int = _setting(
        30,
        unit="days, 1 to 3,650",
        effect="How long sign-in records are kept: on disk beside an SQLite store; with any other store the last "
        "10,000 in the memory of each process. All of them are on the logger `kmsi_middleware.sign_ins`.",
        source="Entra ID: sign-in logs are kept for 30 days",
    )
    policies: Any = _setting(
        None,
        unit="file, folder, or list",
        effect="Conditional Access policies and named locations, in Microsoft Graph's JSON. Files are read again when "
        "they change.",
        source="Entra ID, “Configure authentication session management”; Microsoft Graph `conditionalAccessPolicy`",
    )
    claims_map: Mapping[str, str] = _setting(
        {},
        unit="fact=claim, separated by spaces",
        effect="Which claim tells what a policy asks for, where it is not the usual one: `user`, `groups`, `roles`, "
        "`guest`, `home_tenant`, `sign_in_risk`, `user_risk`, `device`, `country`, `password_changed_at`.",
        source="Entra ID: optional claims",
    )
    auth_contexts: Mapping[str, str] = _setting(
        {},
        unit="path=context, separated by spaces",
        effect="Which paths need an authentication context that policies speak of: exact, or ending in `/*`, as "
        "`/payments/*=c1`.",
        source="Entra ID: authentication contexts c1 to c99",
    )
    step_up: Literal["max_age", "acr_values", "claims"] = _setting(
        "max_age",
        unit="name",
        effect="How the issuer is asked for what an authentication context needs: a fresh sign-in (`max_age`), the "
        "context in `acr_values`, or in `claims` (`acrs`, as Entra ID has it). The last two are checked in the answer.",
        source="RFC 9470; OpenID Connect Core 1.0 §5.5",
    )
    missing_auth_time: Literal["refuse", "trust_sign_in"] = _setting(
        "refuse",
        unit="name",
        effect="What a sign-in frequency makes of an issuer that does not say when the person signed in. `refuse`: "
        "nobody gets in. `trust_sign_in`: the sign-in at this app counts.",
        source="OpenID Connect Core 1.0 §2: `auth_time`",
    )
    background_grace: int = _setting(
        7_200,
        unit="seconds, 0 to 86,400",
        effect="For how long requests in the background go on after a sign-in, or the issuer's word, fell due, if the "
        "person does nothing.",
        source="Entra ID, “Configure authentication session management”: example 2",
    )
    revalidate_every: int = _setting(
        0,
        unit="seconds, 300 to 86,400; 0 is off",
        effect="How often the issuer is asked whether a session still stands: with the refresh token where there is "
        "one, else by taking the browser there and back.",
        source="Entra ID, “Configure authentication session management”: any violation of IT policies revokes the "
        "session",
    )
    current_risk: CurrentRiskHook | None = _setting(
        None,
        unit="function, quick and not async",
        effect="Says how risky a session is now; asked with every request, where a policy speaks of risk.",
        source="Entra ID: continuous access evaluation",
        environment=False,
    )
    password_change_url: str | None = _setting(
        None,
        unit="URL",
        effect="Where a person who is told by a policy to change the password can do it: our page links to it.",
        source="Entra ID, “Configure authentication session management”: policy 3",
    )
    country_database: str | None = _setting(
        None,
        unit="file",
        effect="A MaxMind database that tells the country of an address. Needs the extra `geo`.",
        source="Microsoft Graph `countryNamedLocation`",
    )
    http_timeout: int = _setting(
        10,
        unit="seconds, 1 to 60",
        effect="How long we wait for the issuer's answer.",
        source="",
    )
    idp_config: str | None = _setting(
        None,
        unit="file",
        effect="Users and apps of the embedded provider, as TOML. Only with `issuer=embedded`.",
        source="",
    )

    if TYPE_CHECKING:  # a field's type is what it is kept as; it may be given as more than that

        def __init__(self, **given: Unpack[SettingsKeywords]) -> None: ...

    def __new__(cls, **given: object) -> Settings:
        _refuse_unknown(given, {item.name for item in fields(cls)})
        self = object.__new__(cls)
        object.__setattr__(self, "_given", frozenset(given))
        return self

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.name in self._given:  # type: ignore[attr-defined]
                object.__setattr__(self, item.name, _coerced(item, getattr(self, item.name)))
        if self.user_flows and not self.issuer:
            object.__setattr__(self, "issuer", self.user_flows[self.user_flows.default].authority)
        check_each(self)
        if self.base_url is not None:
            object.__setattr__(self, "base_url", as_browsers_say(self.base_url))
        for name in ("websocket_origins", "frame_ancestors"):
            object.__setattr__(self, name, tuple(as_browsers_say(origin) for origin in getattr(self, name)))

    @classmethod
    def resolve(
        cls,
        keywords: Mapping[str, Any],
        settings: Settings | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        only: Collection[str] | None = None,
    ) -> Settings:
        """Merge the three sources and check that the whole can work.

        ``only``: for who needs no more than these settings; the others are their defaults, and no app has to work.

        Raises :class:`SettingsError` naming the setting, its value and what would work.
        """
        if settings is not None and not isinstance(settings, Settings):
            problem = "give a Settings object; a mapping goes as keywords: KMSIMiddleware(app, **settings)"
            raise SettingsError("settings", f"({type(settings).__name__})", problem)
        known = {item.name: item for item in fields(cls)}
        _refuse_unknown(keywords, known)
        merged: dict[str, Any] = {}
        for variable, text in (environment or {}).items():
            if variable.startswith(ENVIRONMENT_PREFIX):
                name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
                if only is not None and name not in only:
                    continue
                if name not in known:
                    near = _nearest(name, [n for n in known if known[n].metadata["environment"]], ENVIRONMENT_PREFIX)
                    raise SettingsError(variable, _shown(name, text), f"there is no such setting{near}")
                if not known[name].metadata["environment"]:
                    raise SettingsError(variable, text, f"give {name} in Python, the environment can't hold it")
                merged[name] = text
        if settings is not None:
            given: Collection[str] = settings._given  # type: ignore[attr-defined]
            merged |= {name: getattr(settings, name) for name in given if only is None or name in only}
        whole = cls(**{**merged, **keywords})
        if only is None:
            check_together(whole)
        return whole

    def through(self, user_flow: str) -> Settings:
        """The settings as a user flow has them: what it says of its sessions goes before what the app says."""
        flow = self.user_flows[user_flow]
        minutes, days = flow.session_lifetime_minutes, flow.keep_me_signed_in_days
        return replace(
            self,
            session_lifetime=self.session_lifetime if minutes is None else minutes * 60,
            session_expiry=flow.session_expiry or self.session_expiry,
            keep_me_signed_in_days=0 if flow.keeps_nobody else self.keep_me_signed_in_days if days is None else days,
        )

    @property
    def embedded(self) -> bool:
        """Whether the development provider inside the app does the sign-ins."""
        return self.issuer == EMBEDDED

    @property
    def base(self) -> SplitResult | None:
        """``base_url``, split."""
        return urlsplit(self.base_url) if self.base_url else None


def described() -> tuple[Field[Any], ...]:
    """Every setting with its documentation in ``metadata``, in the order of the table."""
    return fields(Settings)


def environment_name(item: Field[Any]) -> str | None:
    """How a setting is spelled in the environment; ``None`` where a text can't say it."""
    return ENVIRONMENT_PREFIX + item.name.upper() if item.metadata["environment"] else None


def default_text(item: Field[Any]) -> str:
    """A setting's default as one would write it in the environment; empty for none."""
    if item.default is None:
        return ""
    if isinstance(item.default, tuple):
        return " ".join(item.default)
    if isinstance(item.default, Mapping):
        return " ".join(f"{name}={value}" for name, value in item.default.items())
    return str(item.default).lower() if isinstance(item.default, bool) else str(item.default)


def _mapping(item: Field[Any], value: Any) -> Mapping[str, str]:
    problem = f"give a mapping of texts, or a text ({item.metadata['unit']})"
    if isinstance(value, str):
        pairs = [part.partition("=") for part in re.split(r"[\s,]+", value) if part]
        if not all(name and equals and content for name, equals, content in pairs):
            raise SettingsError(item.name, value, problem)
        value = {name: content for name, _, content in pairs}
    if not isinstance(value, Mapping) or not all(isinstance(part, str) for pair in value.items() for part in pair):
        raise SettingsError(item.name, value, problem)
    return Texts(value)


_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def _coerced(item: Field[Any], value: Any) -> Any:
    """One value in the type of its field, from Python or from the environment's text."""
    kind = str(item.type)
    if item.metadata["read"] is not None:
        return item.metadata["read"](value)
    if kind.startswith("tuple"):
        if isinstance(value, str):
            return tuple(part for part in re.split(r"[\s,]+", value) if part)
        if isinstance(value, Iterable) and not isinstance(value, (Set, Mapping)):  # order matters
            parts = tuple(value)
            if all(isinstance(part, str) for part in parts):
                return parts
        raise SettingsError(item.name, _shown(item.name, value), "give a list of texts")
    if kind.startswith("Mapping"):
        return _mapping(item, value)
    if kind == "int":
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value.strip()):
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise SettingsError(item.name, value, f"give a whole number ({item.metadata['unit']})")
    if kind == "bool":
        if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
            return value.strip().lower() in _TRUE
        if isinstance(value, bool):
            return value
        raise SettingsError(item.name, value, "give true or false")
    if kind.startswith(("str", "Literal")):
        if value is None and "None" in kind:
            return None
        if not isinstance(value, str):
            raise SettingsError(item.name, _shown(item.name, value), f"give a text ({item.metadata['unit']})")
        choices = re.findall(r"'([^']+)'", kind.replace('"', "'"))
        if choices and value not in choices:
            raise SettingsError(item.name, value, f"give one of {', '.join(choices)}")
    return value


def _shown(name: str, value: object) -> object:
    """``value`` as a message may show it: nothing of what is, or by its name was meant to be, a secret."""
    secret = {item.name: item.metadata["secret"] for item in fields(Settings)}
    meant = name.lower()
    if secret.get(meant, re.search("secret|key|passw", meant) or _close(meant, [n for n in secret if secret[n]])):
        return "(not shown)"
    return without_password(value) if isinstance(value, str) else value


def _refuse_unknown(given: Mapping[str, object], known: Collection[str]) -> None:
    for name, value in given.items():
        if name not in known:
            raise SettingsError(name, _shown(name, value), f"there is no such setting{_nearest(name, known)}")


def _nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    near = _close(name, known)
    if not near:
        return "; `kmsi settings` lists them all"
    return f"; did you mean {prefix}{near[0].upper() if prefix else near[0]}?"


def _close(name: str, known: Iterable[str]) -> list[str]:
    import difflib  # for mistakes only

    return difflib.get_close_matches(name, list(known), n=1)
