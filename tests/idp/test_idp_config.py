"""Users and apps from TOML, and what is said when they are not right."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmsi_middleware.idp import App, ConfigError, IdPConfig, User, default_config, load_config

USER = '[[users]]\nusername = "a"\nname = "A"\n'
APP = '[[apps]]\nclient_id = "x"\nredirect_uris = ["http://localhost:1/cb"]\n'
DEVICE = '[[devices]]\nid = "d"\nname = "D"\nowner = "a"\n'


def test_the_default_has_its_people_apps_and_devices() -> None:
    config = default_config()
    assert [user.name for user in config.users] == [
        "Mia Member",
        "Gus Guest",
        "Rita Risk",
        "Sam Shared",
        "Iwa Integrated",
        "Carl Contractor",
        "Eve Emergency",
    ]
    assert all(user.second_factor and user.claims["groups"] for user in config.users)
    assert [(device.name, device.join) for device in config.devices] == [
        ("MIA-LAPTOP", "joined"),
        ("SAM-DESK", "hybrid"),
        ("Mia’s phone", "registered"),
    ]
    assert [app.client_id for app in config.apps] == ["starlette-app", "flask-app"]
    assert all(app.frontchannel_logout_uri for app in config.apps)
    assert config.show_passwords


def test_a_file_becomes_users_and_apps(tmp_path: Path) -> None:
    path = tmp_path / "idp.toml"
    path.write_text(
        'tenant = "t"\n'
        + USER
        + 'password = "p"\nacct = 1\namr = ["pwd", "mfa"]\nclaims = { risk = "low" }\n'
        + APP
        + 'client_secret = "s"\nrequire_consent = true\nfrontchannel_logout_uri = "http://localhost:1/fc"\n'
    )
    config = load_config(path)
    (user,), (app,) = config.users, config.apps
    assert (config.tenant, config.show_passwords) == ("t", False)
    assert (user.acct, user.amr, user.claims) == (1, ("pwd", "mfa"), {"risk": "low"})
    assert user.sub == User("a", "Another name").sub
    assert (app.name, app.require_consent, app.redirect_uris) == ("x", True, ("http://localhost:1/cb",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("users = 3", ["users = 3", "[[users]]"]),
        ("", ["users = []", "one user at least"]),
        ("nonsense", ["not valid TOML"]),
        (USER + 'colour = "red"', ["[[users]] number 1, colour = 'red'", "known are username, name, password"]),
        (
            "speed = 1\n" + USER,
            [
                "speed = 1",
                "known are tenant, show_passwords, behaviour, tenant_name, redirect_anywhere",
                "[[users]], [[apps]]",
            ],
        ),
        ('[[users]]\nname = "A"\n', ["number 1, username is missing"]),
        (USER + '[[users]]\nusername = "b"\n', ["number 2, name is missing"]),
        (USER + 'acct = "guest"', ["acct = 'guest'", "0 (member) or 1 (guest)"]),
        (USER + "acct = true", ["acct = True"]),
        (USER + "disabled = 1", ["disabled = 1", "must be true or false"]),
        (USER + "password = 12", ["password = 12", "must be a text"]),
        (USER + 'amr = "wia"', ["amr = 'wia'", "list of texts"]),
        (USER + 'claims = { sub = "x" }', ["claims.sub = 'x'", "choose another name"]),
        (USER + USER, ["username = 'a'", "is there twice"]),
        (USER + APP + APP, ["client_id = 'x'", "is there twice"]),
        ("show_passwords = 1\n" + USER, ["show_passwords = 1", "true or false"]),
        (USER + '[[apps]]\nclient_id = "x"\n', ["[[apps]] number 1, redirect_uris is missing"]),
        (USER + '[[apps]]\nclient_id = "x"\nredirect_uris = []\n', ["redirect_uris = []", "one URI at least"]),
        (USER + "second_factor = 123456", ["second_factor = 123456", "must be a text"]),
        (USER + 'claims = { acrs = ["c1"] }', ["claims.acrs", "choose another name"]),
        (USER + APP + 'auth_time = "sometimes"', ["auth_time = 'sometimes'", "always, never, stale"]),
        (USER + APP + 'step_up = "no"', ["step_up = 'no'", "true or false"]),
        (USER + '[[devices]]\nid = "d"\nname = "D"\n', ["[[devices]] number 1, owner is missing"]),
        (USER + DEVICE + 'join = "workgroup"', ["join = 'workgroup'", "joined, hybrid, registered"]),
        (USER + DEVICE + 'is_compliant = "yes"', ["is_compliant = 'yes'", "or left out"]),
        (USER + DEVICE + "properties = { isCompliant = true }", ["properties.isCompliant", "a key of its own"]),
        (USER + DEVICE + "properties = 1", ["properties = 1", "Graph's property names"]),
        (USER + DEVICE + DEVICE, ["id = 'd'", "is there twice"]),
        (USER + DEVICE.replace('"a"', '"b"'), ["owner = 'b'", "one of the users"]),
        (USER + APP + 'require_consent = "yes"', ["require_consent = 'yes'", "true or false"]),
        (USER + APP + 'frontchannel_logout_uri = "http://localhost:2/fc"', ["origin of one of the redirect_uris"]),
        (USER + APP + 'frontchannel_logout_uri = "/fc"', ["origin of one of the redirect_uris"]),
        (USER + APP + 'backchannel_logout_uri = "http://localhost:1/#x"', ["without a fragment"]),
    ],
)
def test_a_wrong_file_is_told_by_file_key_value_and_remedy(tmp_path: Path, text: str, expected: list[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    for part in expected:
        assert part in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: can't be read"):
        load_config(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://localhost/cb",
        "//evil/cb",
        "cb",
        "http://",
        "http://a b/",
        'http://a/"',
        "http://u@a/",
        "http://a:x/",
        "http://a;b/",
    ],
)
def test_an_odd_redirect_uri_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="absolute http or https URI"):
        App(client_id="x", redirect_uris=(uri,))


def test_own_origin_uris_are_resolved_against_the_provider() -> None:
    app = App(
        client_id="me",
        redirect_uris=("/.auth/callback",),
        post_logout_redirect_uris=("/.auth/logged-out",),
        frontchannel_logout_uri="/.auth/frontchannel-logout",
    )
    resolved = default_config().with_app(app).at("http://localhost:8000").app("me")
    assert resolved is not None
    assert resolved.redirect_uris == ("http://localhost:8000/.auth/callback",)
    assert resolved.post_logout_redirect_uris == ("http://localhost:8000/.auth/logged-out",)
    assert resolved.frontchannel_logout_uri == "http://localhost:8000/.auth/frontchannel-logout"
    assert resolved.backchannel_logout_uri is None


def test_with_app_replaces_the_app_of_the_same_name() -> None:
    config = IdPConfig(users=(User("a", "A"),))
    one = config.with_app(App("x", ("/one",)))
    two = one.with_app(App("x", ("/two",)))
    assert config.apps == ()
    assert [app.redirect_uris for app in two.apps] == [("/two",)]


def test_a_secret_is_not_shown() -> None:
    assert "hush" not in repr(App("x", ("/cb",), client_secret="hush"))
    assert "hush" not in repr(User("a", "A", password="hush", second_factor="hush"))
