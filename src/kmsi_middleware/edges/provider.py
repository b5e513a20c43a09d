"""The identity provider over HTTP: fetching, and remembering its metadata and keys.

1. Metadata and keys are fetched once at a time, whoever asks, and kept for an hour. After that, while one caller
   fetches them again, everybody else is served the copy, up to a day old; and so are all when that fetch fails.
2. A failure is remembered for some seconds: a provider that hangs must not hold up one caller after the other.
3. A key that the kept set lacks is a reason to fetch it again, at most once a minute.
4. No redirect is followed, an answer is read up to a megabyte, and the whole may take ``http_timeout`` seconds.
5. A client lives for one request: the process may fork, and event loops come and go.
6. After a failure the issuer is left alone for some seconds by whoever asks first whether they may
   (:meth:`ProviderClient.may_ask`); then one caller finds out whether it answers again. So one that hangs never holds
   up all workers of a server at once for what can wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from ..rules.oidc.discovery import Provider, check_discovery, discovery_request, json_object
from ..vocabulary.addresses import without_password
from ..vocabulary.errors import KMSIError, ProviderUnavailable
from ..vocabulary.messages import HttpRequest, HttpResponse
from ..vocabulary.records import frozen
from .forks import renew_after_fork
from .play import play, play_async

if TYPE_CHECKING:
    import ssl

_log = logging.getLogger("kmsi_middleware")

FRESH_SECONDS = 3_600
USABLE_SECONDS = 86_400
REFETCH_SECONDS = 60
PAUSE_SECONDS = 5
LARGEST_ANSWER = 1_048_576
TROUBLE_SECONDS = 15
"""Rule 6."""
MOST_DOCUMENTS = 64
TOLERANCE_SECONDS = 60
"""A caller may have read the clock before the one whose fetch it waited for, by ``http_timeout`` at most."""

_Fetching = Generator[HttpRequest, HttpResponse, Any]


@frozen
class _Wanted:
    """A document: its name, how to ask for it, and how to check the answer."""

    name: tuple[str, str]
    request: HttpRequest
    check: Callable[[HttpResponse], Any]


class _Document:
    """What is kept of one document."""

    def __init__(self) -> None:
        self.content: Any | None = None
        self.fetched_at = self.anew_at = self.failed_at = float("-inf")
        self.error: KMSIError | None = None
        self.is_fetching = False
        self.lock = threading.Lock()
        self.async_lock: anyio.Lock | None = None


class _Trouble:
    """Whether the issuer failed just now (rule 6)."""

    def __init__(self) -> None:
        self._again_at: float | None = None
        self._lock = threading.Lock()

    def note(self, now: float, *, failed: bool) -> None:
        self._again_at = now + TROUBLE_SECONDS if failed else None

    def is_over(self, now: float, patience: float) -> bool:
        """Asked by whoever would then try; ``patience``: for how long that may take."""
        with self._lock:
            again_at = self._again_at
            if again_at is None:
                return True
            # One that lies far ahead tells of a clock that was set back.
            if 0 < again_at - now <= TROUBLE_SECONDS + patience + TOLERANCE_SECONDS:
                return False
            self._again_at = now + patience + TROUBLE_SECONDS
            return True


@cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context()


class ProviderClient:
    """Performs ``GetProvider``, ``GetKeys`` and ``Fetch``, for sync and for async callers."""

    def __init__(
        self,
        *,
        timeout: float,
        async_transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
        sync_transport: Callable[[], httpx.BaseTransport] | None = None,
    ) -> None:
        self._timeout = timeout
        self._async_transport = async_transport
        self._sync_transport = sync_transport
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """See :mod:`.forks`."""
        self._lock = threading.Lock()
        self._documents: dict[tuple[str, str], _Document] = {}
        self._trouble = _Trouble()

    def may_ask(self, now: float) -> bool:
        """Whether it is worth while to ask the issuer for something that one can do without (rule 6)."""
        return self._trouble.is_over(now, self._timeout)

    # What is remembered ---------------------------------------------------------------------------------

    def _metadata(self, issuer: str) -> _Wanted:
        return _Wanted(("metadata", issuer), discovery_request(issuer), lambda answer: check_discovery(answer, issuer))

    def _keys(self, jwks_uri: str) -> _Wanted:
        request = HttpRequest("GET", jwks_uri, {"accept": "application/json"})
        return _Wanted(("keys", jwks_uri), request, lambda answer: json_object(answer, "jwks_invalid"))

    def _document(self, wanted: _Wanted) -> _Document:
        with self._lock:
            document = self._documents.setdefault(wanted.name, _Document())
            if len(self._documents) > MOST_DOCUMENTS:
                del self._documents[next(iter(self._documents))]
        return document

    def _at_hand(self, document: _Document, now: float, *, anew: bool) -> Any | None:
        """What serves without a fetch (rules 1 to 3), else ``None``. Raises what the last fetch raised, if that
        was just now."""
        usable = self._usable(document, now)
        if anew and (document.is_fetching or not _within(REFETCH_SECONDS, document.anew_at, now)):
            return None  # the fetch that is under way may bring the key: wait for it
        if usable is not None and _within(FRESH_SECONDS, document.fetched_at, now):
            return usable
        if document.error is not None and _within(PAUSE_SECONDS, document.failed_at, now):
            if usable is None:
                raise document.error.with_traceback(None)
            return usable
        return None

    def _usable(self, document: _Document, now: float) -> Any | None:
        return document.content if _within(USABLE_SECONDS, document.fetched_at, now) else None

    def _fetching(self, wanted: _Wanted, document: _Document, now: float, *, anew: bool) -> _Fetching:
        """The fetch, without the I/O: run by whoever holds the document's lock."""
        content = self._at_hand(document, now, anew=anew)
        if content is not None:
            return content
        if anew:
            document.anew_at = now
        document.is_fetching = True
        began, answer = time.monotonic(), None
        try:
            answer = yield wanted.request
            document.content = wanted.check(answer)
        except KMSIError as error:
            # From its end on: who came while it hung must not be the next to be held up.
            document.error, document.failed_at = error, now + time.monotonic() - began
            content = self._usable(document, now)
            if content is None:
                if answer is not None:  # else who sent the request has said so
                    _log.warning("%s (%s)", error, _shown(wanted.request.url))
                raise
            _log.warning("%s: an older copy of %s serves on", error, _shown(wanted.request.url))
            return content
        finally:
            document.is_fetching = False
        document.fetched_at, document.error = now, None
        return document.content

    # Async ----------------------------------------------------------------------------------------------

    async def provider_async(self, issuer: str, now: float) -> Provider:
        provider: Provider = await self._obtain_async(self._metadata(issuer), now)
        return provider

    async def keys_async(self, jwks_uri: str, unknown_kid: bool, now: float) -> dict[str, Any]:
        keys: dict[str, Any] = await self._obtain_async(self._keys(jwks_uri), now, anew=unknown_kid)
        return keys

    async def _obtain_async(self, wanted: _Wanted, now: float, *, anew: bool = False) -> Any:
        document = self._document(wanted)
        content = self._at_hand(document, now, anew=anew)
        if content is not None:
            return content
        if document.async_lock is None:
            document.async_lock = anyio.Lock()
        try:
            document.async_lock.acquire_nowait()
        except anyio.WouldBlock:
            usable = self._usable(document, now)
            if usable is not None and not anew:
                return usable
            await document.async_lock.acquire()
        try:
            fetching = self._fetching(wanted, document, now, anew=anew)
            return await play_async(fetching, lambda request: self.fetch_async(request, now))
        finally:
            document.async_lock.release()

    async def fetch_async(self, request: HttpRequest, now: float, within: float | None = None) -> HttpResponse:
        """Raises :class:`ProviderUnavailable`."""
        transport = self._async_transport() if self._async_transport else None
        began, patience = time.monotonic(), self._patience(within)
        try:
            with anyio.fail_after(patience):
                async with (
                    httpx.AsyncClient(**self._options(transport, patience)) as client,
                    client.stream(
                        request.method, request.url, headers=dict(request.headers), data=_form(request)
                    ) as answer,
                ):
                    body = b""
                    async for chunk in answer.aiter_bytes():
                        body = _joined(body, chunk)
                    return self._answered(HttpResponse(answer.status_code, dict(answer.headers), body), now)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, UnicodeError) as error:
            self._trouble.note(now + time.monotonic() - began, failed=True)
            raise _unreachable(request, error) from error

    async def tell_async(self, requests: Sequence[HttpRequest], now: float, within: float) -> None:
        """Sends requests whose answers don't matter."""
        began = time.monotonic()
        for request in requests:
            left = within - (time.monotonic() - began)
            if left > 0:
                with suppress(ProviderUnavailable):
                    _told(request, await self.fetch_async(request, now, left))

    # Sync -----------------------------------------------------------------------------------------------

    def provider(self, issuer: str, now: float) -> Provider:
        provider: Provider = self._obtain(self._metadata(issuer), now)
        return provider

    def keys(self, jwks_uri: str, unknown_kid: bool, now: float) -> dict[str, Any]:
        keys: dict[str, Any] = self._obtain(self._keys(jwks_uri), now, anew=unknown_kid)
        return keys

    def _obtain(self, wanted: _Wanted, now: float, *, anew: bool = False) -> Any:
        document = self._document(wanted)
        content = self._at_hand(document, now, anew=anew)
        if content is not None:
            return content
        usable = self._usable(document, now)
        if not document.lock.acquire(blocking=usable is None or anew):
            return usable
        try:
            fetching = self._fetching(wanted, document, now, anew=anew)
            return play(fetching, lambda request: self.fetch(request, now))
        finally:
            document.lock.release()

    def fetch(self, request: HttpRequest, now: float, within: float | None = None) -> HttpResponse:
        """Raises :class:`ProviderUnavailable`."""
        transport = self._sync_transport() if self._sync_transport else None
        began, patience = time.monotonic(), self._patience(within)
        try:
            with (
                httpx.Client(**self._options(transport, patience)) as client,
                client.stream(
                    request.method, request.url, headers=dict(request.headers), data=_form(request)
                ) as answer,
            ):
                body = b""
                for chunk in answer.iter_bytes():
                    body = _joined(body, chunk)
                    if time.monotonic() > began + patience:
                        raise TimeoutError("the answer came too slowly")
                return self._answered(HttpResponse(answer.status_code, dict(answer.headers), body), now)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            self._trouble.note(now + time.monotonic() - began, failed=True)
            raise _unreachable(request, error) from error

    def tell(self, requests: Sequence[HttpRequest], now: float, within: float) -> None:
        """Sends requests whose answers don't matter."""
        began = time.monotonic()
        for request in requests:
            left = within - (time.monotonic() - began)
            if left > 0:
                with suppress(ProviderUnavailable):
                    _told(request, self.fetch(request, now, left))

    def _patience(self, within: float | None) -> float:
        return self._timeout if within is None else min(self._timeout, within)

    def _answered(self, response: HttpResponse, now: float) -> HttpResponse:
        self._trouble.note(now, failed=response.status >= 500 or response.status == 429)
        return response

    def _options(self, transport: Any, patience: float) -> dict[str, Any]:
        options: dict[str, Any] = {"timeout": patience, "follow_redirects": False}
        return options | ({"transport": transport} if transport is not None else {"verify": _certificates()})


def _within(seconds: float, at: float, now: float) -> bool:
    return -TOLERANCE_SECONDS <= now - at < seconds


def _form(request: HttpRequest) -> dict[str, str] | None:
    return dict(request.form) if request.form is not None else None


def _joined(body: bytes, chunk: bytes) -> bytes:
    if len(body) + len(chunk) > LARGEST_ANSWER:
        raise OSError("the answer is larger than a megabyte")
    return body + chunk


def _shown(url: str) -> str:
    """A URL as a log may have it. Not by httpx, which refuses the very URLs that this tells of."""
    return without_password(url.partition("?")[0])


def _told(request: HttpRequest, response: HttpResponse) -> None:
    if response.status >= 400:
        _log.warning("%s %s: answered %s", request.method, _shown(request.url), response.status)


def _unreachable(request: HttpRequest, error: Exception) -> ProviderUnavailable:
    url = _shown(request.url)
    _log.warning("%s %s failed: %s %s", request.method, url, type(error).__name__, error)
    return ProviderUnavailable(f"{request.method} {url} failed: {type(error).__name__}")
