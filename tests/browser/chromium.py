"""A real browser: Debian's chromium, driven through WebDriver, with third-party cookies blocked.

Waits are for something to be seen, with a bound; nothing sleeps. WebDriver's own waiting for pages is off: it gets
stuck now and then where frames of other sites are involved. Besides the page, there is what the browser says
of it: its console, and its network events, in which every request has the headers that were really sent.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
SECONDS = 15
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)
THIRD_PARTY_COOKIES = {"profile.cookie_controls_mode": 0, "profile.block_third_party_cookies": False}
NO_THIRD_PARTY_COOKIES = {"profile.cookie_controls_mode": 1, "profile.block_third_party_cookies": True}


@dataclass
class Fetched:
    """One request of the browser's, and its answer."""

    url: str
    method: str
    kind: str
    sent: dict[str, str] = field(default_factory=dict)
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return urlsplit(self.url).path


class Chromium:
    """One browser with a profile of its own. Use as a context manager: it quits at its end."""

    def __init__(
        self, profile: Path, preferences: Mapping[str, object] = NO_THIRD_PARTY_COOKIES, flags: tuple[str, ...] = ()
    ) -> None:
        options = webdriver.ChromeOptions()
        assert CHROMIUM is not None
        assert DRIVER is not None
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.page_load_strategy = "none"
        options.add_experimental_option("prefs", {"credentials_enable_service": False, **preferences})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self._left = 0
        self._fetched: list[Fetched] = []
        self._console: list[str] = []
        self._open: dict[str, Fetched] = {}
        self._early: dict[str, list[tuple[str, dict[str, Any]]]] = {}

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.quit()

    def start_over(self, *, keep: bool = False) -> None:
        """As if freshly installed: one empty tab, nothing noted of what was seen, and no cookies, but for ``keep``."""
        tabs = self.driver.window_handles
        for tab in tabs[1:]:
            self.driver.switch_to.window(tab)
            self.driver.close()
        self.driver.switch_to.window(tabs[0])
        self.driver.switch_to.new_window("tab")
        fresh = self.driver.current_window_handle
        self.driver.switch_to.window(tabs[0])
        self.driver.close()
        self.driver.switch_to.window(fresh)
        if not keep:
            self.cdp("Network.clearBrowserCookies")
        self.driver.get("data:text/html,<h1>Nothing</h1>")
        self.sees("Nothing")
        self._read_logs()
        self._fetched, self._console, self._open, self._early = [], [], {}, {}

    def cdp(self, command: str, **parameters: object) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)

    # Waiting and looking

    def wait(self, what: str, until: Callable[[], object]) -> None:
        """Until ``until`` is true; a page that is just being replaced counts as not yet."""
        wait = WebDriverWait(self.driver, SECONDS, poll_frequency=0.05, ignored_exceptions=[WebDriverException])
        wait.until(lambda _: until(), f"{what} was not seen; the browser is at {self.where()}")

    def where(self) -> str:
        try:
            return f"{self.driver.current_url}: {self.heading}"
        except WebDriverException as error:
            return str(error.msg)

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """What is done inside leads to another document; this waits until it is there."""
        self._left += 1
        mine = self._left
        self.js("window.left = arguments[0]", mine)
        yield
        self.wait("Another page", lambda: self.js("return window.left") != mine)

    @property
    def url(self) -> str:
        return self.driver.current_url

    @property
    def heading(self) -> str:
        return str(self.js("return document.readyState === 'complete' && document.querySelector('h1')?.textContent"))

    @property
    def text(self) -> str:
        return str(self.js("return document.body.innerText"))

    def js(self, script: str, *arguments: object) -> Any:
        """The browser's own view of the page. Tests look through it; what people do, they do by hand."""
        return self.driver.execute_script(script, *arguments)

    def sees(self, heading: str) -> None:
        """Wait for a page, by its heading; whatever page, it has no script, but for the one that bounds a wait."""
        seen = "return document.readyState === 'complete' && [document.querySelector('h1')?.textContent, "
        seen += "[...document.scripts].filter(it => !it.text.startsWith('setTimeout(() => location.replace(')).length]"
        self.wait(f"“{heading}”, without a script,", lambda: self.js(seen) == [heading, 0])

    def is_at(self, url: str, heading: str) -> None:
        self.wait(url, lambda: self.url == url)
        self.sees(heading)

    def element(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    @property
    def focused(self) -> str:
        """The text of what has the focus, or its name."""
        return str(self.js("const it = document.activeElement; return it.innerText || it.name || it.tagName"))

    # Doing

    def open(self, url: str) -> None:
        """Type an address."""
        with self.leaving():
            self.driver.get(url)

    def back(self, steps: int = 1) -> None:
        with self.leaving():
            self.js("history.go(-arguments[0])", steps)

    def reload(self) -> None:
        with self.leaving():
            self.driver.refresh()

    def click(self, css: str) -> None:
        with self.leaving():
            self.element(css).click()

    def press(self, label: str) -> None:
        """Click the button or link that says ``label``."""
        found: list[WebElement] = []

        def is_there() -> bool:
            found[:] = [item for item in self.driver.find_elements(By.CSS_SELECTOR, "button, a") if item.text == label]
            return bool(found)

        self.wait(label, is_there)  # on a machine that is busy, a page that has loaded is not yet laid out
        assert len(found) == 1, f"{len(found)} of {label}: {self.where()}"
        with self.leaving():
            found[0].click()

    def keys(self, *keys: str) -> None:
        """On the keyboard, to wherever the focus is."""
        for key in keys:
            ActionChains(self.driver, duration=0).send_keys(key).perform()

    def tab_to(self, what: str) -> int:
        """Press Tab until ``what`` has the focus; how many times it took."""
        for count in range(1, 30):
            self.keys(Keys.TAB)
            if self.focused == what:
                return count
        raise AssertionError(f"Tab never reaches {what}: {self.where()}")

    def new_tab(self) -> str:
        self.driver.switch_to.new_window("tab")
        return self.driver.current_window_handle

    def follow_a_link(self, url: str) -> None:
        """Click a plain link that the page is given for it."""
        self.js(
            "const link = document.createElement('a'); link.href = arguments[0]; link.id = 'way'; "
            "link.textContent = 'Way'; document.body.prepend(link)",
            url,
        )
        self.click("#way")

    def pick(self, user: str) -> None:
        """Sign in at the provider, by one click."""
        self.sees("Sign in")
        self.click(f"button[value={user}]")

    def sign_in(self, url: str, heading: str, user: str = "mia", answer: str = "Yes") -> None:
        """Open an app's page, sign in, and answer, where ``answer`` is given."""
        self.open(url)
        self.pick(user)
        if answer:
            self.sees("Stay signed in?")
            self.press(answer)
        self.is_at(url, heading)

    def sign_out(self, app: str, *, patiently: bool = False) -> None:
        """Press the button that signs out, and come back from the provider to ``app``; ``patiently``: by itself."""
        self.press("Sign out")
        if not patiently:
            self.wait("The provider", lambda: not self.url.startswith(app))
            self.sees("You are signed out")
            self.press("Continue")
        self.is_signed_out(app)

    def is_signed_out(self, app: str) -> None:
        self.wait("The way back from the provider", lambda: self.url.startswith(f"{app}.auth/logged-out"))
        self.sees("You are signed out")

    @contextmanager
    def emulating(self, width: int, scheme: str) -> Iterator[None]:
        """A screen of another width, light or dark."""
        phone = width < 500
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=phone)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.cdp("Emulation.setEmulatedMedia", features=features)
        try:
            yield
        finally:
            self.cdp("Emulation.clearDeviceMetricsOverride")
            self.cdp("Emulation.setEmulatedMedia", features=[])

    # What the browser says

    def cookies(self) -> dict[str, dict[str, Any]]:
        """Every cookie that it holds, for whatever site, by name."""
        found: list[dict[str, Any]] = self.cdp("Storage.getCookies")["cookies"]
        return {cookie["name"]: cookie for cookie in found}

    @property
    def console(self) -> list[str]:
        """What the console says, but for answers of 4xx, which it reports too."""
        self._read_logs()
        return self._console

    @property
    def fetched(self) -> list[Fetched]:
        """Every request since the start, each redirect's too."""
        self._read_logs()
        return self._fetched

    def _read_logs(self) -> None:
        for entry in self.driver.get_log("browser"):
            if not (entry["source"] == "network" and "the server responded with a status of 4" in entry["message"]):
                self._console.append(f"{entry['level']}: {entry['message']}")
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"].startswith("Network."):
                self._network_event(event["method"].removeprefix("Network."), event["params"])

    def _network_event(self, name: str, event: dict[str, Any]) -> None:
        key = event.get("requestId", "")
        if name == "requestWillBeSent":
            if (before := self._open.get(key)) and (answer := event.get("redirectResponse")):
                _answered(before, answer["status"], answer["headers"])
            request = event["request"]
            fetched = Fetched(request["url"], request["method"], event.get("type", ""))
            self._open[key] = fetched
            self._fetched.append(fetched)
            early = self._early.pop(key, [])
        elif name == "responseReceived" and key in self._open:
            _answered(self._open[key], event["response"]["status"], event["response"]["headers"])
            return
        elif name.endswith("ExtraInfo"):
            early = [(name, event)]
        else:
            return
        for name_, event_ in early:
            self._extra_info(key, name_, event_)

    def _extra_info(self, key: str, name: str, event: dict[str, Any]) -> None:
        """The headers as they went over the network. May come before the request's own event."""
        fetched = self._open.get(key)
        if name == "requestWillBeSentExtraInfo":
            if fetched is None or fetched.sent:
                self._early.setdefault(key, []).append((name, event))
            else:
                fetched.sent = _lower(event["headers"])


def _answered(fetched: Fetched, status: int, headers: dict[str, str]) -> None:
    fetched.status, fetched.headers = status, _lower(headers)


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def nothing_went_wrong(browser: Chromium, issuer: str) -> None:
    """No page broke its own Content-Security-Policy, none loaded anything, and none of ours could run a script."""
    assert [line for line in browser.console if "Clear-Site-Data" not in line] == []
    for fetched in browser.fetched:
        where = f"{fetched.method} {fetched.url}"
        # Every page of ours names its icon; what is no page, such as /.auth/me, can't.
        known = fetched.kind == "Document" or fetched.url == "data:," or fetched.path == "/favicon.ico"
        assert known, f"{fetched.kind}: {where}"
        assert fetched.status < 500, where
        if fetched.path.startswith("/.auth/") or fetched.url.startswith(issuer):
            is_page = fetched.headers.get("content-type", "").startswith("text/html")
            policy = fetched.headers.get("content-security-policy", "")
            bounded = fetched.path.endswith(("/end-session", "/sign-out", "/logout", "/logoutresp"))
            assert not is_page or ("default-src 'none'" in policy and (bounded or "script-src" not in policy)), where
            assert not fetched.status or fetched.headers["cache-control"] == "no-store", where
