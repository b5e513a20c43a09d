"""What a person would call browsers and devices: real names of today, and some of yesterday."""

from __future__ import annotations

import pytest

from kmsi_middleware.rules.devices import device_of

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X"
ANDROID = "Mozilla/5.0 (Linux; Android 10; K"
LINUX = "Mozilla/5.0 (X11; Linux x86_64"
KIT = ") AppleWebKit/537.36 (KHTML, like Gecko) "
APPLE = ") AppleWebKit/605.1.15 (KHTML, like Gecko) "

# (what it calls itself, browser, system, kind)
BROWSERS = [
    (f"{WINDOWS}{KIT}Chrome/142.0.0.0 Safari/537.36", "Chrome", "Windows", "computer"),
    (f"{WINDOWS}{KIT}Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0", "Edge", "Windows", "computer"),
    (f"{WINDOWS}; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox", "Windows", "computer"),
    (f"{WINDOWS}{KIT}Chrome/142.0.0.0 Safari/537.36 OPR/124.0.0.0", "Opera", "Windows", "computer"),
    (f"{WINDOWS}{KIT}Chrome/140.0.0.0 YaBrowser/25.10.0.0 Safari/537.36", "Yandex Browser", "Windows", "computer"),
    (f"{WINDOWS}{KIT}Chrome/64.0.3282.140 Safari/537.36 Edge/18.17763", "Edge", "Windows", "computer"),
    (
        "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
        "Internet Explorer",
        "Windows",
        "computer",
    ),
    (f"{MAC}{APPLE}Version/26.1 Safari/605.1.15", "Safari", "Mac", "computer"),
    (f"{MAC}{KIT}Chrome/142.0.0.0 Safari/537.36", "Chrome", "Mac", "computer"),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Gecko/20100101 Firefox/145.0",
        "Firefox",
        "Mac",
        "computer",
    ),
    (f"{MAC}{APPLE}Version/26.0 Safari/605.1.15 Ddg/26.0", "DuckDuckGo", "Mac", "computer"),
    (f"{LINUX}{KIT}Chrome/142.0.0.0 Safari/537.36", "Chrome", "Linux", "computer"),
    (f"{LINUX}; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox", "Linux", "computer"),
    ("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox", "Linux", "computer"),
    (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0{KIT}Chrome/142.0.0.0 Safari/537.36", "Chrome", "ChromeOS", "computer"),
    (f"{LINUX}{KIT}HeadlessChrome/142.0.0.0 Safari/537.36", "Chrome", "Linux", "computer"),
    (f"{IPHONE}{APPLE}Version/26.1 Mobile/15E148 Safari/604.1", "Safari", "iPhone", "phone"),
    (f"{IPHONE}{APPLE}CriOS/142.0.7444.77 Mobile/15E148 Safari/604.1", "Chrome", "iPhone", "phone"),
    (f"{IPHONE}{APPLE}FxiOS/145.0 Mobile/15E148 Safari/605.1.15", "Firefox", "iPhone", "phone"),
    (f"{IPHONE}{APPLE}Version/18.0 EdgiOS/142.0.3595.66 Mobile/15E148 Safari/605.1.15", "Edge", "iPhone", "phone"),
    (
        f"Mozilla/5.0 (iPad; CPU OS 18_7 like Mac OS X{APPLE}Version/26.1 Mobile/15E148 Safari/604.1",
        "Safari",
        "iPad",
        "tablet",
    ),
    (f"{IPHONE}{APPLE}GSA/393.0.0 Mobile/15E148 Safari/604.1", "Google app", "iPhone", "phone"),
    (f"{ANDROID}{KIT}Chrome/142.0.0.0 Mobile Safari/537.36", "Chrome", "Android", "phone"),
    (f"{ANDROID}{KIT}Chrome/142.0.0.0 Safari/537.36", "Chrome", "Android", "tablet"),
    (
        f"{ANDROID}{KIT}SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
        "Samsung Internet",
        "Android",
        "phone",
    ),
    ("Mozilla/5.0 (Android 15; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0", "Firefox", "Android", "phone"),
    (f"{ANDROID}{KIT}Chrome/142.0.0.0 Mobile Safari/537.36 EdgA/142.0.0.0", "Edge", "Android", "phone"),
    (f"{ANDROID}{KIT}Chrome/142.0.0.0 Mobile Safari/537.36 OPR/92.0.0.0", "Opera", "Android", "phone"),
    (
        f"Mozilla/5.0 (Linux; Android 14; SM-S911B; wv{KIT}Version/4.0 Chrome/142.0.0.0 Mobile Safari/537.36",
        "An app",
        "Android",
        "phone",
    ),
    (
        f"Mozilla/5.0 (Linux; U; Android 13; zh-cn{KIT}Version/4.0 Chrome/100.0 Safari/537.36 MiuiBrowser/18.0.0",
        "Mi Browser",
        "Android",
        "tablet",
    ),
    (
        f"Mozilla/5.0 (Linux; Android 12; HarmonyOS; NOH-AN00{KIT}Chrome/114.0 HuaweiBrowser/15.0 Mobile Safari/537.36",
        "Huawei Browser",
        "Android",
        "phone",
    ),
    (
        f"Mozilla/5.0 (Linux; Android 11; KFTRWI{KIT}Silk/130.4 like Chrome/130.0 Safari/537.36",
        "Silk",
        "Android",
        "tablet",
    ),
    (f"{WINDOWS}; Xbox; Xbox One{KIT}Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0", "Edge", "Xbox", ""),
    (f"Mozilla/5.0 (PlayStation; PlayStation 5/6.00{APPLE}Version/15.4 Safari/605.1.15", "Safari", "PlayStation", ""),
    (f"Mozilla/5.0 (SMART-TV; LINUX; Tizen 7.0{KIT}94.0.4606.31/7.0 TV Safari/537.36", "", "smart TV", ""),
    (f"{WINDOWS}{KIT}Chrome/142.0.0.0 Safari/537.36 Vivaldi/7.6", "Vivaldi", "Windows", "computer"),
    (
        f"Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950{KIT}Chrome/52.0 Edge/15.15254",
        "Edge",
        "Windows Phone",
        "phone",
    ),
    (f"{WINDOWS}{KIT}Teams/24 Chrome/128 Electron/32 Safari/537.36", "An app", "Windows", "computer"),
    ("curl/8.5.0", "", "", ""),
    ("python-httpx/0.28.1", "", "", ""),
    ("", "", "", ""),
]


@pytest.mark.parametrize(("user_agent", "browser", "system", "kind"), BROWSERS)
def test_a_browser_and_its_device_are_called_what_people_call_them(
    user_agent: str, browser: str, system: str, kind: str
) -> None:
    device = device_of(user_agent)
    assert (device.browser, device.system, device.kind) == (browser, system, kind)


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (f"{WINDOWS}{KIT}Chrome/142.0.0.0 Safari/537.36", "Chrome on Windows"),
        ("Mozilla/5.0 (SMART-TV; LINUX; Tizen 7.0) TV Safari/537.36", "smart TV"),
        ("Firefox/145.0", "Firefox"),
        ("curl/8.5.0", ""),
    ],
)
def test_what_is_not_known_is_left_out(user_agent: str, name: str) -> None:
    assert device_of(user_agent).name == name
