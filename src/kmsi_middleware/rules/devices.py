"""What a person would call a browser and the device that it runs on, from the ``User-Agent``.

1. Names, no versions: browsers have stopped telling true ones, and nobody knows their device by them.
2. The first row that fits decides. Browsers pose as the one that they descend from, so that one comes after them.
3. What is not known stays empty: a wrong name would make a person doubt a session that is theirs.
4. Anybody may say what they like here; nothing is decided by it.

A library for this knows hundreds of browsers more, and takes most of a second to read its rules with the first page.
"""

from __future__ import annotations

import re
from typing import Literal

from ..vocabulary.records import frozen

Kind = Literal["computer", "phone", "tablet", ""]


@frozen
class Device:
    """A browser, the system that it runs on, and what kind of device that is; ``""`` where it is not known."""

    browser: str
    system: str
    kind: Kind

    @property
    def name(self) -> str:
        """Browser and system in one line; ``""`` if neither is known."""
        return " on ".join(filter(None, (self.browser, self.system)))


_BROWSERS = (
    ("Edge", r"\bEdg(?:e|A|iOS)?/"),
    ("Opera", r"\bOPR/|\bOPT/|\bOPiOS/|\bOpera\b"),
    ("Samsung Internet", r"\bSamsungBrowser/"),
    ("Vivaldi", r"\bVivaldi/"),
    ("DuckDuckGo", r"\bDuckDuckGo/|\bDdg/"),
    ("Yandex Browser", r"\bYaBrowser/"),
    ("Brave", r"\bBrave/"),
    ("UC Browser", r"\bUCBrowser/"),
    ("Huawei Browser", r"\bHuaweiBrowser/"),
    ("Mi Browser", r"\bMiuiBrowser/"),
    ("Whale", r"\bWhale/"),
    ("QQ Browser", r"\bM?QQBrowser/"),
    ("Silk", r"\bSilk/"),
    ("Google app", r"\bGSA/"),
    # A page inside an app: of which one, only the app knows.
    ("An app", r"; wv\)|\bFBA[NV]/|\bInstagram |\bElectron/"),
    ("Firefox", r"\bFirefox/|\bFxiOS/|\bFocus/"),
    ("Chromium", r"\bChromium/"),
    ("Chrome", r"\b(?:Headless)?Chrome/|\bCriOS/"),
    ("Safari", r"\bVersion/[\d.]+ .*\bSafari/"),
    ("Internet Explorer", r"\bMSIE |\bTrident/"),
)
_SYSTEMS: tuple[tuple[str, Kind, str], ...] = (
    ("Windows Phone", "phone", r"Windows Phone"),
    ("Xbox", "", r"\bXbox"),
    ("Windows", "computer", r"Windows NT"),
    ("iPhone", "phone", r"\biPhone\b|\biPod\b"),
    ("iPad", "tablet", r"\biPad\b"),
    ("ChromeOS", "computer", r"\bCrOS\b"),
    ("PlayStation", "", r"\bPlayStation"),
    ("smart TV", "", r"\bSMART-TV\b|\bSmartTV\b|\bWeb0S\b|\bTizen\b.*\bTV\b|\bAndroid TV\b|\bBRAVIA\b|\bAFT[A-Z]"),
    ("Android", "phone", r"\bAndroid\b.*\bMobile\b"),
    ("Android", "tablet", r"\bAndroid\b"),
    ("Mac", "computer", r"\bMacintosh\b"),
    ("Linux", "computer", r"\bLinux\b|\bX11\b"),
)
_COMPILED_BROWSERS = [(name, re.compile(pattern)) for name, pattern in _BROWSERS]
_COMPILED_SYSTEMS = [(name, kind, re.compile(pattern)) for name, kind, pattern in _SYSTEMS]


def device_of(user_agent: str) -> Device:
    """What a ``User-Agent`` speaks of."""
    browser = next((name for name, pattern in _COMPILED_BROWSERS if pattern.search(user_agent)), "")
    system, kind = next(
        ((name, kind) for name, kind, pattern in _COMPILED_SYSTEMS if pattern.search(user_agent)), ("", "")
    )
    return Device(browser, system, kind)
