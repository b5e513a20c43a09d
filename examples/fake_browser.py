"""A browser made of httpx: it keeps cookies, follows links, posts forms, and says so in Sec-Fetch headers.

What a browser does and this does not: run scripts, load frames and images. A frame is loaded by
:meth:`Browser.frame`, as a browser that blocks third-party cookies would: with none.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import httpx


class Loopback(httpx.HTTPTransport):
    """Browsers find every ``*.localhost`` on this machine by themselves; Python does not."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(host=self._address)
        at = httpx.Request(request.method, url, headers=request.headers, stream=request.stream)
        at.extensions = request.extensions
        return super().handle_request(at)


class Page(HTMLParser):
    """What of a page a visitor can use: its first form, its frames, where it goes on to by itself."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.url = response.url
        self.action = ""
        self._forms = 0
        self.hidden: dict[str, str] = {}
        self.frames: list[str] = []
        self.refresh = ""
        self.feed(response.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._forms += 1
            self.action = self.action or str(self.url.join(given["action"]))
        elif tag == "input" and given.get("type") == "hidden" and self._forms == 1:
            self.hidden[given["name"]] = given.get("value", "")
        elif tag == "iframe":
            self.frames.append(given["src"])
        elif given.get("http-equiv") == "refresh":
            self.refresh = given["content"].partition("url=")[2]


class Browser:
    """One browser with its cookies. ``address`` is where every host is found."""

    def __init__(self, address: str = "127.0.0.1", transport: type[Loopback] = Loopback) -> None:
        self._address, self._transport = address, transport
        self.http = self._client()

    def _client(self) -> httpx.Client:
        return httpx.Client(transport=self._transport(self._address), timeout=20, trust_env=False)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def visit(self, url: str, *, method: str = "GET", came_from: str = "", **more: Any) -> httpx.Response:
        """A top-level navigation, through every redirect."""
        headers = {"accept": "text/html,*/*;q=0.8", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        if method == "POST":
            headers["origin"] = _origin(came_from)
        site = "same-origin" if came_from else "none"
        for _ in range(12):
            if site == "same-origin" and _origin(url) != _origin(came_from):
                site = "cross-site"  # and so it stays, wherever the redirects lead
            response = self.http.request(method, url, headers={**headers, "sec-fetch-site": site}, **more)
            if not response.has_redirect_location:
                return response
            url, method, more = str(response.url.join(response.headers["location"])), "GET", {}
            headers.pop("origin", None)
        raise RuntimeError(f"redirected again and again, at last to {url}")

    def submit(self, page: httpx.Response, **answers: str) -> httpx.Response:
        """Post the page's first form; ``answers`` are what is typed, and the name and value of the button."""
        form = Page(page)
        return self.visit(form.action, method="POST", came_from=str(page.url), data={**form.hidden, **answers})

    def sign_in(self, url: str, user: str = "mia", answer: str = "yes") -> httpx.Response:
        """Open ``url``, sign in at the provider if it asks, answer “Stay signed in?” if that is asked."""
        page = self.visit(url)
        if "Try one of these people" in page.text:
            page = self.submit(page, pick=user)
        if "Stay signed in?" in page.text:
            page = self.submit(page, answer=answer)
        return page

    def frame(self, url: str) -> httpx.Response:
        """Load a cross-site frame. Third-party cookies are blocked, so none is sent and none kept."""
        headers = {"accept": "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
        headers["sec-fetch-site"] = "cross-site"
        with self._client() as stranger:
            return stranger.get(url, headers=headers)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
