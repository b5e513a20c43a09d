"""The settings as keywords, for who checks types: what each may be given as. A test compares it with the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from .effects import SessionStore
from .settings import CurrentRiskHook, SignInSignalsHook
from .user_flows import UserFlow


class SettingsKeywords(TypedDict, total=False):
    """Every setting. A list of texts may be any sequence of them, or one text; a mapping may be a text, too."""

    issuer: str
    client_id: str
    client_secret: str | None
    token_endpoint_auth_method: Literal["auto", "client_secret_basic", "client_secret_post", "none"]
    scope: str
    response_mode: Literal["query", "form_post"]
    id_token_algorithms: Sequence[str]
    require_logout_token_type: bool
    allowed_tenants: Sequence[str]
    secret_keys: Sequence[str]
    base_url: str | None
    trusted_proxies: Sequence[str]
    prefix: str
    protect: Literal["all", "none"]
    public_paths: Sequence[str]
    websocket_origins: Sequence[str]
    store: SessionStore | str
    revocation_lag: int
    session_lifetime: int
    session_expiry: Literal["rolling", "absolute"]
    session_max_age: int
    keep_me_signed_in_days: int
    show_option_to_remain_signed_in: bool
    inherit_keep_me_signed_in: bool
    kmsi_asked_by: Literal["app", "idp"]
    user_flows: Mapping[str, UserFlow | Mapping[str, Any]] | str
    sign_in_signals: SignInSignalsHook | None
    clock_skew: int
    user_claim: str
    cookie_name: str
    app_name: str
    templates: str | None
    frame_ancestors: Sequence[str]
    front_channel_logout_cookie: bool
    sign_in_log_days: int
    policies: Any
    claims_map: Mapping[str, str] | str
    auth_contexts: Mapping[str, str] | str
    step_up: Literal["max_age", "acr_values", "claims"]
    missing_auth_time: Literal["refuse", "trust_sign_in"]
    background_grace: int
    revalidate_every: int
    current_risk: CurrentRiskHook | None
    password_change_url: str | None
    country_database: str | None
    http_timeout: int
    idp_config: str | None
