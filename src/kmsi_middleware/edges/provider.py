"""The identity provider over HTTP: fetching, and remembering its metadata and keys.

1. Metadata and keys are fetched once at a time, whoever asks, and kept for an hour. When a refetch fails, what
   is a day old at most still serves.
2. A key that the cached set lacks is a reason to fetch it again, at most once a minute.
3. No redirect is followed, an answer is read up to a megabyte, and the whole may take ``http_timeout`` seconds.
4. A client lives for one request: the process may fork, and event loops come and go.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from functools import cache
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from ..rules.oidc.discovery import Provider, check_discovery, discovery_request, json_object
from ..vocabulary.errors import KMSIError, ProviderUnavailable
from ..vocabulary.messages import HttpRequest, HttpResponse
from .forks import renew_after_fork

if TYPE_CHECKING:
    import ssl

_log = logging.getLogger("kmsi_middleware")

FRESH_SECONDS = 3_600
USABLE_SECONDS = 86_400
REFETCH_SECONDS = 60
LARGEST_ANSWER = 1_048_576
MOST_DOCUMENTS = 64

_Fetching = Generator[HttpRequest, HttpResponse, Any]


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
        self._documents: OrderedDict[tuple[str, str], tuple[float, Any]] = OrderedDict()
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """See :mod:`.forks`."""
        self._lock = threading.Lock()
        self._async_lock: anyio.Lock | None = None

    # What is remembered ---------------------------------------------------------------------------------

    def _kept(self, name: tuple[str, str], now: float, seconds: float) -> Any | None:
        at, document = self._documents.get(name, (0.0, None))
        return document if document is not None and 0 <= now - at < seconds else None

    def _keep(self, name: tuple[str, str], document: Any, now: float) -> None:
        self._documents[name] = (now, document)
        self._documents.move_to_end(name)
        while len(self._documents) > MOST_DOCUMENTS:
            self._documents.popitem(last=False)

    def _obtain(
        self, name: tuple[str, str], request: HttpRequest, check: Callable[[HttpResponse], Any], now: float, age: float
    ) -> _Fetching:
        """Rules 1 and 2, without the I/O: run by whoever holds the lock."""
        document = self._kept(name, now, age)
        if document is not None:
            return document
        try:
            document = check((yield request))
        except KMSIError as error:
            document = self._kept(name, now, USABLE_SECONDS)
            if document is None:
                raise
            _log.warning("%s: an older copy of %s serves on", error, request.url)
            return document
        self._keep(name, document, now)
        return document

    def _metadata(self, issuer: str, now: float) -> tuple[Any | None, _Fetching]:
        name = ("metadata", issuer)
        fetching = self._obtain(
            name, discovery_request(issuer), lambda answer: check_discovery(answer, issuer), now, FRESH_SECONDS
        )
        return self._kept(name, now, FRESH_SECONDS), fetching

    def _keys(self, jwks_uri: str, unknown_kid: bool, now: float) -> tuple[Any | None, _Fetching]:
        name = ("keys", jwks_uri)
        age = REFETCH_SECONDS if unknown_kid else FRESH_SECONDS
        request = HttpRequest("GET", jwks_uri, {"accept": "application/json"})
        fetching = self._obtain(name, request, lambda answer: json_object(answer, "jwks_invalid"), now, age)
        return self._kept(name, now, age), fetching

    # Async ----------------------------------------------------------------------------------------------

    async def provider_async(self, issuer: str, now: float) -> Provider:
        kept, fetching = self._metadata(issuer, now)
        provider: Provider = kept or await self._run_async(fetching)
        return provider

    async def keys_async(self, jwks_uri: str, unknown_kid: bool, now: float) -> dict[str, Any]:
        kept, fetching = self._keys(jwks_uri, unknown_kid, now)
        keys: dict[str, Any] = kept or await self._run_async(fetching)
        return keys

    async def _run_async(self, fetching: _Fetching) -> Any:
        if self._async_lock is None:
            self._async_lock = anyio.Lock()
        async with self._async_lock:
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
        kept, fetching = self._metadata(issuer, now)
        provider: Provider = kept or self._run(fetching)
        return provider

    def keys(self, jwks_uri: str, unknown_kid: bool, now: float) -> dict[str, Any]:
        kept, fetching = self._keys(jwks_uri, unknown_kid, now)
        keys: dict[str, Any] = kept or self._run(fetching)
        return keys

    def _run(self, fetching: _Fetching) -> Any:
        with self._lock:
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
