"""``docs/apps.md`` has every reserved path, every field of ``Session`` and every page, as they are in the code."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from fastapi import FastAPI
from flask import Flask
from jinja2 import Environment, meta
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.testclient import TestClient
from tests.flows.flow_support import NAVIGATION, SCRIPT, Browser, World, location, problem_of

import kmsi_middleware
from kmsi_middleware import KMSIMiddleware, Session
from kmsi_middleware.flows.dispatch import LONGEST_BODY, RESERVED
from kmsi_middleware.flows.sign_in import PROMPTS
from kmsi_middleware.rules.targets import LONGEST_TARGET
from kmsi_middleware.testing import session_cookie
from kmsi_middleware.wsgi import KMSIMiddleware as WSGIMiddleware

PAGE = (Path(__file__).parent.parent / "docs" / "apps.md").read_text(encoding="utf-8")
SOURCE = Path(kmsi_middleware.__file__).parent
TEMPLATES = {path.name: path.read_text(encoding="utf-8") for path in (SOURCE / "templates").glob("*.html")}
LOCAL: dict[str, Any] = {"issuer": "embedded", "store": "memory:"}


def section(heading: str, level: str = "##") -> str:
    return PAGE.partition(f"\n{level} {heading}\n")[2].partition("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def names(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def samples(heading: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", section(heading), re.DOTALL)


def documents() -> list[Any]:
    """The JSON on the page: a problem, and ``/.auth/me``."""
    return [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


# The reserved paths -------------------------------------------------------------------------------------------


def test_every_reserved_path_is_there_with_its_methods_and_no_other() -> None:
    found = {row[0].strip("`"): row[1] for row in rows("The reserved paths")}
    assert found == {path: ", ".join(methods) for path, methods in RESERVED.items()} | {"/idp/…": ""}


def test_every_code_on_the_page_is_one_of_the_codes() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    told = section("The reserved paths").partition("\n### ")[0]
    codes = [name for row in rows("The reserved paths") for name in names(row[4]) if re.fullmatch("[a-z_]+", name)]
    codes += [name for name in names(told.partition("On all of them")[2].partition("\n\n")[0]) if "_" in name]
    codes.remove("post_logout_redirect_uri")
    assert len(codes) > 20
    assert [name for name in codes if f'"{name}"' not in code] == []


def test_every_prompt_and_every_bound_is_as_it_is() -> None:
    (prompt,) = [row[1] for row in rows("The sign-in link") if row[0] == "`prompt`"]
    assert set(names(prompt)) - {"provider_error"} == PROMPTS
    for bound in (LONGEST_TARGET, LONGEST_BODY):
        assert f"{bound:,} " in PAGE


@pytest.mark.parametrize("link", re.findall(r'href="(/\.auth/login[^"]*)"', PAGE))
def test_the_sign_in_links_lead_to_the_provider_with_what_they_say(link: str) -> None:
    asked = dict(parse_qsl(urlsplit(link.replace("&amp;", "&")).query))
    sent = dict(parse_qsl(urlsplit(location(Browser(World()).get(link.replace("&amp;", "&")))).query))
    asked.pop("post_login_redirect_uri", None)
    assert {name: sent.get(name) for name in asked} == asked


def shape(value: Any) -> Any:
    """The keys of a JSON document, all the way down; the claims are the provider's matter."""
    return {name: shape(part) for name, part in value.items() if name != "claims"} if isinstance(value, dict) else None


def test_me_and_a_problem_have_the_shape_that_is_shown() -> None:
    browser = Browser(World())
    problem, me = documents()
    assert problem == problem_of(browser.get("/orders", SCRIPT), 401)
    browser.sign_in()
    reply = browser.get("/.auth/me", SCRIPT)
    assert shape(me) == shape(json.loads(reply.body))  # type: ignore[union-attr]
    assert me["session"]["expires_at"] - me["session"]["signed_in_at"] == me["session"]["expires_in"]


def test_head_is_told_and_begins_nothing() -> None:
    browser = Browser(World())
    problem_of(browser.send(browser.request("HEAD", "/orders", NAVIGATION)), 401)


# Session ------------------------------------------------------------------------------------------------------


def test_every_field_of_a_session_is_there_and_no_other() -> None:
    told = section("`Session`")
    ours = told.partition("are the middleware's own")[2].partition("\n\n")[0]
    found = [name for row in rows("`Session`") for name in names(row[0])] + names(ours)
    assert len(found) == len(set(found)), "one is there twice"
    properties = {name for name, value in inspect.getmembers(Session) if isinstance(value, property)}
    assert set(found) == {item.name for item in fields(Session)} | properties


# Roles and CORS -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_the_samples_for_roles(framework: str) -> None:
    text = samples("Roles")[framework == "flask"]
    found: dict[str, Any] = {"__name__": "sample"}
    exec(compile(text, "docs/apps.md", "exec", dont_inherit=True), found)
    app: Any = found["app"]
    admin, member = ({"name": "Mia", "roles": roles} for roles in (["admin"], ["member"]))
    if isinstance(app, Flask):
        app.wsgi_app = WSGIMiddleware(app.wsgi_app, **LOCAL, protect="none")  # type: ignore[method-assign]
        client: Any = app.test_client()
        keep: Any = client.set_cookie
    else:
        assert isinstance(app, FastAPI)
        app.add_middleware(KMSIMiddleware, **LOCAL, protect="none")
        client = TestClient(app, base_url="http://localhost")
        keep = client.cookies.set
    assert client.get("/admin").status_code == 401  # a script of nobody's
    for claims, status in (({}, 403), (member, 403), (admin, 200)):
        keep(*session_cookie(app, claims))
        answer = client.get("/admin")
        assert answer.status_code == status
    assert "Hello, Mia" in answer.text


def test_the_sample_for_cors() -> None:
    app = Starlette()
    (text,) = samples("CORS")
    exec(text, {"app": app, "KMSIMiddleware": KMSIMiddleware, "CORSMiddleware": CORSMiddleware})
    origin = "https://www.example.com"
    refused = TestClient(app, base_url="http://localhost").get("/orders", headers={"origin": origin})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == origin


# Pages --------------------------------------------------------------------------------------------------------


def of_template(name: str) -> set[str]:
    macros = set(re.findall(r"macro (\w+)", TEMPLATES["parts.html"] + TEMPLATES[name]))
    return set(meta.find_undeclared_variables(Environment(autoescape=True).parse(TEMPLATES[name]))) - macros


def test_every_page_that_can_be_replaced_is_there_with_its_variables() -> None:
    found = {row[0].strip("`"): row[2] for row in rows("Our pages")}
    ours = {name for name in TEMPLATES if not name.startswith("idp_")}
    wanted = {name: ", ".join(f"`{item}`" for item in sorted(of_template(name))) or "none" for name in ours}
    assert found.keys() == wanted.keys()
    for name, variables in wanted.items():
        assert found[name] == variables, f"the variables of {name} are now: {variables}"
