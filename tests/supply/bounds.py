"""The versions that ``pyproject.toml`` allows, read for ``make lowest`` and ``make highest``.

``bounds.py lowest`` prints constraints for pip that hold each dependency of ours at its lower bound; ``highest`` prints
none, as the newest release below the upper bound is what pip takes by itself. ``bounds.py installed lowest`` (or
``highest``), run where they were installed, tells the versions, and fails unless they are those. For ``highest`` it
names the releases that our upper bound keeps out.

Runs on a bare Python, before anything is installed. Test tools have no part in it: their newest releases will do.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRAS = ("demo", "geo", "redis")
"""Those for people who use the package; the others are for people who work on it."""
_REQUIREMENT = re.compile(r"([a-z][a-z0-9-]*)>=([0-9.]+),<([0-9.]+)")


@dataclass(frozen=True)
class Bounds:
    """A dependency, its lowest version, and the first that is too new."""

    name: str
    lowest: str
    below: str

    def __str__(self) -> str:
        return f"{self.name}>={self.lowest},<{self.below}"

    def allows(self, version: str) -> bool:
        return parts(self.lowest) <= parts(version) < parts(self.below)


def parts(version: str) -> tuple[int, ...]:
    """The release that a version is of, to be compared: ``3.1``, ``3.1.0`` and ``3.1.0.post1`` are of the same."""
    release = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in release[0].split(".")] if release else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def read(requirements: list[str]) -> list[Bounds]:
    """Raises ``ValueError`` for a requirement that lacks one of its two bounds."""
    found = []
    for text in requirements:
        match = _REQUIREMENT.fullmatch(text)
        if not match:
            raise ValueError(f"pyproject.toml: {text}: write it as name>=lowest,<below")
        found.append(Bounds(*match.groups()))
    return found


def run_time() -> list[Bounds]:
    return read(project()["dependencies"])  # type: ignore[arg-type]


def extras() -> dict[str, list[Bounds]]:
    every = project()["optional-dependencies"]
    return {extra: read(every[extra]) for extra in EXTRAS}  # type: ignore[index]


def ours() -> list[Bounds]:
    return [*run_time(), *(bounds for group in extras().values() for bounds in group)]


def newest() -> dict[str, str]:
    """The newest release of what is installed in an older one, by name."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "list", "--outdated", "--format=json"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {re.sub(r"[-_.]+", "-", row["name"]).lower(): row["latest_version"] for row in listed}


def installed(end: str) -> int:
    """Tells what is installed. 1, if it is not what ``end`` asks for."""
    wrong = 0
    later = newest() if end == "highest" else {}
    for bounds in ours():
        version = metadata.version(bounds.name)
        note = ""
        if end == "lowest" and parts(version) != parts(bounds.lowest):
            wrong, note = 1, "  is not the lowest"
        elif bounds.name in later:
            held = bounds.allows(later[bounds.name])
            wrong |= held
            note = f"  {later[bounds.name]} is allowed, too: what holds it back?" if held else ""
            note = note or f"  {later[bounds.name]} is out, and kept out by our bound"
        print(f"{bounds!s:36}{version}{note}")
    return int(wrong)


def main(arguments: list[str]) -> int:
    match arguments:
        case ["lowest"]:
            print("\n".join(f"{bounds.name}=={bounds.lowest}" for bounds in ours()))
        case ["highest"]:
            pass
        case ["installed", ("lowest" | "highest") as end]:
            return installed(end)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
