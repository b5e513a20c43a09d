"""Debian's firefox-esr, as it is shipped, driven through WebDriver BiDi, which it speaks by itself.

What people set in its settings, the profile's ``user.js`` sets. A few things are reached by Firefox's own scope, where
its settings and its developer tools are: dark pages, pages without scripts, and a setting that changes while it runs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver.support.ui import WebDriverWait
from tests.browser.bidi import Bidi, BidiError, from_wire, to_wire
from tests.browser.browser import Browser, Cookie, Fetched, Sent, lower

FIREFOX = shutil.which("firefox-esr")
START_SECONDS, STOP_SECONDS = 60, 30
FLAGS = ("--headless", "--no-remote", "--remote-debugging-port=0", "--remote-allow-system-access")
THIRD_PARTY = {"allowed": 0, "blocked": 1, "none": 2, "partitioned": 5}
COOKIES = "network.cookie.cookieBehavior"
EMPTY_PAGE, WINDOWS_AND_TABS_FROM_LAST_TIME = 0, 3
PREFERENCES = {
    "app.normandy.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.sessionstore.resume_from_crash": True,  # as it is shipped; remote control turns it off
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "signon.rememberSignons": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}
HEARD = ("log.entryAdded", "network.beforeRequestSent", "network.responseStarted", "network.responseCompleted")
ABOUT_JSON = "Data available from the console"
SAVE_SESSION = """
ChromeUtils.importESModule("resource:///modules/sessionstore/SessionSaver.sys.mjs").SessionSaver.run().then(() => null)
"""
KINDS = {"document": "Document", "iframe": "Document", "image": "Image"}


class Firefox(Browser):
    calls_itself = "Firefox"
    missing = "" if FIREFOX else "Debian's firefox-esr"
    busy = (BidiError,)

    def __init__(
        self, profile: Path, third_party: str, *, restore: bool = False, preferences: Mapping[str, object] | None = None
    ) -> None:
        assert FIREFOX is not None
        profile.mkdir(exist_ok=True)
        page = WINDOWS_AND_TABS_FROM_LAST_TIME if restore else EMPTY_PAGE
        chosen = {"browser.startup.page": page, COOKIES: THIRD_PARTY[third_party]}
        chosen = {**PREFERENCES, **chosen, **(preferences or {})}
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in chosen.items()]
        (profile / "user.js").write_text("".join(lines))
        place = profile / "WebDriverBiDiServer.json"
        place.unlink(missing_ok=True)
        with (profile / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [FIREFOX, *FLAGS, "--profile", str(profile)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            WebDriverWait(place, START_SECONDS, 0.05).until(_is_written, f"Firefox did not start: {profile / 'log'}")
            self.bidi = Bidi(f"ws://127.0.0.1:{json.loads(place.read_text())['ws_port']}/session")
        except BaseException:
            self._kill()
            raise
        self.bidi("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})
        self.bidi("session.subscribe", events=list(HEARD))
        self._tab = self.tabs[0]
        self._window: dict[str, str] = {}
        self._fetched: list[Fetched] = []
        self._sent: dict[tuple[str, int], Sent] = {}
        self._console: list[str] = []
        self._open: dict[tuple[str, int], Fetched] = {}

    def change(self, third_party: str) -> bool:
        self._inside(f"Services.prefs.setIntPref('{COOKIES}', {THIRD_PARTY[third_party]})")
        return True

    def quit(self) -> None:
        if self._process.poll() is None:
            self._inside("void setTimeout(() => Services.startup.quit(Ci.nsIAppStartup.eAttemptQuit))")
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._kill()
                raise
        self.bidi.close()

    def crash(self) -> None:
        """It is killed, right after it has written down what it shows, which it does four times a minute."""
        self._inside(SAVE_SESSION)
        self._kill()
        self.bidi.close()

    def _kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _inside(self, expression: str) -> Any:
        """Firefox's own scope, in which it draws its windows."""
        if not self._window:
            (window, *_) = self.bidi("browsingContext.getTree", maxDepth=0, **{"moz:scope": "chrome"})["contexts"]
            self._window = {"context": window["context"]}
        return self._result(self.bidi("script.evaluate", expression=expression, target=self._window, awaitPromise=True))

    @staticmethod
    def _result(answer: dict[str, Any]) -> Any:
        if answer["type"] != "success":
            raise BidiError(answer["exceptionDetails"]["text"])
        return from_wire(answer["result"])

    @property
    def url(self) -> str:
        (context,) = self.bidi("browsingContext.getTree", root=self._tab, maxDepth=0)["contexts"]
        return str(context["url"])

    def js(self, script: str, *arguments: object) -> Any:
        answer = self.bidi(
            "script.callFunction",
            functionDeclaration=f"function () {{ {script} }}",
            arguments=[to_wire(argument) for argument in arguments],
            target={"context": self._tab},
            awaitPromise=False,
        )
        return self._result(answer)

    @property
    def text(self) -> str:
        """Firefox draws JSON in its own way; this is what came."""
        return str(self.js("return window.JSONView ? JSONView.json.textContent : document.body.innerText"))

    def navigate(self, url: str) -> None:
        self.bidi("browsingContext.navigate", context=self._tab, url=url, wait="none")

    def refresh(self) -> None:
        self.bidi("browsingContext.reload", context=self._tab, wait="none")

    @property
    def tabs(self) -> list[str]:
        return [str(it["context"]) for it in self.bidi("browsingContext.getTree", maxDepth=0)["contexts"]]

    @property
    def tab(self) -> str:
        return self._tab

    def go_to(self, tab: str) -> None:
        self.bidi("browsingContext.activate", context=tab)
        self._tab = tab

    def new_tab(self) -> str:
        self.go_to(str(self.bidi("browsingContext.create", type="tab")["context"]))
        return self._tab

    def close_tab(self) -> None:
        self.bidi("browsingContext.close", context=self._tab)

    def click_on(self, element: Any, times: int = 1) -> None:
        self.js("arguments[0].scrollIntoView({ block: 'nearest', behavior: 'instant' })", element)
        origin = {"type": "element", "element": to_wire(element)}
        press = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self._act("pointer", [{"type": "pointerMove", "x": 0, "y": 0, "origin": origin}, *press * times])

    def keys(self, *keys: str) -> None:
        for key in keys:
            self._act("key", [{"type": kind, "value": it} for it in key for kind in ("keyDown", "keyUp")])

    def _act(self, device: str, actions: list[dict[str, Any]]) -> None:
        source = {"type": device, "id": device, "actions": actions}
        self.bidi("input.performActions", context=self._tab, actions=[source])

    def cookies(self) -> dict[str, Cookie]:
        return {
            it["name"]: Cookie(
                it["name"],
                it["value"]["value"],
                "expiry" in it,
                it["httpOnly"],
                it["sameSite"].replace("default", "").capitalize(),
                it["path"],
            )
            for it in self.bidi("storage.getCookies")["cookies"]
        }

    def forget_cookies(self) -> None:
        self.bidi("storage.deleteCookies")

    @contextmanager
    def emulating(self, width: int, scheme: str) -> Iterator[None]:
        self.bidi("browsingContext.setViewport", context=self._tab, viewport={"width": width, "height": 800})
        self._inside(f"gBrowser.selectedBrowser.browsingContext.prefersColorSchemeOverride = '{scheme}'")
        try:
            yield
        finally:
            self.bidi("browsingContext.setViewport", context=self._tab, viewport=None)
            self._inside("gBrowser.selectedBrowser.browsingContext.prefersColorSchemeOverride = 'none'")

    @contextmanager
    def without_scripts(self) -> Iterator[None]:
        self._inside("Services.prefs.setBoolPref('javascript.enabled', false)")
        try:
            yield
        finally:
            self._inside("Services.prefs.clearUserPref('javascript.enabled')")

    def unnamed(self, *roles: str) -> list[str]:
        found = []
        for role in roles:
            locator = {"type": "accessibility", "value": {"role": role, "name": ""}}
            nodes = self.bidi("browsingContext.locateNodes", context=self._tab, locator=locator)["nodes"]
            found += [role for _ in nodes]
        return found

    def picture(self) -> bytes:
        taken = self.bidi("browsingContext.captureScreenshot", context=self._tab, origin="document")
        return b64decode(taken["data"])

    # What the browser says

    @property
    def console(self) -> list[str]:
        self._hear()
        return self._console

    @property
    def fetched(self) -> list[Fetched]:
        self._hear()
        return self._fetched

    @property
    def sent(self) -> list[Sent]:
        self._hear()
        return list(self._sent.values())

    def forget_what_was_seen(self) -> None:
        self._hear()
        self._fetched, self._console, self._open, self._sent = [], [], {}, {}

    def _hear(self) -> None:
        self.bidi("session.status")
        for name, event in self.bidi.events:
            if name == "log.entryAdded":
                if not event["text"].startswith(ABOUT_JSON):
                    self._console.append(f"{event['level']}: {event['text']}")
            elif event["context"] is not None and event["request"]["url"].startswith("http"):
                self._network_event(name, event)
        self.bidi.events.clear()

    def _network_event(self, name: str, event: dict[str, Any]) -> None:
        request = event["request"]
        key = (request["request"], event["redirectCount"])
        if name == "network.beforeRequestSent":
            kind = KINDS.get(request["destination"], request["destination"])
            self._open[key] = Fetched(request["url"], request["method"], kind)
            self._fetched.append(self._open[key])
        if fetched := self._open.get(key):
            self._sent[key] = Sent(request["url"], _headers(request))
            if response := event.get("response"):
                fetched.status, fetched.headers = response["status"], _headers(response)


def _headers(message: dict[str, Any]) -> dict[str, str]:
    return lower({header["name"]: header["value"]["value"] for header in message["headers"]})


def _is_written(place: Path) -> bool:
    return place.exists() and place.read_text().rstrip().endswith("}")
