"""How the setting ``store`` spells a Redis: every spelling, and what each mistake is told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from kmsi_middleware.edges.stores import open_store
from kmsi_middleware.edges.stores.redis import Address, RedisStore, read
from kmsi_middleware.vocabulary.errors import SettingsError
from kmsi_middleware.vocabulary.settings import Settings

H = ("h", 6379)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://h", {"hosts": (H,)}),
        ("redis://h:6380", {"hosts": (("h", 6380),)}),
        ("redis://h/", {"hosts": (H,)}),
        ("redis://h/3", {"hosts": (H,), "database": 3}),
        ("redis://[::1]:7/0", {"hosts": (("::1", 7),)}),
        ("redis://:secret@h", {"hosts": (H,), "password": "secret"}),
        ("redis://app:se%40c%2Fr%3Aet@h", {"hosts": (H,), "username": "app", "password": "se@c/r:et"}),
        ("redis://app:a@b/c@h/1", {"hosts": (H,), "username": "app", "password": "a@b/c", "database": 1}),
        ("redis://h?prefix=app:", {"hosts": (H,), "prefix": "app:"}),
        ("redis://h/2?prefix=", {"hosts": (H,), "database": 2, "prefix": ""}),
        ("rediss://h", {"hosts": (H,), "tls": {}}),
        ("rediss://h?ssl_check_hostname=false", {"hosts": (H,), "tls": {"ssl_check_hostname": False}}),
        (
            "redis+sentinel://a,b:26380/main/2",
            {"kind": "sentinel", "hosts": (("a", 26379), ("b", 26380)), "service": "main", "database": 2},
        ),
        (
            "redis+sentinel://:p@a/my%20main?sentinel_username=u&sentinel_password=q",
            {
                "kind": "sentinel",
                "hosts": (("a", 26379),),
                "service": "my main",
                "password": "p",
                "sentinel_username": "u",
                "sentinel_password": "q",
            },
        ),
        ("rediss+sentinel://a/main", {"kind": "sentinel", "hosts": (("a", 26379),), "service": "main", "tls": {}}),
        ("redis+cluster://a:7000,b:7001", {"kind": "cluster", "hosts": (("a", 7000), ("b", 7001))}),
        (
            "rediss+cluster://u:p@a/0",
            {"kind": "cluster", "hosts": (("a", 6379),), "username": "u", "password": "p", "tls": {}},
        ),
    ],
)
def test_every_spelling(text: str, expected: dict[str, Any]) -> None:
    found = read(text)
    found.shown = ""
    assert found == Address(**{"kind": "single", **expected})


def test_files_of_tls_are_looked_for_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    with pytest.raises(SettingsError, match=r"there is no file .*ca.pem.* for ssl_ca_certs"):
        read(f"rediss://h?ssl_ca_certs={file}")
    file.touch()
    assert read(f"rediss://h?ssl_ca_certs={file}").tls == {"ssl_ca_certs": str(file)}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("redis://", "give redis://HOST"),
        ("redis:///0", "give redis://HOST"),
        ("redis:h", "sqlite:PATH"),
        ("redis://h:99999", "give redis://HOST"),
        ("redis://h:x", "give redis://HOST"),
        ("redis://h h", "give redis://HOST"),
        ("redis://h#x", "give redis://HOST"),
        ("redis+proxy://h", "give redis://HOST"),
        ("redis://a,b", r"several hosts go with redis\+sentinel:// or redis\+cluster://"),
        ("redis://h/x", "the database is a number"),
        ("redis://h/0/1", "the database is a number"),
        ("redis+sentinel://a", "name the service"),
        ("redis+sentinel://a/", "name the service"),
        ("redis+sentinel://a/main/x", "the database is a number"),
        ("redis+cluster://a/1", "database 0 only"),
        ("redis://h?x=1", "its options are prefix"),
        ("redis://h?db=1", "its options are prefix"),
        ("redis://h?ssl_ca_certs=x", "its options are prefix"),
        ("rediss://h?ssl_cert_reqs=none", "its options are prefix"),
        ("redis://h?sentinel_password=x", "its options are prefix"),
        ("rediss://h?ssl_check_hostname=maybe", "ssl_check_hostname is true or false"),
    ],
)
def test_a_mistake_is_told_what_would_work(text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        open_store(text)
    assert caught.value.name == "store"


@pytest.mark.parametrize(
    "text",
    [
        "redis://:CANARY@h/x",
        "redis://:CAN/ARY@h",
        "redis://:CAN?ARY@h",
        "redis://u:CANARY@h:x",
        "redis://u:CANARY@h?db=1",
        "redis+sentinel://h/main/x?sentinel_password=CANARY",
        "rediss+cluster://u:CANARY@h/4",
        "redis:/u:CANARY@h",
        "rediss+sentinel://CANARY:CANARY@h/",
    ],
)
def test_no_message_has_a_password(text: str) -> None:
    for attempt in (lambda: open_store(text), lambda: Settings(store=text)):
        try:
            found = attempt()
        except SettingsError as error:
            shown = f"{error}{error.value}{error.args}"
        else:
            shown = repr(found)
        for part in ("CANARY", "CAN", "ARY"):
            assert part not in shown.replace("CLUSTER", "")


def test_neither_the_address_nor_the_settings_show_a_password() -> None:
    text = "redis+sentinel://u:CANARY@h/main?sentinel_password=CANARY"
    assert "CANARY" not in repr(read(text)) + repr(Settings(store=text))


def test_a_store_without_redis_py_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("kmsi_middleware.edges.stores.redis")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SettingsError, match=r"redis is not installed: pip install 'kmsi-middleware\[redis\]'"):
        open_store("redis://u:CANARY@h")


def test_nothing_is_opened_before_the_first_use() -> None:
    assert isinstance(open_store("redis://127.0.0.1:1"), RedisStore)
    assert isinstance(open_store("redis+cluster://127.0.0.1:1"), RedisStore)
    assert isinstance(open_store("redis+sentinel://127.0.0.1:1/main"), RedisStore)
