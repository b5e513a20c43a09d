"""Putting the parts together: from settings to a middleware that runs. The only place that reads the environment."""

from __future__ import annotations

import inspect
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .edges.pages import PageRenderer
from .edges.provider import ProviderClient
from .edges.services import Services
from .edges.sign_in_log import FILE_NAME, SignInLog
from .edges.stores import open_store
from .flows.deployment import EMBEDDED_CLIENT_ID, Deployment
from .vocabulary.effects import SessionStore
from .vocabulary.errors import SettingsError
from .vocabulary.records import frozen
from .vocabulary.settings import Settings
from .vocabulary.user_flows import EMBEDDED_TENANT, UserFlows

if TYPE_CHECKING:
    from .edges.countries import Countries
    from .edges.watch import Watch
    from .idp import EmbeddedIdP
    from .rules.conditional_access.policy import PolicySet

Clock = Callable[[], float]
SECRET_FILE = "secret.key"  # noqa: S105 (a file's name)
_log = logging.getLogger("kmsi_middleware")


@frozen
class Assembly:
    """Everything that a shell needs."""

    deployment: Deployment
    services: Services
    pages: PageRenderer
    clock: Clock
    idp: EmbeddedIdP | None


def assemble(
    keywords: Mapping[str, Any],
    settings: Settings | None = None,
    *,
    clock: Clock = time.time,
    dice: Callable[[int], bytes] = secrets.token_bytes,
    asynchronous: bool,
) -> Assembly:
    """Check all settings and put the parts together; opens nothing.

    Raises :class:`SettingsError`.
    """
    resolved = Settings.resolve(keywords, settings, os.environ)
    hook = resolved.sign_in_signals
    if not asynchronous and (inspect.iscoroutinefunction(hook) or _has_async_call(hook)):
        raise SettingsError("sign_in_signals", hook, "under WSGI it must be a plain function, not an async one")
    risk = resolved.current_risk
    if inspect.iscoroutinefunction(risk) or _has_async_call(risk):
        raise SettingsError("current_risk", risk, "it is asked with every request: give a plain, quick function")
    folder = _folder(resolved)
    if resolved.embedded and not resolved.secret_keys:
        resolved = replace(resolved, secret_keys=(_kept_secret(folder),))
    store = _store(resolved)
    pages = PageRenderer(resolved.templates)
    pages.check()
    deployment = Deployment(resolved, dice)
    watch, countries = _conditional_access(deployment)
    idp = _embedded(resolved, folder, clock) if resolved.embedded else None
    services = Services(
        store=store,
        provider=ProviderClient(
            timeout=resolved.http_timeout,
            async_transport=idp.async_transport if idp else None,
            sync_transport=idp.sync_transport if idp else None,
        ),
        log=SignInLog(folder / FILE_NAME if folder else None, days=resolved.sign_in_log_days),
        hook=hook,
        current_risk=resolved.current_risk,
        watch=watch,
        countries=countries,
        closes=idp.close if idp else None,
    )
    if resolved.base_url is None:
        _log.warning("base_url is not set: the app answers on loopback only")
    return Assembly(deployment, services, pages, clock, idp)


def check_app(app: object, *, asynchronous: bool) -> None:
    """Refuse what is no app, or one of the other kind: else the first request would, by counting arguments.

    Raises :class:`SettingsError`.
    """
    asgi, wsgi = ("scope", "receive", "send"), ("environ", "start_response")
    ours, others = (asgi, wsgi) if asynchronous else (wsgi, asgi)
    if not callable(app):
        raise SettingsError("app", app, f"give the app, which is called with {', '.join(ours)}")
    if not _takes(app, ours):
        problem = f"it can't be called with {', '.join(ours)}"
        if _takes(app, others):
            kind, module = ("a WSGI", "kmsi_middleware.wsgi") if asynchronous else ("an ASGI", "kmsi_middleware")
            problem = f"this is {kind} app: from {module} import KMSIMiddleware"
        raise SettingsError("app", app, problem)


def _takes(app: Callable[..., Any], arguments: tuple[str, ...]) -> bool:
    """Whether it can be called so, as far as that can be told."""
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _store(settings: Settings) -> SessionStore:
    lag = settings.revocation_lag
    if isinstance(settings.store, str):
        return open_store(settings.store, revocation_lag=lag)
    if lag:
        raise SettingsError("revocation_lag", lag, "a store that is given as an object has a lag of its own, if any")
    store: SessionStore = settings.store
    return store


def _has_async_call(hook: object) -> bool:
    return inspect.iscoroutinefunction(getattr(hook, "__call__", None))  # noqa: B004 (an object may have an async one)


def _conditional_access(deployment: Deployment) -> tuple[Watch | None, Countries | None]:
    """The policies and what they need; read only where there are any, and imported only then."""
    settings = deployment.settings
    watch, countries = None, None
    if settings.policies is not None:
        from .edges.policy_files import PolicyBook
        from .edges.watch import Watch

        book = PolicyBook(settings.policies, check=partial(_check_policies, settings))
        book.load()
        watch = Watch(book, deployment, settings.current_risk)
    if settings.country_database is not None:
        from .edges.countries import Countries

        countries = Countries(settings.country_database)
    return watch, countries


def _check_policies(settings: Settings, policies: PolicySet) -> None:
    """What the policies and the settings must satisfy together."""
    for policy in policies.policies:
        wants = policy.grant.controls if policy.grant is not None and policy.state == "enabled" else ()
        if "passwordChange" in wants and settings.password_change_url is None:
            problem = f"policy {policy.display_name!r} tells people to change the password: say where they do that"
            raise SettingsError("password_change_url", None, problem)


def _folder(settings: Settings) -> Path | None:
    """The folder of the session database, where everything else that is kept lies beside it."""
    if isinstance(settings.store, str) and settings.store.startswith("sqlite:"):
        return Path(settings.store.removeprefix("sqlite:")).expanduser().absolute().parent
    return None


def _kept_secret(folder: Path | None) -> str:
    """The embedded provider's app needs no secret of its own: one is made once, and kept for its owner only, so
    that a restart signs nobody out."""
    if folder is None:
        return secrets.token_urlsafe(32)
    path = folder / SECRET_FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.name == ".kmsi":  # ours alone, and a secret lies in it
            (folder / ".gitignore").write_text("*\n")
        with suppress(FileExistsError):
            # Written under another name first: of several workers that start at once, all read one whole secret.
            draft = folder / f".{SECRET_FILE}.{secrets.token_hex(8)}"
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32))
            try:
                os.link(draft, path)
            finally:
                draft.unlink()
        secret = path.read_text().strip()
    except OSError as error:
        problem = f"no secret can be kept in its folder ({error.strerror}): give a folder that can be written to"
        raise SettingsError("store", str(folder), problem) from error
    if len(secret) < 32:
        raise SettingsError("secret_keys", str(path), "the kept secret is damaged: delete the file, and sign in again")
    return secret


def _embedded(settings: Settings, folder: Path | None, clock: Clock) -> EmbeddedIdP:
    """The development provider, which knows this app."""
    import tempfile

    from .idp import App, ConfigError, EmbeddedIdP, default_config, load_config

    try:
        config = load_config(Path(settings.idp_config)) if settings.idp_config else default_config()
    except (ConfigError, OSError) as error:
        raise SettingsError("idp_config", settings.idp_config, str(error)) from error
    here = App(  # wherever the app is mounted, its reserved paths lie beside the provider's
        client_id=EMBEDDED_CLIENT_ID,
        name=settings.app_name,
        redirect_uris=("../callback",),
        post_logout_redirect_uris=("../logged-out",),
        frontchannel_logout_uri="../frontchannel-logout",
        backchannel_logout_uri="../backchannel-logout",
    )
    kept = folder or Path(tempfile.mkdtemp(prefix="kmsi-idp-"))
    if settings.user_flows:
        config = replace(config, behaviour="b2c", tenant_name=EMBEDDED_TENANT, user_flows=_embedded_flows(settings))
    elif config.behaviour == "b2c":
        problem = "its behaviour is b2c: say by which flows this app goes, in the setting user_flows"
        raise SettingsError("idp_config", settings.idp_config, problem)
    return EmbeddedIdP(config.with_app(here), folder=kept, base_url=settings.base_url, clock=clock)


def _embedded_flows(settings: Settings) -> UserFlows:
    """The user flows as the provider has them, which asks to keep people signed in only where this app does not."""
    days = {
        name: settings.through(name).keep_me_signed_in_days if settings.kmsi_asked_by == "idp" else 0
        for name in settings.user_flows
    }
    flows = {name: replace(flow, keep_me_signed_in_days=days[name]) for name, flow in settings.user_flows.items()}
    return UserFlows(flows)
