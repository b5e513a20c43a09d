"""What the package shows, and what importing it does not load."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import kmsi_middleware
import kmsi_middleware.errors
from kmsi_middleware.vocabulary import errors as tree
from kmsi_middleware.vocabulary.errors import KMSIError

FACES = [
    "kmsi_middleware",
    "kmsi_middleware.errors",
    "kmsi_middleware.asgi",
    "kmsi_middleware.sessions",
    "kmsi_middleware.testing",
    "kmsi_middleware.wsgi",
]


@pytest.mark.parametrize("name", FACES)
def test_all_is_sorted_and_every_name_is_there(name: str) -> None:
    module = importlib.import_module(name)
    assert list(module.__all__) == sorted(set(module.__all__))
    for member in module.__all__:
        assert getattr(module, member) is not None


def test_all_is_complete() -> None:
    public = {
        name
        for name, value in vars(kmsi_middleware).items()
        if not name.startswith("_") and inspect.isclass(value) and value.__module__.startswith("kmsi_middleware")
    }
    assert public | {"KMSIMiddleware"} == set(kmsi_middleware.__all__)


def test_every_error_of_the_tree_can_be_caught_by_name() -> None:
    raised = {name for name, value in vars(tree).items() if inspect.isclass(value) and issubclass(value, KMSIError)}
    assert set(kmsi_middleware.errors.__all__) == raised
    for name in raised:
        assert getattr(kmsi_middleware.errors, name) is getattr(tree, name)


def test_a_star_import_brings_all() -> None:
    names: dict[str, object] = {}
    exec("from kmsi_middleware import *", names)
    assert set(kmsi_middleware.__all__) <= set(names)


def test_the_two_faces_have_one_name() -> None:
    from kmsi_middleware import KMSIMiddleware
    from kmsi_middleware.asgi import KMSIMiddleware as ASGI
    from kmsi_middleware.wsgi import KMSIMiddleware as WSGI

    assert KMSIMiddleware is ASGI
    assert ASGI.__module__ != WSGI.__module__
    assert ASGI.__name__ == WSGI.__name__ == "KMSIMiddleware"


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = kmsi_middleware.Nothing


def loaded_by(statement: str) -> set[str]:
    """What a fresh interpreter has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


ASGI_ONLY = {"kmsi_middleware.asgi", "kmsi_middleware.edges.asgi"}
WSGI_ONLY = {"kmsi_middleware.wsgi", "kmsi_middleware.edges.wsgi"}


@pytest.mark.parametrize(
    ("statement", "needed", "unneeded"),
    [
        ("import kmsi_middleware", {"kmsi_middleware.vocabulary.settings"}, ASGI_ONLY | WSGI_ONLY),
        ("from kmsi_middleware import KMSIMiddleware", ASGI_ONLY, WSGI_ONLY),
        ("import kmsi_middleware.asgi", ASGI_ONLY, WSGI_ONLY),
        ("import kmsi_middleware.wsgi", WSGI_ONLY, ASGI_ONLY),
        ("import kmsi_middleware.errors", {"kmsi_middleware.errors"}, ASGI_ONLY | WSGI_ONLY),
    ],
)
def test_an_import_loads_what_it_needs_and_no_more(statement: str, needed: set[str], unneeded: set[str]) -> None:
    loaded = loaded_by(statement)
    assert needed <= loaded
    assert not unneeded & loaded
    heavy = {"jinja2", "joserfc", "authlib", "fastapi", "flask", "django"}
    assert not heavy & {name.partition(".")[0] for name in loaded}
    assert not {name for name in loaded if name.startswith("kmsi_middleware.idp")}


def test_the_check_of_imports_can_fail() -> None:
    assert "jinja2" in loaded_by("import jinja2")
    assert loaded_by("import kmsi_middleware.wsgi, kmsi_middleware.asgi") >= ASGI_ONLY
