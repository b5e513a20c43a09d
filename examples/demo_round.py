"""The demo's whole round, by itself: what ``examples/demo.py --check`` does once the servers run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx

from demo_clock import move
from fake_browser import Browser, Page

if TYPE_CHECKING:
    from demo_servers import Demo

SIGNED_OUT = "<h1>You are signed out</h1>"
ASKED, SIGN_IN = "<h1>Stay signed in?</h1>", "<h1>Sign in</h1>"
CODE, PAYING = "<h1>Enter your code</h1>", "<p>Payments, "
KEPT, NOT_KEPT = "kept when the browser closes", "ends when the browser closes"


def go_round(demo: Demo) -> bool:
    """One line for each thing that holds; False at the first that does not."""
    passed = True

    def expect(what: str, holds: bool, seen: object = "") -> None:
        nonlocal passed
        passed = passed and holds
        print(f"{'PASS' if holds else 'FAIL'}  {what}{'' if holds else f': {seen}'}", flush=True)

    with Browser(demo.address) as browser:
        _whole_round(demo, browser, expect)
    with Browser(demo.address) as guest:
        page = guest.sign_in(f"{demo.starlette_url}/", user="gus", answer="")
        expect("a guest is not asked", NOT_KEPT in page.text and "<code>guest<" in page.text, page.url)
    records = _sign_ins(demo)
    asked = {record["correlationId"] for record in records if record["status"]["errorCode"] == 50140}
    done = {record["correlationId"] for record in records if record["status"]["errorCode"] == 0}
    expect("the sign-in log has the question and its answer under one id", len(asked & done) == 1, records)
    with Browser(demo.address) as contractor:
        page = contractor.sign_in(f"{demo.starlette_url}/", user="carl", answer="")
        by_policy = NOT_KEPT in page.text and "<code>policy<" in page.text
        expect("a contractor is not asked, by policy", by_policy, page.url)
    with Browser(demo.address) as risky:
        page = risky.sign_in(f"{demo.starlette_url}/", user="rita", answer="")
        expect("a report-only policy blocks nobody", "<code>high_risk<" in page.text, page.url)
    blocked = {
        policy["displayName"]: policy["wouldBlock"]["users"]
        for policy in json.loads(_kmsi(demo, "policy-impact", "--json"))["policies"]
    }
    expect("and its impact says whom it would have", blocked["Block sign-ins of high risk"] == 1, blocked)
    with Browser(demo.address) as browser, Browser(demo.address) as elsewhere:
        _ended_at_the_provider(demo, browser, elsewhere, expect)
    with Browser(demo.address) as browser:
        _policies(demo, browser, expect)
    with Browser(demo.address) as laptop:
        _device(demo, laptop, expect)
    return passed


def _whole_round(demo: Demo, browser: Browser, expect: Callable[..., None]) -> None:
    notebook, tea = f"{demo.starlette_url}/", f"{demo.flask_url}/"

    page = browser.visit(notebook)
    expect("the Notebook sends a stranger to the provider", str(page.url).startswith(demo.issuer), page.url)
    page = browser.submit(page, pick="mia")
    expect("after the sign-in, “Stay signed in?” is asked", ASKED in page.text, page.url)
    page = browser.submit(page, answer="yes")
    expect("Yes: back at the page, with a session that is kept", KEPT in page.text, page.url)
    expect("Yes: the cookie is persistent", _is_persistent(browser, demo.starlette_url))
    page = browser.submit(page, note="Buy “milk” & honey")
    expect("the Notebook keeps app data with the session", "Buy “milk” &amp; honey" in page.text, page.url)

    page = browser.visit(tea)
    expect("the Tea counter needs no second password, and asks for itself", ASKED in page.text, page.url)
    page = browser.submit(page, answer="no")
    expect("No: a session that is not kept", NOT_KEPT in page.text, page.url)
    expect("No: the cookie is not persistent", not _is_persistent(browser, demo.flask_url))
    page = browser.submit(browser.submit(page))
    expect("the Tea counter counts", "<strong>2</strong>" in page.text, page.url)

    demo.restart()
    expect("all servers restarted, still in: Notebook", "honey" in browser.visit(notebook).text)
    expect("all servers restarted, still in: Tea counter", "<strong>2</strong>" in browser.visit(tea).text)

    page = browser.visit(f"{notebook}.auth/logout", method="POST", came_from=notebook)
    frames = Page(page).frames
    expect("signing out of the Notebook leads to the provider", str(page.url).startswith(demo.issuer), page.url)
    expect("which has a frame for each app", sorted(map(_origin, frames)) == sorted((notebook, tea)), frames)
    answers = [browser.frame(url) for url in frames]
    expect("the frames are answered without any cookie", [a.status_code for a in answers] == [200, 200], answers)
    me = browser.http.get(f"{tea}.auth/me")
    expect("the Tea counter is out as well", me.status_code == 401 and me.json()["code"] == "signed_out", me.text)
    page = browser.visit(tea)
    expect("and tells a person why", page.status_code == 401 and SIGNED_OUT in page.text, page.text)
    page = browser.visit(notebook)
    expect("the Notebook sends to the provider, which asks for the password", SIGN_IN in page.text, page.url)


def _ended_at_the_provider(demo: Demo, browser: Browser, elsewhere: Browser, expect: Callable[..., None]) -> None:
    apps = (demo.starlette_url, demo.flask_url)
    for app in apps:
        browser.sign_in(f"{app}/", user="gus", answer="")
    users = f"{demo.issuer}/users"
    elsewhere.http.post(users, data={"user": "gus", "event": "sign_out"}, headers={"origin": demo.issuer})
    for app in apps:
        out = _is_signed_out(browser, f"{app}/.auth/me")
        expect(f"signed out by somebody at the provider, out of {app} by back channel", out)


def _is_signed_out(browser: Browser, me: str) -> bool:
    """Soon: the provider tells the apps after it has answered."""
    for _ in range(100):
        answer = browser.http.get(me)
        if answer.status_code == 401:
            return bool(answer.json()["code"] == "signed_out")
        time.sleep(0.05)
    return False


def _policies(demo: Demo, browser: Browser, expect: Callable[..., None]) -> None:
    notebook, payments = f"{demo.starlette_url}/", f"{demo.starlette_url}/payments"
    browser.sign_in(notebook)
    page = browser.visit(payments)
    expect("payments want a fresh sign-in", SIGN_IN in page.text, page.url)
    page = browser.submit(page, pick="mia")
    expect("and a second factor", CODE in page.text, page.url)
    page = _answered(browser, browser.submit(page, code="100001"))
    expect("and then are there", PAYING in page.text, page.url)
    expect("within five minutes nobody is asked twice", PAYING in browser.visit(payments).text)
    _an_hour_passes(demo)
    page = browser.visit(notebook)
    expect("an hour later, the Notebook wants a new sign-in", SIGN_IN in page.text, page.url)
    page = _answered(browser, browser.submit(page, pick="mia"))
    expect("and is back with it", "Notebook</h1>" in page.text, page.url)


def _device(demo: Demo, browser: Browser, expect: Callable[..., None]) -> None:
    notebook, devices = f"{demo.starlette_url}/", f"{demo.issuer}/devices"
    for event in ("use", "device_sign_in"):
        page = browser.submit(browser.visit(devices), event=event)
    expect("a browser can be on a device", "this browser is on it" in page.text, page.url)
    page = _answered(browser, browser.visit(notebook))
    expect("whose owner is signed in without a question", "Notebook</h1>" in page.text, page.url)
    _an_hour_passes(demo)
    page = browser.visit(notebook)
    expect("for an hour", SIGN_IN in page.text, page.url)


def _answered(browser: Browser, page: httpx.Response) -> httpx.Response:
    return browser.submit(page, answer="no") if ASKED in page.text else page


def _an_hour_passes(demo: Demo) -> None:
    move(demo.clock, 3_600)
    time.sleep(0.5)  # the servers look every 0.2 seconds


def _origin(url: str) -> str:
    return "/".join(url.split("/")[:3]) + "/"


def _is_persistent(browser: Browser, app: str) -> bool:
    port = app.rpartition(":")[2]
    (cookie,) = [cookie for cookie in browser.http.cookies.jar if cookie.name == f"kmsi-{port}"]
    return cookie.expires is not None


def _sign_ins(demo: Demo) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _kmsi(demo, "sign-ins", "--json", "--user", "mia").splitlines()]


def _kmsi(demo: Demo, *arguments: str) -> bytes:
    command = [sys.executable, "-m", "kmsi_middleware.cli", *arguments]
    command += ["--store", f"sqlite:{demo.store('starlette-app')}"]
    return subprocess.run(command, check=True, capture_output=True, timeout=30).stdout  # noqa: S603
