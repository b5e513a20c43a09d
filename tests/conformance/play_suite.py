"""Plays a real conformance suite: each module against ``examples/conformance_rp`` in a process of its own, in chromium.

    python -m tests.conformance.play_suite https://localhost.emobix.co.uk:8443 suite.pem [PLAN …]

``suite.pem``: the bundle that the suite's certificate is trusted by. Without plans: all that apply. A suite that asks
for one gets the token in ``SUITE_TOKEN``. Answers 1 if a module came to anything but PASSED, REVIEW or SKIPPED.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from examples.demo_clock import move
from examples.demo_servers import ROOT
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from tests.conformance.over_http import HOST
from tests.conformance.plans import NOT_APPLICABLE, PLANS, all_modules
from tests.conformance.rp_process import RELYING_PARTY, certified, environment
from tests.servers.server_programs import free_port

GOOD = ("PASSED", "REVIEW", "SKIPPED")
SECONDS = 20
CLIENT = {"client_id": "kmsi", "client_secret": "a-secret-of-32-characters-or-more"}
VARIANT = {
    "client_auth_type": "client_secret_basic",
    "client_registration": "static_client",
    "request_type": "plain_http_request",
    "response_mode": "default",
    "response_type": "code",
}
NOT_BY_LINK = {"oidcc-client-test-form-post-error"}
"""It wants ``max_age=0``, which no link can ask for."""
REGISTERED = {"oidcc-client-test-3rd-party-init-login", "oidcc-client-test-dynamic-registration"}
CLIENTS = {
    "static_client": all_modules() - NOT_APPLICABLE.keys() - NOT_BY_LINK - REGISTERED,
    "dynamic_client": REGISTERED,
}
"""The modules, by how the client is registered."""


def until(what: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """Wait until something is there."""
    deadline = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


class Suite:
    """The suite, by its API."""

    def __init__(self, url: str, bundle: str, folder: Path) -> None:
        token = os.environ.get("SUITE_TOKEN")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        trust = ssl.create_default_context(cafile=bundle)
        self.api = httpx.Client(base_url=f"{url}/api/", verify=trust, timeout=60, headers=headers)
        self.bundle, self.folder = bundle, folder
        self.plans = {plan["planName"]: plan for plan in self.ask("GET", "plan/available")}

    def ask(self, method: str, path: str, **more: Any) -> Any:
        return self.api.request(method, path, **more).raise_for_status().json()

    def play(self, plan: str) -> Iterator[tuple[str, str]]:
        """Every module that applies, with its result."""
        for registration, modules in CLIENTS.items():
            app = App(self, plan, registers_itself=registration == "dynamic_client")
            given = VARIANT | {"client_registration": registration}
            variant = {name: value for name, value in given.items() if name in self.plans[plan]["variants"]}
            config = {"alias": "kmsi", "client": app.client, "waitTimeoutSeconds": 2}
            asked = {"planName": plan, "variant": json.dumps(variant)}
            made = self.ask("POST", "plan", params=asked, json=config) if modules & set(PLANS[plan]["modules"]) else {}
            for module in made.get("modules", ()):
                if (name := module["testModule"]) in modules:
                    chosen = json.dumps(module.get("variant") or {})
                    asked = {"test": name, "plan": made["id"], "variant": chosen}
                    yield name, self._play(name, self.ask("POST", "runner", params=asked)["id"], app)

    def _play(self, name: str, number: str, app: App) -> str:
        self.status(number, "CONFIGURED", "WAITING")
        if self.ask("GET", f"info/{number}")["status"] == "CONFIGURED":
            self.ask("POST", f"runner/{number}")
            self.status(number, "WAITING")
        issuer = self.ask("GET", f"runner/{number}")["exposed"]["issuer"]
        with app.running(issuer, name), chromium(self.folder) as browser:
            Person(self, app, browser, number).play(name)
            status = self.status(number, "FINISHED")
        return str(self.ask("GET", f"info/{number}")["result"]) if status == "FINISHED" else status

    def status(self, number: str, *wanted: str) -> str:
        def now() -> str:
            return str(self.ask("GET", f"info/{number}")["status"])

        until(lambda: now() in (*wanted, "FINISHED", "INTERRUPTED"))
        return now()


class App:
    """The relying party: where it is, how the suite knows it, how it is started."""

    def __init__(self, suite: Suite, plan: str, *, registers_itself: bool) -> None:
        self.suite, self.port, self.registers_itself = suite, str(free_port()), registers_itself
        self.form_post = "formpost" in plan
        # Where a third party starts the sign-in, it wants https; nothing else does.
        self.certificate = certified(suite.folder)[1] if "3rd-party" in plan else None
        self.url = f"{'https' if self.certificate else 'http'}://localhost:{self.port}"
        self.clock = suite.folder / "clock"
        here = f"{self.url}/.auth"
        self.client = {
            **CLIENT,
            "redirect_uri": f"{here}/callback",
            "post_logout_redirect_uri": f"{here}/logged-out",
            "backchannel_logout_uri": f"{here}/backchannel-logout",
        }
        # With a frame on its page the suite asks for a review; where frames are not the matter, it need not.
        if "rp-initiated" not in plan:
            self.client["frontchannel_logout_uri"] = f"{here}/frontchannel-logout"

    @contextmanager
    def running(self, issuer: str, module: str) -> Iterator[None]:
        self.clock.unlink(missing_ok=True)
        settings = {"KMSI_ISSUER": issuer, "KMSI_BASE_URL": self.url, "DEMO_CLOCK": str(self.clock)}
        settings["SSL_CERT_FILE"] = self.suite.bundle
        if not self.registers_itself:
            settings |= {f"KMSI_{name.upper()}": value for name, value in CLIENT.items()}
        if self.form_post:
            settings["KMSI_RESPONSE_MODE"] = "form_post"
        if "es256" in module:
            settings["KMSI_ID_TOKEN_ALGORITHMS"] = "ES256"
        if "refresh" in module:
            settings["KMSI_SCOPE"] = "openid profile email offline_access"
        clock = str(ROOT / "examples" / "demo_clock.py")
        line = [sys.executable, clock, "run", *RELYING_PARTY, "--host", HOST, "--port", self.port]
        line += ["--ssl-certfile", str(self.certificate)] if self.certificate else []
        with (self.suite.folder / f"{module}.log").open("wb") as log:
            process = subprocess.Popen(line, env=environment(**settings), stdout=log, stderr=log, cwd=ROOT)
            try:
                until(lambda: process.poll() is not None or self._answers())
                yield
            finally:
                process.terminate()
                process.wait(SECONDS)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/.auth/logged-out", verify=False, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def chromium(folder: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    options.accept_insecure_certs = True
    profile = tempfile.mkdtemp(dir=folder)
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


class Person:
    """What the one does who sits before the browser."""

    def __init__(self, suite: Suite, app: App, browser: webdriver.Chrome, number: str) -> None:
        self.suite, self.app, self.browser, self.number = suite, app, browser, number

    def play(self, module: str) -> None:
        home = f"{self.app.url}/"
        if module.endswith("3rd-party-init-login"):
            self.go_where_asked()
        elif module.endswith("dynamic-registration"):
            pass  # it ends with the registration
        elif module.endswith("discovery-openid-config"):
            # It ends with the metadata: that the browser then goes to sign in is already too much.
            httpx.get(home, headers={"accept": "text/html"}, trust_env=False)
        elif module.endswith("discovery-jwks-uri-keys"):
            self.go(f"{home}nothing-that-asks-for-userinfo")  # it ends with the keys
        else:
            self.go(home)
        if module.endswith("signing-key-rotation"):
            self.go(f"{home}.auth/login?prompt=login")
        elif module.endswith("opinitlogout"):
            self.go_where_asked()
        elif "logout" in module:
            self.browser.find_element(By.TAG_NAME, "button").click()
            until(lambda: re.match(f"{self.app.url}/.auth/logged-out", self.browser.current_url))
        elif "refresh" in module:
            move(self.app.clock, 301)  # the suite does not say how long its access tokens are good
            time.sleep(0.5)  # the clock is looked at five times a second
            self.go(home)

    def go_where_asked(self) -> None:
        """To the page that the suite wants to be opened."""
        runner = f"runner/{self.number}"
        url = until(lambda: self.suite.ask("GET", runner).get("browser", {}).get("urls"))[0]
        self.suite.api.post(f"runner/browser/{self.number}/visit", params={"url": url})
        self.go(url)

    def go(self, url: str) -> None:
        """Go there, and wherever that leads by itself: back to the app, or to a page of the suite's that stays."""
        self.browser.get(url)
        until(lambda: self.browser.current_url.startswith(self.app.url), 3)


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    url, bundle, *names = arguments
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(url, str(Path(bundle).resolve()), Path(folder))
        for plan in names or [name for name in PLANS if name.startswith("oidcc-")]:
            if plan not in suite.plans:
                print(f"{plan}: not in this suite")
                continue
            results: Counter[str] = Counter()
            for module, result in suite.play(plan):
                print(f"  {result:12}{module}", flush=True)
                results[result] += 1
            print(f"{plan}: {', '.join(f'{count} {result}' for result, count in results.items()) or '-'}", flush=True)
            seen += results
    return 0 if set(seen) <= set(GOOD) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
