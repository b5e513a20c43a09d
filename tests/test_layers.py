"""Imports go downwards only, and the lower layers touch nothing outside themselves: no clock, no dice, no I/O."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kmsi_middleware

PACKAGE = "kmsi_middleware"
ROOT = Path(kmsi_middleware.__file__).parent
LAYERS = {"vocabulary": 0, "rules": 1, "flows": 2, "edges": 3}
FACES = 4

# What layers 0 to 2 must not import, by the name's beginning.
OUTSIDE = {
    *("asyncio", "anyio", "trio", "sniffio", "concurrent", "threading", "_thread", "multiprocessing", "queue"),
    *("selectors", "signal", "subprocess", "contextvars", "atexit", "weakref", "gc"),
    *("socket", "socketserver", "ssl", "http", "urllib.request", "httpx", "httpcore", "requests", "urllib3", "ftplib"),
    *("smtplib", "starlette", "fastapi", "flask", "werkzeug", "django", "uvicorn", "gunicorn", "wsgiref"),
    *("time", "calendar", "zoneinfo", "random", "secrets", "logging", "warnings", "tempfile", "getpass", "platform"),
    *("os", "sys", "io", "pathlib", "posixpath", "shutil", "glob", "mmap", "fcntl", "tomllib", "importlib"),
    *("sqlite3", "dbm", "shelve", "redis", "pickle", "jinja2", "authlib", "numpy"),
}
# What they must not call: the clock and the dice come in from outside.
CALLS = {"now", "utcnow", "today", "uuid1", "uuid4", "open", "print", "input", "urandom", "localtime", "generate_key"}
# The same name, and no clock or dice: an attribute of one of these.
OURS = {"seals.open", "app.seals.open", "self.open"}


def modules() -> dict[str, str]:
    """Every module of the package, with its source."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = [PACKAGE, *path.relative_to(ROOT).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


MODULES = modules()
PACKAGES = {name for name in MODULES if any(other.startswith(name + ".") for other in MODULES)}


def layer_of(module: str) -> int:
    parts = module.split(".")
    return LAYERS.get(parts[1], FACES) if len(parts) > 1 else FACES


def imports(module: str, source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of all that a module imports, wherever in it."""
    home = module.split(".") if module in PACKAGES else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = home[: len(home) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                # `from package import module` imports the module; `from module import name` the module before it.
                known = whole in MODULES or base not in MODULES
                yield node.lineno, whole if known else base


def upward(module: str, source: str) -> list[str]:
    """Imports of a higher layer; and of the embedded provider, anything that the relying party is made of."""
    found = []
    for line, name in imports(module, source):
        if name != PACKAGE and not name.startswith(PACKAGE + "."):
            continue
        is_up = layer_of(name) > layer_of(module)
        provider_peeks = module.startswith(f"{PACKAGE}.idp") and 1 <= layer_of(name) <= 3
        if is_up or provider_peeks:
            found.append(f"{module}:{line} imports {name}")
    return found


def outside(module: str, source: str) -> list[str]:
    """What a module of layers 0 to 2 imports or calls from outside."""
    found = [
        f"{module}:{line} imports {name}"
        for line, name in imports(module, source)
        if any(name == banned or name.startswith(banned + ".") for banned in OUTSIDE)
    ]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called.rpartition(".")[2] in CALLS and called not in OURS:
                found.append(f"{module}:{node.lineno} calls {called}")
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            found.append(f"{module}:{node.lineno} is async")
        if isinstance(node, ast.Name) and node.id == "__import__":
            found.append(f"{module}:{node.lineno} imports by __import__")
    return found


LOW = [name for name in MODULES if layer_of(name) < 3]


def test_every_layer_is_there() -> None:
    assert {layer_of(name) for name in MODULES} == {0, 1, 2, 3, 4}
    assert len(LOW) > 15
    assert f"{PACKAGE}.rules.oidc.id_token" in LOW
    assert layer_of(PACKAGE) == layer_of(f"{PACKAGE}.idp.store") == FACES


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards_only(module: str) -> None:
    assert upward(module, MODULES[module]) == []


@pytest.mark.parametrize("module", LOW)
def test_the_lower_layers_touch_nothing_outside(module: str) -> None:
    assert outside(module, MODULES[module]) == []


@pytest.mark.parametrize("module", [name for name in LOW if layer_of(name) == 2])
def test_a_flow_catches_only_errors_of_ours(module: str) -> None:
    ours = set(dir(__import__(f"{PACKAGE}.vocabulary.errors", fromlist=["errors"]))) | {"UnknownKey"}
    ours |= {"UnicodeDecodeError", "ValueError"}  # of reading what a browser sent, which is no I/O
    for node in ast.walk(ast.parse(MODULES[module])):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{module}:{node.lineno} catches everything"
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            assert {ast.unparse(item).rpartition(".")[2] for item in caught} <= ours, f"{module}:{node.lineno}"


# That these tests can fail -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("rules.kmsi", "from ..flows import sessions"),
        ("rules.kmsi", "from ..flows.sessions import find"),
        ("rules.kmsi", "from .. import flows"),
        ("rules.kmsi", "from .. import Settings"),
        ("rules.kmsi", "import kmsi_middleware.flows.sessions"),
        ("rules.kmsi", "import kmsi_middleware"),
        ("rules.kmsi", "from kmsi_middleware import asgi"),
        ("rules.kmsi", "from kmsi_middleware.edges.wire import Where"),
        ("rules.kmsi", "def late():\n    from ..edges import wire"),
        ("rules.kmsi", "if TYPE_CHECKING:\n    from ..assembly import Clock"),
        ("rules.oidc.tokens", "from ...flows import forms"),
        ("rules.oidc", "from ...flows import forms"),
        ("vocabulary.settings", "from ..rules import kmsi"),
        ("vocabulary", "from ..rules import kmsi"),
        ("flows.sessions", "from ..edges.asgi import ASGIShell"),
        ("flows.sessions", "from ..idp import app"),
        ("edges.asgi", "from ..assembly import assemble"),
        ("edges.asgi", "from ..idp.app import ProviderApp"),
        ("edges.stores.sqlite", "from ...cli import main"),
        ("idp.app", "from ..rules import seals"),
        ("idp.app", "from ..flows import forms"),
        ("idp.app", "from ..edges.wire import Where"),
        ("idp.app", "from kmsi_middleware.rules.oidc import id_token"),
        ("idp", "from ..rules import seals"),
    ],
)
def test_an_import_upwards_is_found(module: str, source: str) -> None:
    assert f"{PACKAGE}.{module}" in MODULES
    assert len(upward(f"{PACKAGE}.{module}", source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("rules.kmsi", "from ..vocabulary.settings import Settings"),
        ("rules.kmsi", "from . import cookies"),
        ("rules.kmsi", "import re, json"),
        ("rules.oidc.tokens", "from ..seals import encode"),
        ("rules.oidc.tokens", "from .discovery import Provider"),
        ("flows.sessions", "from . import log\nfrom .. import rules"),
        ("edges.asgi", "from ..flows import dispatch\nfrom .wire import Where"),
        ("assembly", "from .edges.asgi import ASGIShell\nfrom .idp.app import ProviderApp"),
        ("idp.app", "from ..vocabulary.settings import is_loopback_host\nfrom .store import Store"),
    ],
)
def test_an_import_downwards_is_fine(module: str, source: str) -> None:
    assert upward(f"{PACKAGE}.{module}", source) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from time import time",
        "import os.path",
        "from os import urandom",
        "import asyncio.events",
        "import logging",
        "import random",
        "from secrets import token_bytes",
        "import sqlite3",
        "import httpx",
        "from urllib.request import urlopen",
        "from starlette.requests import Request",
        "from http import HTTPStatus",
        "def late():\n    import threading",
        "from datetime import datetime\nx = datetime.now()",
        "import datetime\nx = datetime.datetime.now(datetime.UTC)",
        "from datetime import date\nx = date.today()",
        "import uuid\nx = uuid.uuid4()",
        "x = open('file')",
        "x = self.path.open()",
        "async def flow(): ...",
        "x = __import__('time')",
    ],
)
def test_what_reaches_outside_is_found(source: str) -> None:
    assert len(outside(f"{PACKAGE}.rules.kmsi", source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import UTC, datetime\nx = datetime.fromtimestamp(0, UTC).isoformat()",
        "import uuid\nx = uuid.UUID(bytes=b'')",
        "from email.utils import formatdate\nx = formatdate(0)",
        "from urllib.parse import urlsplit",
        "import re, json, hashlib, hmac, ipaddress, marshal",
        "x = app.seals.open('state', text)",
    ],
)
def test_what_stays_inside_is_fine(source: str) -> None:
    assert outside(f"{PACKAGE}.rules.kmsi", source) == []
