"""The identity provider over HTTP: fetching, and remembering its metadata and keys.

1. Metadata and keys are fetched once at a time, whoever asks, and kept for an hour. After that, while one caller
   fetches them again, everybody else is served the copy, up to a day old; and so are all when that fetch fails.
2. A failure is remembered for some seconds: a provider that hangs must not hold up one caller after the other.
3. A key that the kept set lacks is a reason to fetch it again, at most once a minute.
4. No redirect is followed, an answer is read up to a megabyte, and the whole may take ``http_timeout`` seconds.
5. A client lives for one request: the process may fork, and event loops come and go.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from functools import cache
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from ..rules.oidc.discovery import Provider, check_discovery, discovery_request, json_object
from ..vocabulary.errors import KMSIError, ProviderUnavailable
from ..vocabulary.messages import HttpRequest, HttpResponse
from ..vocabulary.records import frozen
from .forks import renew_after_fork

if TYPE_CHECKING:
    import ssl

_log = logging.getLogger("kmsi_middleware")

FRESH_SECONDS = 3_600
USABLE_SECONDS = 86_400
REFETCH_SECONDS = 60
PAUSE_SECONDS = 5
LARGEST_ANSWER = 1_048_576
MOST_DOCUMENTS = 64

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
        self._documents: dict[tuple[str, str], _Document] = {}
        renew_after_fork(self)

    def renew(self) -> None:
        """See :mod:`.forks`."""
        self._documents = {}

    # What is remembered ---------------------------------------------------------------------------------

    def _metadata(self, issuer: str) -> _Wanted:
        return _Wanted(("metadata", issuer), discovery_request(issuer), lambda answer: check_discovery(answer, issuer))

    def _keys(self, jwks_uri: str) -> _Wanted:
        request = HttpRequest("GET", jwks_uri, {"accept": "application/json"})
        return _Wanted(("keys", jwks_uri), request, lambda answer: json_object(answer, "jwks_invalid"))

    def _document(self, wanted: _Wanted) -> _Document:
        document = self._documents.setdefault(wanted.name, _Document())
        if len(self._documents) > MOST_DOCUMENTS:
            self._documents.pop(next(iter(self._documents)))
        return document

    def _at_hand(self, document: _Document, now: float, *, anew: bool) -> Any | None:
        """What serves without a fetch (rules 1 to 3), else ``None``. Raises what the last fetch raised, if that
        was just now."""
        usable = document.content if 0 <= now - document.fetched_at < USABLE_SECONDS else None
        if anew and not 0 <= now - document.anew_at < REFETCH_SECONDS:
            return None
        if usable is not None and 0 <= now - document.fetched_at < FRESH_SECONDS:
            return usable
        if document.error is not None and 0 <= now - document.failed_at < PAUSE_SECONDS:
            if usable is None:
                raise document.error.with_traceback(None)
            return usable
        return usable if document.is_fetching else None

    def _fetching(self, wanted: _Wanted, document: _Document, now: float, *, anew: bool) -> _Fetching:
        """The fetch, without the I/O: run by whoever holds the document's lock."""
        content = self._at_hand(document, now, anew=anew)
        if content is not None:
            return content
        if anew:
            document.anew_at = now
        document.is_fetching = True
        try:
            document.content = wanted.check((yield wanted.request))
        except KMSIError as error:
            document.error, document.failed_at = error, now
            content = document.content if 0 <= now - document.fetched_at < USABLE_SECONDS else None
            if content is None:
                raise
            _log.warning("%s: an older copy of %s serves on", error, wanted.request.url)
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
        async with document.async_lock:
            fetching = self._fetching(wanted, document, now, anew=anew)
            try:
                request = next(fetching)
                while True:
                    try:
                        answer = await self.fetch_async(request)
                    except KMSIError as error:
                        request = fetching.throw(error)
                    else:
                        request = fetching.send(answer)
            except StopIteration as done:
                return done.value
            finally:
                fetching.close()

    async def fetch_async(self, request: HttpRequest) -> HttpResponse:
        """Raises :class:`ProviderUnavailable`."""
        transport = self._async_transport() if self._async_transport else None
        try:
            with anyio.fail_after(self._timeout):
                async with (
                    httpx.AsyncClient(**self._options(transport)) as client,
                    client.stream(
                        request.method, request.url, headers=dict(request.headers), data=_form(request)
                    ) as answer,
                ):
                    body = b""
                    async for chunk in answer.aiter_bytes():
                        body = _joined(body, chunk)
                    return HttpResponse(answer.status_code, dict(answer.headers), body)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise _unreachable(request, error) from error

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
        with document.lock:
            fetching = self._fetching(wanted, document, now, anew=anew)
            try:
                request = next(fetching)
                while True:
                    try:
                        answer = self.fetch(request)
                    except KMSIError as error:
                        request = fetching.throw(error)
                    else:
                        request = fetching.send(answer)
            except StopIteration as done:
                return done.value
            finally:
                fetching.close()

    def fetch(self, request: HttpRequest) -> HttpResponse:
        """Raises :class:`ProviderUnavailable`."""
        transport = self._sync_transport() if self._sync_transport else None
        deadline = time.monotonic() + self._timeout
        try:
            with (
                httpx.Client(**self._options(transport)) as client,
                client.stream(
                    request.method, request.url, headers=dict(request.headers), data=_form(request)
                ) as answer,
            ):
                body = b""
                for chunk in answer.iter_bytes():
                    body = _joined(body, chunk)
                    if time.monotonic() > deadline:
                        raise TimeoutError("the answer came too slowly")
                return HttpResponse(answer.status_code, dict(answer.headers), body)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _unreachable(request, error) from error

    def _options(self, transport: Any) -> dict[str, Any]:
        options: dict[str, Any] = {"timeout": self._timeout, "follow_redirects": False}
        return options | ({"transport": transport} if transport is not None else {"verify": _certificates()})


def _form(request: HttpRequest) -> dict[str, str] | None:
    return dict(request.form) if request.form is not None else None


def _joined(body: bytes, chunk: bytes) -> bytes:
    if len(body) + len(chunk) > LARGEST_ANSWER:
        raise OSError("the answer is larger than a megabyte")
    return body + chunk


def _unreachable(request: HttpRequest, error: Exception) -> ProviderUnavailable:
    url = httpx.URL(request.url).copy_with(query=None)
    _log.warning("%s %s failed: %s %s", request.method, url, type(error).__name__, error)
    return ProviderUnavailable(f"{request.method} {url} failed: {type(error).__name__}")
