"""``docs/testing.md``: what it shows runs, as a project's own tests would."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kmsi_middleware.testing import session_cookie

PAGE = (Path(__file__).parent.parent / "docs" / "testing.md").read_text(encoding="utf-8")
STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from kmsi_middleware import KMSIMiddleware

async def chat(socket):
    await socket.accept()
    await socket.send_text(f"Hello, {socket.user.display_name}")
    await socket.close()

def orders(request):
    return PlainTextResponse("all", 200 if "admin" in request.user.claims["roles"] else 403)

app = Starlette(routes=[Route("/orders", orders), WebSocketRoute("/chat", chat)])
app.add_middleware(KMSIMiddleware, issuer="embedded", store="memory:")
"""
FLASK = """
from flask import Flask, request
from kmsi_middleware.wsgi import KMSIMiddleware

app = Flask(__name__)

@app.get("/orders")
def orders():
    return "all", 200 if "admin" in request.environ["kmsi"].claims["roles"] else 403

app.wsgi_app = KMSIMiddleware(app.wsgi_app, issuer="embedded", store="memory:")
"""


def sample(heading: str) -> str:
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))


@pytest.mark.parametrize(("heading", "app", "tests"), [("Starlette, FastAPI", STARLETTE, 3), ("Flask", FLASK, 1)])
def test_the_samples_run(heading: str, app: str, tests: int, tmp_path: Path) -> None:
    (tmp_path / "myapp.py").write_text(app)
    (tmp_path / "test_samples.py").write_text(sample(heading))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    source = str(Path(inspect.getfile(session_cookie)).parent.parent)
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": source}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert f"{tests} passed" in done.stdout


def test_every_parameter_is_told_of() -> None:
    section = PAGE.partition("## What to give")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(inspect.signature(session_cookie).parameters)
