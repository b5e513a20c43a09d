"""User flows: the ways through a sign-in that Azure AD B2C calls user flows or policies, a table of its own.

1. Each has a name, B2C's (``B2C_1_…``, or ``B2C_1A_…`` for a custom policy), and an authority of its own, where its
   metadata document is (Azure AD B2C, "Configure session behavior": one per policy).
2. What a flow does not say of its sessions, the app's settings say.
3. The app's sign-ins go through the first flow that signs in; the others are asked for by name.
4. All flows of an app are of one tenant, so of one origin.
5. With the embedded provider the authorities are its own, whatever the flows say; so the same flows serve the tenant
   and the developer's machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from .errors import SettingsError

Kind = Literal["sign_up_and_sign_in", "sign_in", "sign_up", "profile_editing", "password_reset"]
Scope = Literal["tenant", "application", "policy", "suppressed"]

SIGN_IN: tuple[Kind, ...] = ("sign_up_and_sign_in", "sign_in")
NEVER_KEPT: tuple[Kind, ...] = ("sign_up", "password_reset")
"""Azure AD B2C: "KMSI is not supported with password reset or sign-up user flows"."""

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "kind": get_args(Kind),
    "session_expiry": ("rolling", "absolute"),
    "single_sign_on": get_args(Scope),
}
_YES_OR_NO = ("require_id_token_on_logout", "multi_factor", "single_sign_out")
_RANGES = {"session_lifetime_minutes": (15, 1_440, "minutes"), "keep_me_signed_in_days": (0, 90, "days")}
_NAME = re.compile(r"B2C_1A?_[A-Za-z0-9_-]{1,64}", re.IGNORECASE)
EMBEDDED_TENANT = "embedded.onmicrosoft.com"
"""What the tenant of the embedded provider inside an app is called in its addresses."""


def _told(*, unit: str, effect: str, source: str) -> Mapping[str, str]:
    return {"unit": unit, "effect": effect, "source": source}


@dataclass(frozen=True, kw_only=True)
class UserFlow:
    """One user flow. Raises :class:`SettingsError` for a value that can't work; see ``docs/settings.md``."""

    authority: str = field(
        default="",
        metadata=_told(
            unit="URL",
            effect="Where the flow's metadata document is, without `/.well-known/openid-configuration`: "
            "`https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_sign_in/v2.0`. Required, except with "
            "`issuer=embedded`, which takes no notice of it.",
            source="Azure AD B2C: OpenID Connect metadata endpoint, one for each policy",
        ),
    )
    kind: Kind = field(
        metadata=_told(
            unit="name",
            effect="`sign_up_and_sign_in`, `sign_in`, `sign_up`, `profile_editing` or `password_reset`. Required. A "
            "password reset is no sign-in: after it, the sign-in flow runs.",
            source="Azure AD B2C: user flow types",
        )
    )
    session_lifetime_minutes: int | None = field(
        default=None,
        metadata=_told(
            unit="minutes, 15 to 1,440",
            effect="How long a session that is not kept is good; else as `session_lifetime`.",
            source="Azure AD B2C: Web app session lifetime (minutes)",
        ),
    )
    session_expiry: Literal["rolling", "absolute"] | None = field(
        default=None,
        metadata=_told(
            unit="name",
            effect="Whether activity extends the session; else as the setting `session_expiry`.",
            source="Azure AD B2C: Web app session timeout",
        ),
    )
    keep_me_signed_in_days: int | None = field(
        default=None,
        metadata=_told(
            unit="days, 1 to 90; 0 is off",
            effect="How long a session is good after a Yes; else as the setting of this name, and 0 for a `sign_up` "
            "and a `password_reset`, which never keep anybody signed in. Going through a flow with 0 makes a "
            "persistent session non-persistent.",
            source="Azure AD B2C: Keep me signed in session (days)",
        ),
    )
    single_sign_on: Scope = field(
        default="tenant",
        metadata=_told(
            unit="name",
            effect="`tenant`, `application`, `policy`: how far B2C shares its session; nothing to do here. "
            "`suppressed`: the whole flow runs, every time.",
            source="Azure AD B2C: Single sign-on configuration",
        ),
    )
    require_id_token_on_logout: bool = field(
        default=False,
        metadata=_told(
            unit="true or false",
            effect="Whether B2C wants an ID token at sign-out. Without one nobody is sent there, into an error page.",
            source="Azure AD B2C: Require ID Token in logout requests",
        ),
    )
    multi_factor: bool = field(
        default=False,
        metadata=_told(
            unit="true or false",
            effect="Whether the flow asks for a second factor. Of use with the embedded provider; B2C has its own.",
            source="Azure AD B2C: Multifactor authentication",
        ),
    )
    single_sign_out: bool = field(
        default=False,
        metadata=_told(
            unit="true or false",
            effect="Whether a sign-out by this flow is told to the other apps. Of use with the embedded provider; in "
            "B2C the custom policy says it.",
            source="Azure AD B2C: UseTechnicalProfileForSessionManagement",
        ),
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item.name, getattr(self, item.name), is_optional=item.default is None)
        if self.keeps_nobody and self.keep_me_signed_in_days:
            problem = f"a {self.kind} flow keeps nobody signed in, as in B2C: leave it out"
            raise SettingsError("keep_me_signed_in_days", self.keep_me_signed_in_days, problem)

    @property
    def signs_in(self) -> bool:
        """Whether an app's sign-ins can go through it."""
        return self.kind in SIGN_IN

    @property
    def keeps_nobody(self) -> bool:
        """Whether nobody stays signed in by it, whatever the app says."""
        return self.kind in NEVER_KEPT


class UserFlows(Mapping[str, UserFlow]):
    """The user flows of an app, by name. B2C's names are the same in small letters and in capitals."""

    def __init__(self, flows: Mapping[str, UserFlow] | None = None) -> None:
        self._flows = dict(flows or {})
        self._names = {name.casefold(): name for name in self._flows}

    def __getitem__(self, name: str) -> UserFlow:
        return self._flows[self._names[name.casefold()]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._flows)

    def __len__(self) -> int:
        return len(self._flows)

    def __hash__(self) -> int:
        return hash(tuple(self._flows.items()))

    def __repr__(self) -> str:
        return repr(self._flows)

    def known(self, name: str) -> str | None:
        """A name as the settings have it; ``None`` for one that they don't have."""
        return self._names.get(name.casefold())

    @property
    def default(self) -> str:
        """The flow that the app's sign-ins go through (rule 3); ``""`` where there are no flows."""
        return next((name for name, flow in self._flows.items() if flow.signs_in), "")

    @property
    def password_reset(self) -> str:
        """The flow for who forgot the password, or ``""``."""
        return next((name for name, flow in self._flows.items() if flow.kind == "password_reset"), "")


def described() -> tuple[Field[Any], ...]:
    """Every property of a user flow with its documentation in ``metadata``, in the order of the table."""
    return fields(UserFlow)


def read_user_flows(value: Any, *, whole: bool = True) -> UserFlows:
    """The setting ``user_flows``: a mapping of names to flows, each a :class:`UserFlow` or a mapping of its
    properties; or that as a JSON text. ``whole``: they are all that an app has. Raises :class:`SettingsError`."""
    if isinstance(value, UserFlows):
        return value
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else {}
        except (ValueError, RecursionError):
            raise SettingsError("user_flows", value, "this is no JSON; `kmsi import-b2c --json` prints it") from None
    if not isinstance(value, Mapping):
        raise SettingsError("user_flows", value, "give a mapping of B2C's names to their properties")
    found: dict[str, UserFlow] = {}
    for name, given in value.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SettingsError("user_flows", name, "give the flow's name as B2C has it, as B2C_1_sign_in")
        if name.casefold() in {other.casefold() for other in found}:
            raise SettingsError("user_flows", name, "this flow is there twice: B2C takes no notice of capitals")
        found[name] = _flow(name, given)
    flows = UserFlows(found)
    if found and whole:
        _check_all(flows)
    return flows


def policy_of(authority: str) -> str:
    """The policy that an authority names; ``""`` for an address that is none of B2C's."""
    found = re.fullmatch(rf".*/[^/]+/({_NAME.pattern})/v2\.0/?", urlsplit(authority).path, re.IGNORECASE)
    return found[1] if found else ""


def _flow(name: str, given: Any) -> UserFlow:
    properties = given if isinstance(given, Mapping) else {}
    known = [item.name for item in fields(UserFlow)]
    for key, value in properties.items():
        if key not in known:
            raise SettingsError(place(name, key), value, f"there is no such property; there are {', '.join(known)}")
    for item in fields(UserFlow):
        if isinstance(given, Mapping) and item.default is MISSING and item.name not in given:
            raise SettingsError(place(name, item.name), None, "every user flow needs it")
    try:
        flow = given if isinstance(given, UserFlow) else UserFlow(**properties) if properties else None
    except SettingsError as error:
        raise SettingsError(place(name, error.name), error.value, error.problem) from None
    if flow is None:
        raise SettingsError(f"user_flows[{name!r}]", given, "give a mapping of its properties")
    policy = policy_of(flow.authority)
    if flow.authority and policy.casefold() != name.casefold():
        problem = f"give B2C's address of this very policy: …/{name}/v2.0"
        raise SettingsError(place(name, "authority"), flow.authority, problem)
    return flow


def beside(authority: str, name: str) -> str:
    """The authority of another flow of the same tenant."""
    return f"{authority.rsplit('/', 2)[0]}/{name}/v2.0"


def place(name: object, key: object) -> str:
    """What a message calls a property of a flow."""
    return f"user_flows[{name!r}][{key!r}]"


def _check(name: str, value: Any, *, is_optional: bool) -> None:
    if value is None and is_optional:
        return
    if name in _CHOICES and value not in _CHOICES[name]:
        raise SettingsError(name, value, f"give one of {', '.join(_CHOICES[name])}")
    if name in _RANGES:
        low, high, unit = _RANGES[name]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise SettingsError(name, value, f"give {low:,} to {high:,} {unit}")
    if name == "authority" and value != "" and not _is_url(value):
        raise SettingsError(name, value, "give a whole URL, as https://contoso.b2clogin.com/…")
    if name in _YES_OR_NO and not isinstance(value, bool):
        raise SettingsError(name, value, "give true or false")


def _is_url(value: Any) -> bool:
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        _ = parts.port
        return bool(parts.hostname)
    except ValueError:
        return False


def _check_all(flows: UserFlows) -> None:
    if not flows.default:
        raise SettingsError("user_flows", list(flows), f"one of them must be of kind {' or '.join(SIGN_IN)}")
    named = [(name, flow) for name, flow in flows.items() if flow.authority]
    first = urlsplit(named[0][1].authority if named else "")
    for name, flow in named:
        parts = urlsplit(flow.authority)
        if (parts.scheme, parts.netloc.lower()) != (first.scheme, first.netloc.lower()):
            problem = f"the user flows of an app are of one tenant: {first.scheme}://{first.netloc}"
            raise SettingsError(place(name, "authority"), flow.authority, problem)
