"""Who can sign in at the embedded provider, from which devices, and to which apps.

Rules:

1. Every value is checked when it is made, in the dataclass, so that a file and a program meet the same
   checks.
2. A wrong value names itself: the file, the key, the value, and what would work.
3. A URI that begins with ``/`` belongs to the origin of the provider itself, for a provider that lives inside
   the app which it serves. :meth:`IdPConfig.at` resolves it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from ..vocabulary.errors import SettingsError
from ..vocabulary.user_flows import UserFlows, read_user_flows
from . import checks
from .checks import ConfigError, origin_of
from .loopback import check_issuer
from .primary_refresh_token import Join

_NAMESPACE = uuid.UUID("0a1c3e4b-6a4e-4c38-9a0f-2f1f3a5d7b11")
_DEFAULT_TENANT = "11111111-2222-4333-8444-555555555555"
# Claims that the provider makes itself. A user's extra claims may not replace them.
# fmt: off
_OWN_CLAIMS = frozenset((
    "iss", "sub", "aud", "azp", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "sid", "auth_time",
    "amr", "acr", "acrs", "acct", "name", "preferred_username", "email", "oid", "tid", "deviceid", "xms_dev",
    "tfp", "idp", "emails", "ver",
))
# fmt: on

AuthTime = Literal["always", "never", "stale"]
Behaviour = Literal["openid", "b2c"]
_GUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DOMAIN = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_TRUST_TYPES = {"joined": "AzureAD", "hybrid": "ServerAD", "registered": "Workplace"}


@dataclass(frozen=True, slots=True)
class User:
    """A person who can sign in.

    ``password`` of ``None`` means integrated Windows authentication: whoever is picked, or named by
    ``login_hint``, is signed in without a question. ``acct`` is 0 for a member of the tenant and 1 for a
    guest. ``claims`` are added to the ID token as they are. ``sub`` and ``oid`` are derived from the username
    when not given. ``second_factor`` is the code that is asked for where an app wants one. Whoever is ``disabled``
    can't sign in, and whatever sign-in there was is over. ``identity_provider`` is the id of the federated provider
    that the person signs in at, and only there. Raises :class:`ConfigError`.
    """

    username: str
    name: str
    password: str | None = field(default=None, repr=False)
    email: str = ""
    hint: str = ""
    acct: int = 0
    amr: tuple[str, ...] = ("pwd",)
    sub: str = ""
    oid: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)
    second_factor: str | None = field(default=None, repr=False)
    disabled: bool = False
    identity_provider: str = ""

    def __post_init__(self) -> None:
        checks.text("username", self.username)
        checks.text("name", self.name)
        for key in ("password", "second_factor"):
            if getattr(self, key) is not None:
                checks.text(key, getattr(self, key))
        for key in ("email", "hint", "sub", "oid", "identity_provider"):
            if not isinstance(getattr(self, key), str):
                raise checks.fail(key, getattr(self, key), "must be a text")
        if type(self.acct) is not int or self.acct not in (0, 1):
            raise checks.fail("acct", self.acct, "must be 0 (member) or 1 (guest)")
        if type(self.disabled) is not bool:
            raise checks.fail("disabled", self.disabled, "must be true or false")
        object.__setattr__(self, "amr", checks.texts("amr", self.amr))
        if not isinstance(self.claims, Mapping) or not all(isinstance(key, str) for key in self.claims):
            raise checks.fail("claims", self.claims, "must be a table of claim names and values")
        if taken := sorted(_OWN_CLAIMS & set(self.claims)):
            raise checks.fail(
                f"claims.{taken[0]}",
                self.claims[taken[0]],
                "the provider sets this claim; choose another name",
            )
        object.__setattr__(self, "claims", MappingProxyType(dict(self.claims)))
        object.__setattr__(self, "sub", self.sub or uuid.uuid5(_NAMESPACE, f"sub:{self.username}").hex)
        object.__setattr__(self, "oid", self.oid or str(uuid.uuid5(_NAMESPACE, f"oid:{self.username}")))

    def answers_to(self, hint: str) -> bool:
        """Whether a ``login_hint`` or ``logout_hint`` means this person."""
        return hint.casefold() in {self.username.casefold(), self.email.casefold(), self.sub, self.oid} - {""}


@dataclass(frozen=True, slots=True)
class App:
    """A relying party. Without a ``client_secret`` it is a public client, held to PKCE alone.

    The URIs are compared exactly (OpenID Connect Core, 3.1.2.1; RP-Initiated Logout, 3.1). The front-channel
    logout URI must have the origin of one of the redirect URIs (Front-Channel Logout, 2).

    Two more make the provider one that lacks something, towards this app alone. ``auth_time``: ``always`` (the
    default), ``never``, or ``stale``: ``max_age`` is ignored, and the time sent is a day before the true one.
    ``step_up``: false ignores ``acr_values`` and ``claims``. Raises :class:`ConfigError`.
    """

    client_id: str
    redirect_uris: tuple[str, ...]
    name: str = ""
    client_secret: str | None = field(default=None, repr=False)
    post_logout_redirect_uris: tuple[str, ...] = ()
    frontchannel_logout_uri: str | None = None
    backchannel_logout_uri: str | None = None
    require_consent: bool = False
    auth_time: AuthTime = "always"
    step_up: bool = True

    def __post_init__(self) -> None:
        checks.text("client_id", self.client_id)
        if not isinstance(self.name, str):
            raise checks.fail("name", self.name, "must be a text")
        object.__setattr__(self, "name", self.name or self.client_id)
        if self.client_secret is not None:
            checks.text("client_secret", self.client_secret)
        for key in ("redirect_uris", "post_logout_redirect_uris"):
            object.__setattr__(self, key, checks.texts(key, getattr(self, key)))
            for uri in getattr(self, key):
                checks.uri(key, uri)
        if not self.redirect_uris:
            raise checks.fail("redirect_uris", [], "must hold one URI at least")
        for key in ("frontchannel_logout_uri", "backchannel_logout_uri"):
            if getattr(self, key) is not None:
                checks.uri(key, getattr(self, key))
        for key in ("require_consent", "step_up"):
            if type(getattr(self, key)) is not bool:
                raise checks.fail(key, getattr(self, key), "must be true or false")
        if self.auth_time not in get_args(AuthTime):
            raise checks.fail("auth_time", self.auth_time, f"must be one of {', '.join(get_args(AuthTime))}")
        if (uri := self.frontchannel_logout_uri) and _home(uri) not in {_home(known) for known in self.redirect_uris}:
            raise checks.fail("frontchannel_logout_uri", uri, "must have the origin of one of the redirect_uris")

    @property
    def home(self) -> str:
        """Where the app begins, as far as its first redirect URI tells."""
        uri, ours = self.redirect_uris[0], "/.auth/callback"
        return f"{uri.removesuffix(ours) if uri.endswith(ours) else origin_of(uri)}/"

    def at(self, issuer: str) -> App:
        """The same app, its relative URIs made absolute: ``/`` is the issuer's origin, ``../`` lies beside it."""
        origin, beside = origin_of(issuer), issuer.rpartition("/")[0]

        def whole(uri: str) -> str:
            if uri.startswith("../"):
                return beside + uri[2:]
            return origin + uri if uri.startswith("/") else uri

        return replace(
            self,
            redirect_uris=tuple(map(whole, self.redirect_uris)),
            post_logout_redirect_uris=tuple(map(whole, self.post_logout_redirect_uris)),
            frontchannel_logout_uri=self.frontchannel_logout_uri and whole(self.frontchannel_logout_uri),
            backchannel_logout_uri=self.backchannel_logout_uri and whole(self.backchannel_logout_uri),
        )


def _home(uri: str) -> str:
    return "/" if uri.startswith(("/", "../")) else origin_of(uri)


@dataclass(frozen=True, slots=True)
class Device:
    """A device on which browsers can be, and its ``owner``'s username.

    ``join``: ``joined``, ``hybrid`` or ``registered`` (Microsoft Entra's device identities). ``is_compliant`` is left
    out where nobody manages the device. ``properties`` are more of Graph's device properties, under Graph's names.
    Raises :class:`ConfigError`.
    """

    id: str
    name: str
    owner: str
    join: Join = "joined"
    is_compliant: bool | None = None
    operating_system: str = "Windows"
    properties: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("id", "name", "owner", "operating_system"):
            checks.text(key, getattr(self, key))
        if self.join not in get_args(Join):
            raise checks.fail("join", self.join, f"must be one of {', '.join(get_args(Join))}")
        if self.is_compliant is not None and type(self.is_compliant) is not bool:
            raise checks.fail("is_compliant", self.is_compliant, "must be true or false, or left out")
        if not isinstance(self.properties, Mapping) or not all(isinstance(key, str) for key in self.properties):
            raise checks.fail("properties", self.properties, "must be a table of Graph's property names and values")
        object.__setattr__(self, "properties", MappingProxyType(dict(self.properties)))
        own = {"deviceId", "displayName", "trustType", "isCompliant", "operatingSystem"}
        if taken := sorted(own & set(self.properties)):
            problem = "has a key of its own beside properties"
            raise checks.fail(f"properties.{taken[0]}", self.properties[taken[0]], problem)

    @property
    def compliance(self) -> str:
        """In words."""
        return {True: "compliant", False: "not compliant", None: "not managed"}[self.is_compliant]

    @property
    def claims(self) -> dict[str, Any]:
        """What an ID token says about it: ``deviceid``, and as ``xms_dev`` the properties under Graph's names."""
        facts = {
            "deviceId": self.id,
            "displayName": self.name,
            "trustType": _TRUST_TYPES[self.join],
            "isCompliant": self.is_compliant,
            "operatingSystem": self.operating_system,
        }
        return {"deviceid": self.id, "xms_dev": {**self.properties, **facts}}


@dataclass(frozen=True, slots=True)
class FederatedProvider:
    """Another provider, on this machine too, at which people of a ``b2c`` tenant can sign in.

    Register ``…/{tenant_name}/oauth2/authresp`` there as redirect URI, and ``…/{tenant_name}/oauth2/logoutresp`` as
    post-logout redirect URI. ``single_logout``: whether a sign-out here goes on there (B2C: ``SingleLogoutEnabled``).
    Raises :class:`ConfigError`.
    """

    id: str
    name: str
    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    single_logout: bool = True

    def __post_init__(self) -> None:
        for key in ("id", "name", "issuer", "client_id"):
            checks.text(key, getattr(self, key))
        if self.client_secret is not None:
            checks.text("client_secret", self.client_secret)
        if type(self.single_logout) is not bool:
            raise checks.fail("single_logout", self.single_logout, "must be true or false")
        try:
            check_issuer(self.issuer)
        except ValueError as error:
            raise ConfigError(str(error)) from error


@dataclass(frozen=True, slots=True)
class IdPConfig:
    """Users, apps and devices of one provider. ``tenant`` is the ``tid`` claim; with ``show_passwords`` the sign-in
    page lists the users with their passwords, and one click signs in.

    ``behaviour`` ``b2c``: the provider is a tenant of Azure AD B2C, named ``tenant_name`` in its addresses, with
    ``user_flows`` and ``federated`` providers. ``redirect_anywhere_after_sign_out``: as in B2C, a sign-out that needs
    no ID token may lead to whatever address it names. Raises :class:`ConfigError`.
    """

    users: tuple[User, ...]
    apps: tuple[App, ...] = ()
    tenant: str = _DEFAULT_TENANT
    show_passwords: bool = False
    devices: tuple[Device, ...] = ()
    behaviour: Behaviour = "openid"
    tenant_name: str = "contoso.onmicrosoft.com"
    user_flows: UserFlows = field(default_factory=UserFlows)
    federated: tuple[FederatedProvider, ...] = ()
    redirect_anywhere_after_sign_out: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "devices", tuple(self.devices))
        object.__setattr__(self, "federated", tuple(self.federated))
        object.__setattr__(self, "users", tuple(self.users))
        object.__setattr__(self, "apps", tuple(self.apps))
        checks.text("tenant", self.tenant)
        if type(self.show_passwords) is not bool:
            raise checks.fail("show_passwords", self.show_passwords, "must be true or false")
        if not self.users:
            raise checks.fail("users", [], "must hold one user at least")
        _unique("users", "username", [user.username.casefold() for user in self.users])
        _unique("users", "sub", [user.sub for user in self.users])
        _unique("apps", "client_id", [app.client_id for app in self.apps])
        _unique("devices", "id", [device.id for device in self.devices])
        for device in self.devices:
            if self.user(device.owner) is None:
                raise checks.fail("devices: owner", device.owner, "must be the username of one of the users")
        self._check_behaviour()

    def _check_behaviour(self) -> None:
        if self.behaviour not in get_args(Behaviour):
            raise checks.fail("behaviour", self.behaviour, f"must be one of {', '.join(get_args(Behaviour))}")
        if not isinstance(self.tenant_name, str) or not _DOMAIN.fullmatch(self.tenant_name):
            raise checks.fail("tenant_name", self.tenant_name, "must be a domain, such as contoso.onmicrosoft.com")
        if type(self.redirect_anywhere_after_sign_out) is not bool:
            problem = "must be true or false"
            raise checks.fail("redirect_anywhere_after_sign_out", self.redirect_anywhere_after_sign_out, problem)
        try:
            object.__setattr__(self, "user_flows", read_user_flows(self.user_flows, whole=False))
        except SettingsError as error:
            raise ConfigError(f"{error.name} = {error.value!r}: {error.problem}") from error
        _unique("federated", "id", [provider.id for provider in self.federated])
        if self.behaviour == "openid":
            for key in ("user_flows", "federated", "redirect_anywhere_after_sign_out"):
                if getattr(self, key):
                    raise checks.fail(key, getattr(self, key), 'goes with behaviour = "b2c" only')
            return
        if not self.user_flows:
            raise checks.fail("user_flows", {}, "must hold one at least, as [user_flows.B2C_1_sign_in]")
        if not _GUID.fullmatch(self.tenant):
            raise checks.fail("tenant", self.tenant, f"must be a GUID, such as {_DEFAULT_TENANT}")

    def user(self, username: str) -> User | None:
        """The user of that name, whatever its capitals."""
        wanted = username.casefold()
        return next((user for user in self.users if user.username.casefold() == wanted), None)

    def active(self, username: str) -> User | None:
        """The same, unless disabled."""
        user = self.user(username)
        return user if user and not user.disabled else None

    def app(self, client_id: str) -> App | None:
        """The app with exactly that ``client_id``."""
        return next((app for app in self.apps if app.client_id == client_id), None)

    def identity_provider(self, provider_id: str) -> FederatedProvider | None:
        """The federated provider with exactly that id."""
        return next((provider for provider in self.federated if provider.id == provider_id), None)

    def device(self, device_id: str) -> Device | None:
        """The device with exactly that id."""
        return next((device for device in self.devices if device.id == device_id), None)

    def with_app(self, app: App) -> IdPConfig:
        """A copy that knows ``app`` too; it takes the place of one with the same ``client_id``."""
        others = tuple(known for known in self.apps if known.client_id != app.client_id)
        return replace(self, apps=(*others, app))

    def at(self, issuer: str) -> IdPConfig:
        """A copy whose relative URIs are absolute, for the provider ``issuer``."""
        return replace(self, apps=tuple(app.at(issuer) for app in self.apps))


def _unique(where: str, key: str, values: list[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise checks.fail(f"{where}: {key}", value, "is there twice; each needs its own")
