"""A real browser, as a person has it before them: what the scenarios do with one and see in it, whichever it is.

Waits are for something to be seen, with a bound; nothing sleeps. Besides the page, there is what the browser says
of it: its console, its network events, and the headers that were really sent.

The primitives, below, are what each kind does in its own way: ``chromium.py`` and ``firefox.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, cast
from urllib.parse import urlsplit

from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

SECONDS = 15
SEEN = """
const ours = "setTimeout(() => location.replace(";
return document.readyState === "complete" && [
  document.querySelector("h1")?.textContent, [...document.scripts].filter(it => !it.text.startsWith(ours)).length
]
"""
LABELLED = """
return [...document.querySelectorAll("button, a")].filter(it => it.innerText.trim() === arguments[0])
"""


@dataclass
class Fetched:
    """One request of the browser's, and its answer. ``kind`` is Document for pages and frames alike."""

    url: str
    method: str
    kind: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return urlsplit(self.url).path


class Sent(NamedTuple):
    """One request as it went over the network."""

    url: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Cookie:
    """``persistent``: kept when the browser closes."""

    name: str
    value: str
    persistent: bool
    http_only: bool
    same_site: str
    path: str


class Browser(ABC):
    """One browser with a profile of its own. Use as a context manager: it closes at its end, as people close it.

    ``third_party`` says what it does with the cookies of other sites' frames: ``blocked``, ``allowed``, or, as
    Firefox does unless it is told otherwise, ``partitioned``; with ``none`` it keeps no cookie at all. With
    ``restore`` it opens with the tabs that it had when it was last closed. ``preferences`` are its own, by their names.
    """

    calls_itself: ClassVar[str]
    """As people know it by its ``User-Agent``."""
    missing: ClassVar[str]
    """What there must be on this machine and is not; empty where all is there."""
    busy: ClassVar[tuple[type[Exception], ...]]
    """What is raised where a page is just being replaced."""

    @abstractmethod
    def __init__(
        self, profile: Path, third_party: str, *, restore: bool = False, preferences: Mapping[str, object] | None = None
    ) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.quit()

    # The primitives

    @abstractmethod
    def change(self, third_party: str) -> bool:
        """What it does with third-party cookies, while it runs. Whether it can."""

    @abstractmethod
    def quit(self) -> None: ...

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def js(self, script: str, *arguments: object) -> Any:
        """The browser's own view of the page. Tests look through it; what people do, they do by hand."""

    @abstractmethod
    def navigate(self, url: str) -> None: ...

    @abstractmethod
    def refresh(self) -> None: ...

    @property
    @abstractmethod
    def tabs(self) -> list[str]: ...

    @property
    @abstractmethod
    def tab(self) -> str: ...

    @abstractmethod
    def go_to(self, tab: str) -> None: ...

    @abstractmethod
    def new_tab(self) -> str: ...

    @abstractmethod
    def close_tab(self) -> None: ...

    @abstractmethod
    def click_on(self, element: Any, times: int = 1) -> None: ...

    @abstractmethod
    def keys(self, *keys: str) -> None:
        """On the keyboard, to wherever the focus is."""

    @abstractmethod
    def cookies(self) -> dict[str, Cookie]:
        """Every cookie that it holds, for whatever site, by name."""

    @abstractmethod
    def forget_cookies(self) -> None: ...

    @abstractmethod
    def emulating(self, width: int, scheme: str) -> AbstractContextManager[None]:
        """A screen of another width, light or dark."""

    @abstractmethod
    def without_scripts(self) -> AbstractContextManager[None]: ...

    @abstractmethod
    def unnamed(self, *roles: str) -> list[str]:
        """What has one of these roles and no name for a screen reader, as the browser computes both."""

    @abstractmethod
    def picture(self) -> bytes:
        """The whole page, as a PNG."""

    @property
    @abstractmethod
    def console(self) -> list[str]:
        """What the console says, but for answers of 4xx, which it reports too."""

    @property
    @abstractmethod
    def fetched(self) -> list[Fetched]:
        """Every request since the start, each redirect's too."""

    @property
    @abstractmethod
    def sent(self) -> list[Sent]:
        """Every request that went over the network, with its headers as they were there. May come later than the
        answer: wait for it."""

    @abstractmethod
    def forget_what_was_seen(self) -> None: ...

    # Waiting and looking

    def start_over(self, *, keep: bool = False) -> None:
        """As if freshly installed: one empty tab, nothing noted of what was seen, and no cookies, but for ``keep``."""
        before = self.tabs
        fresh = self.new_tab()
        for tab in before:
            self.go_to(tab)
            self.close_tab()
        self.go_to(fresh)
        if not keep:
            self.forget_cookies()
        self.navigate("data:text/html,<h1>Nothing</h1>")
        self.sees("Nothing")
        self.forget_what_was_seen()

    def wait(self, what: str, until: Callable[[], object]) -> None:
        """Until ``until`` is true; a page that is just being replaced counts as not yet."""
        wait = WebDriverWait(cast("Any", self), SECONDS, poll_frequency=0.05, ignored_exceptions=self.busy)
        wait.until(lambda _: until(), f"{what} was not seen; the browser is at {self.where()}")

    def where(self) -> str:
        try:
            return f"{self.url}: {self.heading}"
        except self.busy as error:
            return str(error)

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """What is done inside leads to another document; this waits until it is there."""
        mark = self.js("return window.left = Math.random()")
        yield
        self.wait("Another page", lambda: self.js("return window.left") != mark)

    @property
    def heading(self) -> str:
        return str(self.js("return document.readyState === 'complete' && document.querySelector('h1')?.textContent"))

    @property
    def text(self) -> str:
        return str(self.js("return document.body.innerText"))

    def text_of(self, css: str) -> str:
        return str(self.js("return arguments[0].innerText", self.element(css)))

    def texts_of(self, css: str) -> list[str]:
        """Of each; what is only for a screen reader, too."""
        return [
            str(text)
            for text in self.js("return [...document.querySelectorAll(arguments[0])].map(it => it.textContent)", css)
        ]

    def is_shown(self, css: str) -> bool:
        return self.js("return document.querySelector(arguments[0])?.checkVisibility()", css) is True

    def is_checked(self, css: str) -> bool:
        return self.js("return arguments[0].checked", self.element(css)) is True

    def value_of(self, css: str) -> str:
        return str(self.js("return arguments[0].value", self.element(css)))

    def sees(self, heading: str) -> None:
        """Wait for a page, by its heading; whatever page, it has no script, but for the one that bounds a wait."""
        self.wait(f"“{heading}”, without a script,", lambda: self.js(SEEN) == [heading, 0])

    def is_at(self, url: str, heading: str) -> None:
        self.wait(url, lambda: self.url == url)
        self.sees(heading)

    def element(self, css: str) -> Any:
        found = self.js("return document.querySelector(arguments[0])", css)
        assert found is not None, f"no {css}: {self.where()}"
        return found

    @property
    def focused(self) -> str:
        """The text of what has the focus, or its name."""
        return str(self.js("const it = document.activeElement; return it.innerText || it.name || it.tagName"))

    def sent_to(self, path: str, count: int) -> list[Sent]:
        """Wait until the browser says what it sent to this path of whatever site, so many times."""

        def told() -> list[Sent]:
            return [sent for sent in self.sent if urlsplit(sent.url).path == path]

        self.wait(f"What was sent to {path}", lambda: len(told()) >= count)
        return told()

    # Doing

    def open(self, url: str) -> None:
        """Type an address."""
        with self.leaving():
            self.navigate(url)

    def back(self, steps: int = 1) -> None:
        """At once, chromedriver would find its script gone with the page, and play it again."""
        with self.leaving():
            self.js("setTimeout(() => history.go(-arguments[0]))", steps)

    def reload(self) -> None:
        with self.leaving():
            self.refresh()

    def click(self, css: str) -> None:
        with self.leaving():
            self.click_on(self.element(css))

    def press(self, label: str) -> None:
        """Click the button or link that says ``label``."""
        found: list[Any] = []

        def is_there() -> bool:
            found[:] = self.js(LABELLED, label)
            return bool(found)

        self.wait(label, is_there)  # on a machine that is busy, a page that has loaded is not yet laid out
        assert len(found) == 1, f"{len(found)} of {label}: {self.where()}"
        with self.leaving():
            self.click_on(found[0])

    def write(self, css: str, text: str) -> None:
        self.js("arguments[0].focus()", self.element(css))
        self.keys(text)

    def tab_to(self, what: str) -> int:
        """Press Tab until ``what`` has the focus; how many times it took."""
        for count in range(1, 30):
            self.keys(Keys.TAB)
            if self.focused == what:
                return count
        raise AssertionError(f"Tab never reaches {what}: {self.where()}")

    def go_to_page(self, url: str) -> None:
        """To the tab that shows ``url``, as soon as there is one."""

        def is_there() -> bool:
            for tab in self.tabs:
                self.go_to(tab)
                if self.url == url:
                    return True
            return False

        self.wait(f"A tab with {url}", is_there)

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


def lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def nothing_went_wrong(browser: Browser, issuer: str) -> None:
    """No page broke its own Content-Security-Policy, none loaded anything, and none of ours could run a script."""
    said = [line for line in browser.console if "Clear-Site-Data" not in line]
    assert not said, said
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
