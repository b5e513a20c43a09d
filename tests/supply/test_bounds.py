"""Each dependency has a lower and an upper bound, is asked for by name where it is imported, and is on the page."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from tests.supply import bounds

import kmsi_middleware

PACKAGE = Path(kmsi_middleware.__file__).parent
PAGE = (bounds.ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
ON_DEMAND = {"flask.py", "edges/stores/redis"}
"""Parts that import an extra, or what comes with an app that uses them. Only they may, where they are imported."""
NOT_ASKED_FOR = {
    "_typeshed": "of the type checker",
    "trio": "of the app that runs on it, and imported when it does",
}


def names(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def imports(path: Path) -> dict[str, bool]:
    """The packages that a module imports from elsewhere, and whether importing the module does it."""
    found: dict[str, bool] = {}

    def visit(node: ast.AST, now: bool) -> None:
        for child in ast.iter_child_nodes(node):
            later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            later = later or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test))
            modules = [alias.name for alias in child.names] if isinstance(child, ast.Import) else []
            if isinstance(child, ast.ImportFrom) and not child.level:
                modules = [child.module or ""]
            for module in modules:
                top = module.partition(".")[0]
                is_own = top == "kmsi_middleware" or top in sys.stdlib_module_names
                if not is_own and (now or top not in NOT_ASKED_FOR):
                    found[top] = found.get(top, False) or now
            visit(child, now and not later)

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return found


MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
OWNERS = {module: {names(owner) for owner in owners} for module, owners in metadata.packages_distributions().items()}
RUN_TIME = {one.name for one in bounds.run_time()}
OF_EXTRAS = {one.name for group in bounds.extras().values() for one in group}


@pytest.mark.parametrize("module", MODULES)
def test_what_is_imported_is_asked_for(module: str) -> None:
    on_demand = any(module.startswith(part) for part in ON_DEMAND)
    for package, now in imports(MODULES[module]).items():
        asked = RUN_TIME | OF_EXTRAS if on_demand or not now else RUN_TIME
        assert OWNERS.get(package, set()) & asked, f"{module} imports {package}, which pyproject.toml does not ask for"


def test_what_is_asked_for_is_imported() -> None:
    found = {owner for path in MODULES.values() for package in imports(path) for owner in OWNERS[package]}
    by_others = {"python-multipart": "by Starlette", "gunicorn": "by the demo, as a server"}
    assert (RUN_TIME | OF_EXTRAS) - found == set(by_others)


def test_without_the_extras_all_but_their_own_parts_can_be_imported() -> None:
    left_out = sorted(package for package, owners in OWNERS.items() if owners & (OF_EXTRAS - RUN_TIME))
    assert {"flask", "redis", "hiredis", "maxminddb", "uvicorn"} <= set(left_out)
    wanted = [
        "kmsi_middleware." + module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for module in MODULES
        if module != "__init__.py" and not any(module.startswith(part) for part in ON_DEMAND)
    ]
    code = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({left_out!r}))\n"  # importing one now raises ModuleNotFoundError
        f"for name in {wanted!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def rows(heading: str) -> dict[str, str]:
    """What stands in the first two columns of the table below a heading."""
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `([a-z0-9-]+)` \| `(\S+)` \|", part, re.MULTILINE)
    assert len(found) == len(dict(found))
    return dict(found)


def test_the_page_has_every_dependency_with_its_bounds() -> None:
    assert rows("At run time") == {one.name: f">={one.lowest},<{one.below}" for one in bounds.run_time()}
    extras = [one for group in bounds.extras().values() for one in group]
    assert rows("Extras") == {one.name: f">={one.lowest},<{one.below}" for one in extras}


def test_the_page_has_every_tool() -> None:
    every = bounds.project()["optional-dependencies"]
    tools = [text for extra in every if extra not in bounds.EXTRAS for text in every[extra]]  # type: ignore
    asked = {re.split(r"[>\[]", text)[0] for text in tools if not text.startswith("kmsi-middleware")}
    part = PAGE.partition("\n## Test tools\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\* `([a-z-]+)`: ", part, re.MULTILINE)) == asked


def test_the_bounds_of_each_are_in_order_and_what_is_installed_is_within() -> None:
    for one in bounds.ours():
        assert bounds.parts(one.lowest) < bounds.parts(one.below)
        assert one.allows(metadata.version(one.name)), f"{one}: {metadata.version(one.name)} is installed"


@pytest.mark.parametrize("text", ["anyio", "anyio>=4.5", "anyio<5", "anyio==4.5", "anyio>=4.5,<5; python_version<'4'"])
def test_a_requirement_without_both_bounds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it as name>=lowest,<below"):
        bounds.read([text])


def test_constraints_hold_each_at_its_lower_bound(capsys: pytest.CaptureFixture[str]) -> None:
    assert bounds.main(["lowest"]) == 0
    lines = capsys.readouterr().out.split()
    assert lines == [f"{one.name}=={one.lowest}" for one in bounds.ours()]
    assert bounds.main(["highest"]) == 0
    assert capsys.readouterr().out == ""


def test_other_versions_than_the_lowest_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bounds, "ours", lambda: [bounds.Bounds("pytest", "8.3", "99")])
    assert bounds.main(["installed", "lowest"]) == 1
    assert "is not the lowest" in capsys.readouterr().out
    monkeypatch.setattr(bounds, "newest", lambda: {"pytest": "99.1"})
    assert bounds.main(["installed", "highest"]) == 0
    assert "99.1 is out, and kept out by our bound" in capsys.readouterr().out
    monkeypatch.setattr(bounds, "newest", lambda: {"pytest": "98.9"})
    assert bounds.main(["installed", "highest"]) == 1
    assert "98.9 is allowed, too" in capsys.readouterr().out
