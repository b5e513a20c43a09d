"""Debian's chromium, driven through WebDriver.

WebDriver's own waiting for pages is off: it gets stuck now and then where frames of other sites are involved.
"""

from __future__ import annotations

import json
import shutil
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from tests.browser.browser import Browser, Cookie, Fetched, Sent, lower

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
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
    "--ignore-certificate-errors",  # where an app is on https, nobody vouches for its certificate
)
THIRD_PARTY = {
    "none": {"profile.default_content_setting_values.cookies": 2},
    "allowed": {"profile.cookie_controls_mode": 0, "profile.block_third_party_cookies": False},
    "blocked": {"profile.cookie_controls_mode": 1, "profile.block_third_party_cookies": True},
}
CONTINUE_WHERE_YOU_LEFT_OFF = {"session.restore_on_startup": 1}


class Chromium(Browser):
    calls_itself = "Chrome"
    missing = "" if CHROMIUM and DRIVER else "Debian's chromium and chromium-driver"
    busy = (WebDriverException,)

    def __init__(
        self, profile: Path, third_party: str, *, restore: bool = False, preferences: Mapping[str, object] | None = None
    ) -> None:
        options = webdriver.ChromeOptions()
        assert CHROMIUM is not None
        assert DRIVER is not None
        options.binary_location = CHROMIUM
        net_log = profile.with_suffix(".net-log")
        log_all = (f"--log-net-log={net_log}", "--net-log-capture-mode=IncludeSensitive")  # cookies, too
        for flag in (*FLAGS, *log_all, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.page_load_strategy = "none"
        more = {**(preferences or {}), **(CONTINUE_WHERE_YOU_LEFT_OFF if restore else {})}
        chosen = {"credentials_enable_service": False, **THIRD_PARTY[third_party], **more}
        options.add_experimental_option("prefs", chosen)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self._third_party = third_party
        self._net_log = _NetLog(net_log)
        self.forget_what_was_seen()

    def change(self, third_party: str) -> bool:
        return third_party == self._third_party

    def quit(self) -> None:
        self.driver.quit()

    def cdp(self, command: str, **parameters: object) -> Any:
        return self.driver.execute_cdp_cmd(command, parameters)

    @property
    def url(self) -> str:
        return self.driver.current_url

    def js(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def navigate(self, url: str) -> None:
        self.driver.get(url)

    def refresh(self) -> None:
        self.driver.refresh()

    @property
    def tabs(self) -> list[str]:
        return self.driver.window_handles

    @property
    def tab(self) -> str:
        return self.driver.current_window_handle

    def go_to(self, tab: str) -> None:
        self.driver.switch_to.window(tab)

    def new_tab(self) -> str:
        self.driver.switch_to.new_window("tab")
        return self.tab

    def close_tab(self) -> None:
        self.driver.close()

    def click_on(self, element: Any, times: int = 1) -> None:
        if times == 1:
            element.click()
        else:
            ActionChains(self.driver, duration=0).double_click(element).perform()

    def keys(self, *keys: str) -> None:
        for key in keys:
            ActionChains(self.driver, duration=0).send_keys(key).perform()

    def cookies(self) -> dict[str, Cookie]:
        return {
            it["name"]: Cookie(
                it["name"], it["value"], not it["session"], it["httpOnly"], it.get("sameSite", ""), it["path"]
            )
            for it in self.cdp("Storage.getCookies")["cookies"]
        }

    def forget_cookies(self) -> None:
        self.cdp("Network.clearBrowserCookies")

    @contextmanager
    def emulating(self, width: int, scheme: str) -> Iterator[None]:
        phone = width < 500
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=phone)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.cdp("Emulation.setEmulatedMedia", features=features)
        try:
            yield
        finally:
            self.cdp("Emulation.clearDeviceMetricsOverride")
            self.cdp("Emulation.setEmulatedMedia", features=[])

    @contextmanager
    def without_scripts(self) -> Iterator[None]:
        self.cdp("Emulation.setScriptExecutionDisabled", value=True)
        try:
            yield
        finally:
            self.cdp("Emulation.setScriptExecutionDisabled", value=False)

    def unnamed(self, *roles: str) -> list[str]:
        return [
            node["role"]["value"]
            for node in self.cdp("Accessibility.getFullAXTree")["nodes"]
            if not node["ignored"] and node["role"]["value"] in roles and not node.get("name", {}).get("value")
        ]

    def picture(self) -> bytes:
        return b64decode(self.cdp("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    # What the browser says

    @property
    def console(self) -> list[str]:
        self._read_logs()
        return self._console

    @property
    def fetched(self) -> list[Fetched]:
        self._read_logs()
        return self._fetched

    @property
    def sent(self) -> list[Sent]:
        self._sent += [sent for at, sent in self._net_log.sent() if at >= self._since]
        return self._sent

    def forget_what_was_seen(self) -> None:
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self._fetched: list[Fetched] = []
        self._console: list[str] = []
        self._open: dict[str, Fetched] = {}
        self._sent: list[Sent] = []
        self._since, self._opened = time.monotonic(), time.time()

    def _read_logs(self) -> None:
        for entry in self.driver.get_log("browser"):
            is_refusal = entry["source"] == "network" and "the server responded with a status of 4" in entry["message"]
            if entry["timestamp"] / 1000 >= self._opened and not is_refusal:  # else of a page that was closed before
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
            self._open[key] = Fetched(request["url"], request["method"], event.get("type", ""))
            self._fetched.append(self._open[key])
        elif name == "responseReceived" and key in self._open:
            _answered(self._open[key], event["response"]["status"], event["response"]["headers"])


class _NetLog:
    """Chromium's own log of its network: what DevTools say of a frame's request is lost where it comes after the frame
    was given a process of its own."""

    def __init__(self, place: Path) -> None:
        self._place, self._at, self._type = place, 0, -1

    def sent(self) -> Iterator[tuple[float, Sent]]:
        """What is new in it: when it was sent, by the monotonic clock, and what."""
        with self._place.open("rb") as log:
            log.seek(self._at)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._at += len(line)
                if line.startswith(b'{"constants"'):
                    types = json.loads(line.rstrip(b",\n") + b"}")["constants"]["logEventTypes"]
                    self._type = types["HTTP_TRANSACTION_SEND_REQUEST_HEADERS"]
                elif line.endswith(b'"type":%d},\n' % self._type):
                    event = json.loads(line.rstrip(b",\n"))
                    headers = lower(dict(header.split(": ", 1) for header in event["params"]["headers"]))
                    target = event["params"]["line"].split(" ")[1]
                    # The line names no scheme; what is looked at so is on http.
                    yield int(event["time"]) / 1000, Sent(f"http://{headers['host']}{target}", headers)


def _answered(fetched: Fetched, status: int, headers: dict[str, str]) -> None:
    fetched.status, fetched.headers = status, lower(headers)
