"""What is published: the wheel and the source distribution hold the package and nothing else, and work alone."""

from __future__ import annotations

import configparser
import email.message
import email.parser
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.supply import bounds

SOURCE = bounds.ROOT / "src" / "kmsi_middleware"
KINDS = {".py", ".html", ".toml", ".typed"}
"""What the package is made of. A file of another kind needs a thought before it is published."""
BESIDE = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore"}
"""What the source distribution holds beside it."""
VERSION = str(bounds.project()["version"])
INFO = f"kmsi_middleware-{VERSION}.dist-info"


def build(kind: str, root: Path, folder: Path) -> Path:
    """As pip does it (PEP 517), by the back end that is installed. ``kind``: ``wheel`` or ``sdist``."""
    folder.mkdir(parents=True)
    code = f"import hatchling.build; hatchling.build.build_{kind}({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("published")


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    return build("wheel", bounds.ROOT, folder / "wheel")


@pytest.fixture(scope="module")
def sdist(folder: Path) -> Path:
    return build("sdist", bounds.ROOT, folder / "sdist")


@pytest.fixture(scope="module")
def about(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        return email.parser.BytesParser().parsebytes(archive.read(f"{INFO}/METADATA"))


@pytest.fixture(scope="module")
def installed(wheel: Path, folder: Path) -> Path:
    """The wheel alone in a folder. What it depends on comes from where the tests run."""
    target = folder / "installed"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index"]
    subprocess.run([*command, "--no-deps", "--target", str(target), str(wheel)], check=True)
    return target


def run(command: list[str], installed: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=installed.parent, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def package() -> set[str]:
    """Every file of the package in the checkout."""
    found = {path.relative_to(SOURCE.parent).as_posix() for path in SOURCE.rglob("*") if path.is_file()}
    return {path for path in found if "/__pycache__/" not in path}


def test_the_package_is_made_of_known_kinds_of_files() -> None:
    assert {Path(path).suffix for path in package()} == KINDS


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        assert archive.testzip() is None
    metadata = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert held == package() | {f"{INFO}/{name}" for name in metadata}
    assert {"kmsi_middleware/py.typed", "kmsi_middleware/idp/default.toml"} <= held
    assert wheel.name == f"kmsi_middleware-{VERSION}-py3-none-any.whl"


def test_the_source_distribution_has_what_the_wheel_is_built_from_and_nothing_else(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {member.name.partition("/")[2] for member in archive if member.isfile()}
        assert all(member.isfile() or member.isdir() for member in archive)
    assert held == {f"src/{path}" for path in package()} | BESIDE | {"PKG-INFO"}


def test_the_same_source_makes_the_same_bytes(wheel: Path, sdist: Path, folder: Path) -> None:
    """Another checkout, of another time, with other permissions."""
    other = folder / "checkout"
    shutil.copytree(SOURCE, other / "src" / SOURCE.name, copy_function=shutil.copyfile)
    for name in BESIDE:
        shutil.copyfile(bounds.ROOT / name, other / name)
    for path in other.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert build("wheel", other, folder / "again" / "wheel").read_bytes() == wheel.read_bytes()
    assert build("sdist", other, folder / "again" / "sdist").read_bytes() == sdist.read_bytes()


def test_the_source_distribution_makes_the_same_wheel(wheel: Path, sdist: Path, folder: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (root,) = (folder / "unpacked").iterdir()
    assert build("wheel", root, folder / "from-sdist").read_bytes() == wheel.read_bytes()


def test_the_metadata_is_that_of_the_project(about: email.message.Message) -> None:
    project = bounds.project()
    assert (about["Name"], about["Version"], about["Summary"]) == (
        project["name"],
        project["version"],
        project["description"],
    )
    assert about["Requires-Python"] == project["requires-python"]
    assert (about["License-Expression"], about.get_all("License-File")) == ("MIT", ["LICENSE"])
    assert about.get_all("Classifier") == sorted(project["classifiers"])  # type: ignore[call-overload]
    assert about["Description-Content-Type"] == "text/markdown"
    body = about.get_payload(decode=True)
    assert body == (bounds.ROOT / "README.md").read_bytes()


def specified(one: bounds.Bounds) -> str:
    requirement = Requirement(str(one))
    return f"{requirement.name}{requirement.specifier}"


def test_an_installation_asks_for_the_bounds_of_the_project(about: email.message.Message) -> None:
    extras = bounds.project()["optional-dependencies"]
    assert set(about.get_all("Provides-Extra") or []) == set(extras)  # type: ignore[call-overload]
    asked: dict[str, set[str]] = {}
    for text in about.get_all("Requires-Dist") or []:
        requirement = Requirement(text)
        extra = str(requirement.marker).partition("extra == ")[2].strip('"')
        asked.setdefault(extra, set()).add(f"{requirement.name}{requirement.specifier}")
    assert asked[""] == {specified(one) for one in bounds.run_time()}
    for extra, group in bounds.extras().items():
        assert asked[extra] == {specified(one) for one in group}


def test_every_module_and_template_works_from_the_wheel_alone(installed: Path) -> None:
    code = (
        "import importlib, pkgutil, kmsi_middleware, sys\n"
        "for module in pkgutil.walk_packages(kmsi_middleware.__path__, 'kmsi_middleware.'):\n"
        "    importlib.import_module(module.name)\n"
        "from kmsi_middleware.idp.config_file import default_config\n"
        "from jinja2 import Environment, PackageLoader\n"
        "pages = Environment(loader=PackageLoader('kmsi_middleware'), autoescape=True)\n"
        "print(len([pages.get_template(name) for name in pages.list_templates()]), len(default_config().users))\n"
        "for name, module in sys.modules.items():\n"
        "    if name.partition('.')[0] == 'kmsi_middleware': print(module.__spec__.origin)\n"
    )
    counts, *origins = run([sys.executable, "-c", code], installed).splitlines()
    templates, users = map(int, counts.split())
    assert templates == len(list((SOURCE / "templates").iterdir()))
    assert users > 0
    assert len(origins) == len(list(SOURCE.rglob("*.py")))
    assert all(Path(origin).is_relative_to(installed) for origin in origins)


def test_the_command_works_from_the_wheel_alone(wheel: Path, installed: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        entries = configparser.ConfigParser()
        entries.read_string(archive.read(f"{INFO}/entry_points.txt").decode())
    assert {name: dict(entries[name]) for name in entries.sections()} == {
        "console_scripts": {"kmsi": "kmsi_middleware.cli:main"}
    }
    told = run([str(installed / "bin" / "kmsi"), "--help"], installed)
    for command in ("idp", "sessions", "sign-ins", "what-if", "policies", "policy-impact", "import-b2c"):
        assert command in told
