"""Settings: where they come from, and how an impossible one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from kmsi_middleware.edges.stores.memory import MemoryStore
from kmsi_middleware.vocabulary.addresses import is_loopback_host, is_origin, is_shared_issuer
from kmsi_middleware.vocabulary.errors import SettingsError
from kmsi_middleware.vocabulary.settings import Settings, described, environment_name

KEY = "k" * 32
REAL: dict[str, Any] = {
    "issuer": "https://login.example.com",
    "client_id": "app",
    "secret_keys": [KEY],
    "base_url": "https://app.example.com",
}
GIVE_URL = "give a whole URL"


def refused(**given: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        Settings.resolve(REAL | given)
    return caught.value


# Values that can't work ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "would_work"),
    [
        ("issuer", "login.example.com", GIVE_URL),
        ("issuer", "Embedded", GIVE_URL),
        ("issuer", "https://", GIVE_URL),
        ("issuer", "https://login.example.com?x=1", "no query and no fragment"),
        ("issuer", "https://login.example.com#x", "no query and no fragment"),
        ("issuer", "http://login.example.com", "outside loopback it must be https"),
        ("issuer", "https://login.example.com:99999", GIVE_URL),
        ("issuer", "https://login example.com", GIVE_URL),
        ("issuer", "https://login.example.com\\evil", GIVE_URL),
        ("issuer", "https://löwe.example", GIVE_URL),
        ("issuer", "https://a;script-src *", GIVE_URL),
        ("issuer", 7, "give a text"),
        ("issuer", "https://login.microsoftonline.com/<tenant>/v2.0", "put your own in the place of"),
        ("issuer", "https://<tenant>.b2clogin.com/v2.0", "put your own in the place of"),
        ("issuer", "https://login.microsoftonline.com/{tenant}/v2.0", "put your own in the place of"),
        ("issuer", "https://login.example.com/a/.well-known/openid-configuration", ": https://login.example.com/a"),
        ("issuer", "https://login.example.com/.well-known/openid-configuration/", "leave out /.well-known"),
        ("issuer", "", "name your provider"),
        ("client_id", "", "give the app's client id at https://login.example.com"),
        ("client_id", None, "give a text"),
        ("token_endpoint_auth_method", "private_key_jwt", "give one of auto, client_secret_basic"),
        ("token_endpoint_auth_method", "client_secret_post", "it needs client_secret"),
        ("scope", "profile email", "it must contain openid"),
        ("scope", "openidx", "it must contain openid"),
        ("response_mode", "fragment", "give one of query, form_post"),
        ("id_token_algorithms", ["none"], "public key"),
        ("id_token_algorithms", ["HS256"], "public key"),
        ("id_token_algorithms", ["RS256x"], "public key"),
        ("id_token_algorithms", [], "give at least one"),
        ("base_url", "app.example.com", "give a whole URL, as https://app.example.com"),
        ("base_url", "", GIVE_URL),
        ("base_url", "ftp://app.example.com", GIVE_URL),
        ("base_url", "http://app.example.com", "outside loopback it must be https"),
        ("base_url", "https://app.example.com/", "no slash at the end"),
        ("base_url", "https://app.example.com?x", "at most a path"),
        ("trusted_proxies", ["*"], "give addresses or networks"),
        ("trusted_proxies", ["10.0.0.0/33"], "give addresses or networks"),
        ("trusted_proxies", ["proxy.internal"], "give addresses or networks"),
        ("prefix", "auth", "give a path"),
        ("prefix", "/", "give a path"),
        ("prefix", "/.auth/", "no slash at the end"),
        ("prefix", "/a/../b", "give a path"),
        ("prefix", "/a/..", "give a path"),
        ("prefix", "/.", "give a path"),
        ("prefix", "/a b", "give a path"),
        ("protect", "some", "give one of all, none"),
        ("public_paths", ["about"], "give a path from the root"),
        ("public_paths", ["/a*"], "give a path from the root"),
        ("public_paths", ["/*/b"], "give a path from the root"),
        ("public_paths", ["/a//b"], "give a path from the root"),
        ("public_paths", ["/a/../b"], "give a path from the root"),
        ("public_paths", ["/a?b"], "give the path alone"),
        ("public_paths", ["/a#b"], "give the path alone"),
        ("public_paths", ["/a/./*"], "give a path from the root"),
        ("public_paths", {"/a", "/b"}, "give a list"),
        ("public_paths", b"/a", "give a list"),
        ("public_paths", 1, "give a list"),
        ("websocket_origins", ["https://app.example.com/"], "give an origin"),
        ("websocket_origins", ["*"], "give an origin"),
        ("frame_ancestors", ["https://a.example; script-src *"], "give an origin"),
        ("store", "redis:", "give sqlite:PATH"),
        ("store", "sqlite:", "give sqlite:PATH"),
        ("session_lifetime", 899, "give 900 to 86,400 seconds"),
        ("session_lifetime", 86_401, "give 900 to 86,400 seconds"),
        ("session_lifetime", 900.0, "give a whole number (seconds"),
        ("session_lifetime", True, "give a whole number"),
        ("session_lifetime", "1 hour", "give a whole number"),
        ("session_lifetime", None, "give a whole number"),
        ("session_expiry", "sliding", "give one of rolling, absolute"),
        ("session_max_age", 0, "give 1 to 400 days"),
        ("session_max_age", 401, "give 1 to 400 days"),
        ("keep_me_signed_in_days", -1, "give 0 to 90 days"),
        ("keep_me_signed_in_days", 91, "give 0 to 90 days"),
        ("revalidate_every", 299, "give 300 to 86,400 seconds, or 0 for never"),
        ("revalidate_every", 86_401, "give 300 to 86,400 seconds, or 0 for never"),
        ("revalidate_every", -1, "give 300 to 86,400 seconds, or 0 for never"),
        ("show_option_to_remain_signed_in", "perhaps", "give true or false"),
        ("show_option_to_remain_signed_in", 1, "give true or false"),
        ("inherit_keep_me_signed_in", None, "give true or false"),
        ("sign_in_signals", "app:signals", "give a function"),
        ("clock_skew", -1, "give 0 to 300 seconds"),
        ("clock_skew", 301, "give 0 to 300 seconds"),
        ("user_claim", " ", "give a claim's name"),
        ("user_claim", "e mail", "give a claim's name"),
        ("cookie_name", "__Host-x;", "give 1 to 40 letters"),
        ("cookie_name", "", "give 1 to 40 letters"),
        ("cookie_name", "x" * 41, "give 1 to 40 letters"),
        ("app_name", 1, "give a text"),
        ("templates", 1, "give a text"),
        ("sign_in_log_days", 0, "give 1 to 3,650 days"),
        ("sign_in_log_days", 3_651, "give 1 to 3,650 days"),
        ("http_timeout", 0, "give 1 to 60 seconds"),
        ("http_timeout", 61, "give 1 to 60 seconds"),
        ("idp_config", "users.toml", "issuer=embedded only"),
    ],
)
def test_an_impossible_value_is_refused_by_name_with_what_would_work(name: str, value: Any, would_work: str) -> None:
    error = refused(**{name: value})
    assert error.name == name
    assert str(error).startswith(f"setting {name} = ")
    assert would_work in str(error)
    shown = next(iter(value)) if isinstance(value, list) and value else value
    if value and not isinstance(value, set):
        assert repr(shown) in str(error)


@pytest.mark.parametrize("given", [{**REAL, "client_secret": "hunter2hunter2"}, "embedded", object()])
def test_settings_that_are_no_settings_object_are_refused_and_not_shown(given: Any) -> None:
    with pytest.raises(SettingsError, match="give a Settings object; a mapping goes as keywords") as caught:
        Settings.resolve({}, given)
    assert str(caught.value).startswith(f"setting settings = '({type(given).__name__})'")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("store", [None, object(), 7, {"url": "redis://:hunter2@localhost"}])
def test_a_store_that_keeps_no_contract_is_refused_and_not_shown(store: Any) -> None:
    error = refused(store=store)
    assert str(error).startswith(f"setting store = '({type(store).__name__})': give sqlite:PATH, redis://HOST:6379/0")
    assert "this has no asynchronous, close, counters, create" in str(error)
    assert "hunter2" not in str(error)


def test_a_store_object_is_taken_as_it_is() -> None:
    store = MemoryStore()
    assert Settings(store=store).store is store


@pytest.mark.parametrize(
    ("path", "would_work"),
    [
        ("payments", "give a path from the root"),
        ("/caf%C3%A9/*", "write the path decoded"),
        ("/a%2fb", "write the path decoded"),
        ("/pay?now", "give the path alone"),
    ],
)
def test_the_path_of_an_authentication_context_is_a_decoded_path(path: str, would_work: str) -> None:
    error = refused(auth_contexts={path: "c1"})
    assert str(error).startswith(f"setting auth_contexts = {path!r}: {would_work}")


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("session_lifetime", 900, 86_400),
        ("session_max_age", 1, 400),
        ("keep_me_signed_in_days", 0, 90),
        ("revalidate_every", 300, 86_400),
        ("clock_skew", 0, 300),
        ("sign_in_log_days", 1, 3_650),
        ("http_timeout", 1, 60),
    ],
)
def test_the_limits_themselves_are_allowed(name: str, lowest: int, highest: int) -> None:
    for value in (lowest, highest):
        assert getattr(Settings.resolve({**REAL, name: value}), name) == value


# Secrets ---------------------------------------------------------------------------------------------------

SECRET = "hunter2-that-nobody-may-see"


@pytest.mark.parametrize(
    ("keywords", "environment", "name", "would_work"),
    [
        ({"secret_keys": [SECRET]}, {}, "secret_keys", "each needs 32 or more"),
        ({"secret_keys": [KEY, SECRET]}, {}, "secret_keys", "each needs 32 or more"),
        ({"secret_keys": [SECRET.encode()]}, {}, "secret_keys", "give a list of texts"),
        ({"secret_keys": {SECRET}}, {}, "secret_keys", "give a list of texts"),
        ({"secret_keys": ()}, {}, "secret_keys", "give at least one"),
        ({"client_secret": SECRET.encode()}, {}, "client_secret", "give a text"),
        ({"client_secret": SECRET[:7]}, {}, "client_secret", "8 characters or more"),
        ({"client_secrt": SECRET}, {}, "client_secrt", "did you mean client_secret?"),
        ({"SECRET_KEY": SECRET}, {}, "SECRET_KEY", "there is no such setting"),
        ({}, {"KMSI_CLIENT_SECRET_": SECRET}, "KMSI_CLIENT_SECRET_", "did you mean KMSI_CLIENT_SECRET?"),
        ({}, {"KMSI_PASSWORD": SECRET}, "KMSI_PASSWORD", "there is no such setting"),
        ({"issuer": f"https://me:{SECRET}@login.example.com"}, {}, "issuer", GIVE_URL),
        ({"base_url": f"https://:{SECRET}@app.example.com"}, {}, "base_url", GIVE_URL),
        ({"issuer": "embedded", "client_id": "", "client_secret": SECRET}, {}, "client_secret", "leave it out"),
    ],
)
def test_no_secret_is_in_a_message(
    keywords: dict[str, Any], environment: dict[str, str], name: str, would_work: str
) -> None:
    base = REAL if keywords.get("issuer") != "embedded" else {}
    with pytest.raises(SettingsError) as caught:
        Settings.resolve(base | keywords, environment=environment)
    assert caught.value.name == name
    assert would_work in str(caught.value)
    assert SECRET[:7] not in str(caught.value)
    assert SECRET[:7] not in repr(caught.value.args) + repr(caught.value.value)


def test_no_secret_is_in_the_repr() -> None:
    whole = Settings.resolve(REAL | {"client_secret": SECRET, "secret_keys": [SECRET + KEY]})
    assert SECRET not in repr(whole)
    assert "https://login.example.com" in repr(whole)


# Where they come from --------------------------------------------------------------------------------------


def test_precedence_is_keyword_then_object_then_environment() -> None:
    environment = {
        "KMSI_SESSION_LIFETIME": "1000",
        "KMSI_SESSION_MAX_AGE": "10",
        "KMSI_CLOCK_SKEW": "1",
        "KMSI_HTTP_TIMEOUT": "7",
        "HOME": "/root",
    }
    given = Settings(session_lifetime=2000, session_max_age=20, clock_skew=60)
    whole = Settings.resolve(REAL | {"session_lifetime": 3000}, given, environment)
    assert whole.session_lifetime == 3000
    assert whole.session_max_age == 20
    assert whole.clock_skew == 60, "given in the object, even though it is the default"
    assert whole.http_timeout == 7
    assert whole.session_expiry == "rolling", "nobody gave it"


def test_the_environment_alone_is_enough() -> None:
    whole = Settings.resolve({}, None, {environment_name_of(name): _text(value) for name, value in REAL.items()})
    assert whole == Settings.resolve(REAL)


def test_a_setting_of_lower_rank_is_checked_only_where_it_counts() -> None:
    with pytest.raises(SettingsError, match="session_lifetime"):
        Settings.resolve(REAL, None, {"KMSI_SESSION_LIFETIME": "5"})
    assert Settings.resolve(REAL | {"session_lifetime": 900}, None, {"KMSI_SESSION_LIFETIME": "5"})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("public_paths", "/a,/b", ("/a", "/b")),
        ("public_paths", " /a  /b/*\n,/c ", ("/a", "/b/*", "/c")),
        ("public_paths", "", ()),
        ("secret_keys", f"{'a' * 32},{'b' * 32}", ("a" * 32, "b" * 32)),
        ("trusted_proxies", "10.0.0.0/8, ::1", ("10.0.0.0/8", "::1")),
        ("show_option_to_remain_signed_in", "false", False),
        ("show_option_to_remain_signed_in", "TRUE", True),
        ("show_option_to_remain_signed_in", "0", False),
        ("show_option_to_remain_signed_in", "1", True),
        ("show_option_to_remain_signed_in", "off", False),
        ("show_option_to_remain_signed_in", " yes ", True),
        ("session_lifetime", "1800", 1800),
        ("session_lifetime", " 1800\n", 1800),
        ("keep_me_signed_in_days", "0", 0),
        ("session_expiry", "absolute", "absolute"),
        ("app_name", "Pay roll", "Pay roll"),
        ("store", "memory:", "memory:"),
    ],
)
def test_spelling_in_the_environment(name: str, text: str, value: Any) -> None:
    whole = Settings.resolve({k: v for k, v in REAL.items() if k != name}, None, {environment_name_of(name): text})
    assert getattr(whole, name) == value


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("KMSI_SESSION_LIFETIM", "900", "did you mean KMSI_SESSION_LIFETIME?"),
        ("KMSI_ZZZ", "1", "`kmsi settings` lists them all"),
        ("KMSI_", "1", "there is no such setting"),
        ("KMSI_SIGN_IN_SIGNALS", "app:signals", "give sign_in_signals in Python"),
    ],
)
def test_an_unknown_variable_is_refused(variable: str, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.resolve(REAL, None, {variable: text})
    assert str(caught.value).startswith(f"setting {variable} = {text!r}: ")
    assert says in str(caught.value)


def test_an_unknown_keyword_is_refused_by_name_also_in_the_object() -> None:
    assert "did you mean session_lifetime?" in str(refused(session_lifetim=900))
    with pytest.raises(SettingsError, match=r"setting session_lifetim = 900: .*did you mean session_lifetime\?"):
        Settings(session_lifetim=900)  # type: ignore[call-arg]


# The embedded provider, base_url, tenants ---------------------------------------------------------------------


def test_the_embedded_provider_needs_nothing_else() -> None:
    whole = Settings.resolve({"issuer": "embedded"})
    assert whole.embedded
    assert whole.base is None
    assert Settings.resolve({"issuer": "embedded", "idp_config": "users.toml"}).idp_config == "users.toml"


@pytest.mark.parametrize(
    "base_url", ["http://localhost:8000", "http://127.0.0.1", "http://[::1]:1", "https://app.localhost"]
)
def test_the_embedded_provider_serves_loopback(base_url: str) -> None:
    assert Settings.resolve({"issuer": "embedded", "base_url": base_url}).base_url == base_url


@pytest.mark.parametrize("base_url", ["https://app.example.com", "https://10.0.0.1", "https://localhost.example.com"])
def test_the_embedded_provider_serves_nothing_but_loopback(base_url: str) -> None:
    with pytest.raises(SettingsError, match="setting issuer = 'embedded': .* is for loopback, not for " + base_url):
        Settings.resolve({"issuer": "embedded", "base_url": base_url})


def test_the_embedded_provider_is_never_chosen_by_omission() -> None:
    for environment in ({}, {"KMSI_ISSUER": ""}):
        with pytest.raises(SettingsError, match="setting issuer = '': name your provider"):
            Settings.resolve({}, None, environment)


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://App.Example.COM", "https://app.example.com"),
        ("HTTPS://app.example.com:443/Portal", "https://app.example.com/Portal"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_base_url_is_kept_as_browsers_say_it(given: str, origin: str) -> None:
    assert Settings.resolve(REAL | {"base_url": given}).base_url == origin


def test_other_origins_too_but_the_issuer_stays_as_it_was_given() -> None:
    whole = Settings.resolve(
        REAL
        | {
            "issuer": "https://Login.Example.com:443/",
            "websocket_origins": ["https://WS.example:443"],
            "frame_ancestors": "HTTPS://Portal.example",
        }
    )
    assert whole.issuer == "https://Login.Example.com:443/"
    assert whole.websocket_origins == ("https://ws.example",)
    assert whole.frame_ancestors == ("https://portal.example",)


SHARED = "https://login.microsoftonline.com/common/v2.0"


@pytest.mark.parametrize(
    "issuer", [SHARED, SHARED.replace("common", "organizations"), SHARED.replace("common", "{tenantid}")]
)
def test_an_issuer_for_all_tenants_needs_a_list_of_them(issuer: str) -> None:
    assert is_shared_issuer(issuer)
    error = refused(issuer=issuer)
    assert error.name == "allowed_tenants"
    assert "list those that may sign in" in str(error)
    assert Settings.resolve(REAL | {"issuer": issuer, "allowed_tenants": ["t-1"]}).allowed_tenants == ("t-1",)
    assert Settings.resolve(REAL | {"issuer": issuer, "allowed_tenants": "*"}).allowed_tenants == ("*",)


def test_an_issuer_of_one_tenant_needs_none() -> None:
    assert not is_shared_issuer("https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0")
    assert not is_shared_issuer("https://common.example/v2.0")


# The table itself ------------------------------------------------------------------------------------------


def test_every_setting_says_its_unit_and_effect() -> None:
    for item in described():
        assert item.metadata["unit"], item.name
        assert item.metadata["effect"].endswith("."), item.name


def test_the_defaults_can_work() -> None:
    assert Settings.resolve(REAL)
    assert Settings.resolve(REAL | {item.name: item.default for item in described() if item.name not in REAL})


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
    ],
)
def test_loopback_hosts(host: str, loopback: bool) -> None:
    assert is_loopback_host(host) is loopback


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example.com", True),
        ("http://[::1]:8000", True),
        ("https://app.example.com/", False),
        ("https://app.example.com:port", False),
        ("https://me@app.example.com", False),
        ("//app.example.com", False),
        ("null", False),
        ("*", False),
        ("https://app.example.com\n", False),
    ],
)
def test_origins(text: str, origin: bool) -> None:
    assert is_origin(text) is origin


def environment_name_of(name: str) -> str:
    variable = next(environment_name(item) for item in described() if item.name == name)
    assert variable is not None
    return variable


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)
