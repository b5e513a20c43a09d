"""The HTTP client: what it asks the identity provider for, how often, and what it takes for an answer."""

from __future__ import annotations

import gzip
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest

from kmsi_middleware.edges import provider as module
from kmsi_middleware.edges.provider import (
    FRESH_SECONDS,
    LARGEST_ANSWER,
    MOST_DOCUMENTS,
    PAUSE_SECONDS,
    REFETCH_SECONDS,
    TROUBLE_SECONDS,
    USABLE_SECONDS,
    ProviderClient,
)
from kmsi_middleware.vocabulary.errors import KMSIError, ProtocolError, ProviderUnavailable
from kmsi_middleware.vocabulary.messages import HttpRequest, HttpResponse

ISSUER = "https://login.example.com/tenant"
JWKS = f"{ISSUER}/keys"
NOW = 1_800_000_000.0
CROWD = 6
IN_LINE = 2 * CROWD
"""How often locks were asked for when a crowd has come: by each for the table of documents, and for the document."""
SECRET = "canary-secret"
SHELLS = ("threads", "asyncio", "trio")
PATIENCE = 10
"""Seconds after which a test that hangs fails."""

Response = httpx.Response | Exception


def metadata(issuer: str = ISSUER) -> httpx.Response:
    return httpx.Response(
        200,
        json={
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        },
    )


def keys(name: str) -> httpx.Response:
    return httpx.Response(200, json={"keys": [{"kty": "RSA", "kid": name}]})


def kid(answer: Any) -> str:
    name: str = answer["keys"][0]["kid"]
    return name


class CountedLock:
    """A lock that knows how many have asked for it."""

    asked = threading.Condition()
    callers = 0

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def acquire(self, blocking: bool = True) -> bool:
        with CountedLock.asked:
            CountedLock.callers += 1
            CountedLock.asked.notify_all()
        return self._lock.acquire(blocking)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass
class Wire:
    """A provider behind a mock transport, and callers of one kind. ``answers`` are what it answers, one after the
    other, the last for ever; ``hangs`` seconds pass before each answer. With ``crowd``, an answer comes only when
    locks were asked for so often; for tasks, when all others wait for something."""

    shell: str
    answers: list[Callable[[], Response]] = field(default_factory=list)
    asked: list[httpx.Request] = field(default_factory=list)
    crowd: int = 0
    hangs: float = 0.0
    elapsed: float = 0.0
    meanwhile: Callable[[], Any] = lambda: None
    """Something that happens while an answer is on its way."""

    def __post_init__(self) -> None:
        self.client = ProviderClient(
            timeout=PATIENCE,
            async_transport=lambda: httpx.MockTransport(self._handle_async),
            sync_transport=lambda: httpx.MockTransport(self._handle),
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.elapsed += self.hangs
        made = answer()
        if isinstance(made, Exception):
            raise made
        return made

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.crowd:
            with CountedLock.asked:
                assert CountedLock.asked.wait_for(lambda: CountedLock.callers >= self.crowd, PATIENCE), "nobody waits"
        self.meanwhile()
        return self._answer(request)

    async def _handle_async(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.crowd:
            await anyio.wait_all_tasks_blocked()
        if (waited := self.meanwhile()) is not None:
            await waited
        return self._answer(request)

    def _all(self, calls: list[tuple[str, tuple[Any, ...]]]) -> list[Any]:
        """Every call at the same time. Answer: what each brought, in their order."""
        found: list[Any] = [None] * len(calls)
        if self.shell == "threads":
            start = threading.Barrier(len(calls))

            def call(number: int) -> None:
                start.wait(PATIENCE)
                name, given = calls[number]
                try:
                    found[number] = getattr(self.client, name)(*given)
                except KMSIError as error:
                    found[number] = error

            with ThreadPoolExecutor(len(calls)) as pool:
                list(pool.map(call, range(len(calls))))
            return found

        async def call_async(number: int) -> None:
            name, given = calls[number]
            try:
                found[number] = await getattr(self.client, f"{name}_async")(*given)
            except KMSIError as error:
                found[number] = error

        async def run() -> None:
            with anyio.fail_after(PATIENCE):
                async with anyio.create_task_group() as tasks:
                    for number in range(len(calls)):
                        tasks.start_soon(call_async, number)

        anyio.run(run, backend=self.shell)
        return found

    def together(self, *calls: tuple[Any, ...]) -> list[Any]:
        CountedLock.callers = 0
        return self._all([(name, given) for name, *given in calls])  # type: ignore[misc]

    def _one(self, *call: Any) -> Any:
        (found,) = self._all([(call[0], call[1:])])
        if isinstance(found, Exception):
            raise found
        return found

    def provider(self, now: float = NOW, issuer: str = ISSUER) -> Any:
        return self._one("provider", issuer, now)

    def keys(self, now: float = NOW, *, unknown_kid: bool = False, uri: str = JWKS) -> Any:
        return self._one("keys", uri, unknown_kid, now)

    def fetch(self, request: HttpRequest, now: float = NOW, within: float | None = None) -> HttpResponse:
        answer: HttpResponse = self._one("fetch", request, now, within)
        return answer

    def tell(self, *urls: str, within: float = 2.0) -> None:
        self._one("tell", [HttpRequest("POST", url, {}, {"token": SECRET}) for url in urls], NOW, within)

    def answer_with(self, *answers: Callable[[], Response]) -> None:
        self.answers[:] = answers


@pytest.fixture(params=SHELLS)
def wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Threads, tasks on asyncio, tasks on trio: the same behaviour."""
    made = Wire(request.param)
    monkeypatch.setattr(module, "threading", SimpleNamespace(Lock=CountedLock))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.elapsed))
    made.client.renew()
    return made


def refused() -> Response:
    return httpx.ConnectError("connection refused")


# How often ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["provider", "keys"])
def test_however_many_ask_at_the_same_time_there_is_one_fetch(wire: Wire, what: str) -> None:
    wire.answer_with(metadata if what == "provider" else lambda: keys("a"))
    wire.crowd = IN_LINE
    # Each read the clock for itself, so who waits may have an earlier instant than who fetches.
    calls = [(what, ISSUER, NOW - n / 1_000) if what == "provider" else (what, JWKS, False, NOW - n) for n in range(6)]
    found = wire.together(*calls)
    assert len(wire.asked) == 1
    assert len(found) == CROWD
    assert all(answer is found[0] for answer in found)
    assert not isinstance(found[0], Exception)


def test_what_was_fetched_is_kept_for_an_hour(wire: Wire) -> None:
    wire.answer_with(lambda: keys("a"), lambda: keys("b"))
    assert kid(wire.keys(NOW)) == "a"
    assert kid(wire.keys(NOW + FRESH_SECONDS - 0.001)) == "a"
    assert len(wire.asked) == 1
    assert kid(wire.keys(NOW + FRESH_SECONDS)) == "b"
    assert len(wire.asked) == 2
    assert kid(wire.keys(NOW + 2 * FRESH_SECONDS - 0.001)) == "b"
    assert len(wire.asked) == 2
    assert FRESH_SECONDS == 3_600


def test_a_clock_that_is_set_back_far_makes_nothing_fresh(wire: Wire) -> None:
    wire.answer_with(lambda: keys("a"), lambda: keys("b"))
    wire.keys(NOW)
    assert kid(wire.keys(NOW - 86_400)) == "b"


def test_after_an_hour_one_fetches_again_and_everybody_else_is_served_the_copy(wire: Wire) -> None:
    wire.answer_with(lambda: keys("a"), lambda: keys("b"))
    wire.keys(NOW)
    later = NOW + FRESH_SECONDS
    wire.crowd = IN_LINE
    found = wire.together(*[("keys", JWKS, False, later)] * CROWD)
    assert len(wire.asked) == 2
    assert sorted(map(kid, found)) == ["a"] * (CROWD - 1) + ["b"]


def test_who_is_served_the_copy_does_not_wait_for_the_fetch(wire: Wire) -> None:
    wire.answer_with(lambda: keys("a"), lambda: keys("b"))
    wire.keys(NOW)
    later = NOW + FRESH_SECONDS
    served: list[str] = []

    def meanwhile() -> Any:
        wire.meanwhile = lambda: None
        if wire.shell == "threads":
            served.append(kid(wire.client.keys(JWKS, False, later)))
            return None

        async def ask() -> None:
            served.append(kid(await wire.client.keys_async(JWKS, False, later)))

        async def another() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)

        return another()

    wire.meanwhile = meanwhile  # from within the fetch: it would wait for itself
    assert kid(wire.keys(later)) == "b"
    assert served == ["a"]
    assert len(wire.asked) == 2


def test_with_the_provider_away_the_copy_serves_up_to_a_day(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    wire.answer_with(lambda: keys("a"), refused)
    wire.keys(NOW)
    assert kid(wire.keys(NOW + FRESH_SECONDS)) == "a"
    assert len(wire.asked) == 2
    assert f"an older copy of {JWKS} serves on" in caplog.messages[-1]
    assert kid(wire.keys(NOW + USABLE_SECONDS - 0.001)) == "a"
    assert len(wire.asked) == 3
    with pytest.raises(ProviderUnavailable):
        wire.keys(NOW + USABLE_SECONDS + PAUSE_SECONDS)
    assert USABLE_SECONDS == 86_400


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: httpx.Response(404), "discovery_invalid: the provider answered 404"),
        (
            lambda: metadata("https://other.example.com"),
            "issuer_mismatch: the provider's metadata names another issuer",
        ),
    ],
)
def test_a_document_that_can_not_be_used_is_named_in_the_log(
    wire: Wire, answer: Callable[[], Response], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire.answer_with(answer)
    for _ in range(2):
        with pytest.raises(KMSIError):
            wire.provider(NOW)
    (text,) = [record.getMessage() for record in caplog.records if record.name == "kmsi_middleware"]
    assert text.startswith(said)
    assert text.endswith(f"({ISSUER}/.well-known/openid-configuration)")


def test_a_document_that_did_not_come_is_named_once(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    wire.answer_with(refused)
    with pytest.raises(ProviderUnavailable):
        wire.provider(NOW)
    (text,) = [record.getMessage() for record in caplog.records if record.name == "kmsi_middleware"]
    assert text.startswith(f"GET {ISSUER}/.well-known/openid-configuration failed")


def test_who_asked_at_the_end_of_a_failure_is_not_told_to_wait_a_minute(wire: Wire) -> None:
    wire.answer_with(lambda: keys("a"), refused, lambda: keys("b"))
    wire.keys(NOW)
    wire.keys(NOW + FRESH_SECONDS)
    assert kid(wire.keys(NOW + FRESH_SECONDS + PAUSE_SECONDS - 0.001)) == "a", "while paused, the copy"
    assert len(wire.asked) == 2
    assert kid(wire.keys(NOW + FRESH_SECONDS + PAUSE_SECONDS)) == "b"


def test_an_unusable_answer_counts_as_a_failure(wire: Wire) -> None:
    wire.answer_with(lambda: keys("a"), lambda: httpx.Response(200, text="<html>"), lambda: keys("b"))
    wire.keys(NOW)
    assert kid(wire.keys(NOW + FRESH_SECONDS)) == "a"
    assert kid(wire.keys(NOW + FRESH_SECONDS + PAUSE_SECONDS)) == "b"


def test_metadata_of_another_issuer_is_refused_and_not_kept(wire: Wire) -> None:
    wire.answer_with(lambda: metadata("https://evil.example.com"), metadata)
    with pytest.raises(ProtocolError):
        wire.provider(NOW)
    assert wire.provider(NOW + PAUSE_SECONDS).issuer == ISSUER


# Failures ----------------------------------------------------------------------------------------------------


def test_a_hanging_provider_holds_up_one_caller_and_not_one_after_the_other(wire: Wire) -> None:
    wire.answer_with(lambda: httpx.ReadTimeout("too slow"))
    wire.crowd, wire.hangs = IN_LINE, 10.0
    # They come within the ten seconds for which the first one hangs.
    found = wire.together(*[("provider", ISSUER, NOW + 1.5 * number) for number in range(CROWD)])
    assert [type(answer) for answer in found] == [ProviderUnavailable] * CROWD
    assert len(wire.asked) == 1


def test_a_failure_is_remembered_for_some_seconds_from_its_end_and_then_it_is_tried_again(wire: Wire) -> None:
    wire.answer_with(lambda: httpx.ReadTimeout("too slow"), metadata)
    wire.hangs = 10.0
    with pytest.raises(ProviderUnavailable):
        wire.provider(NOW)
    for at in (10.0, 10.0 + PAUSE_SECONDS - 0.001):
        with pytest.raises(ProviderUnavailable):
            wire.provider(NOW + at)
    assert len(wire.asked) == 1
    assert wire.provider(NOW + 10.0 + PAUSE_SECONDS).issuer == ISSUER
    assert len(wire.asked) == 2


def test_a_success_ends_the_memory_of_a_failure(wire: Wire) -> None:
    wire.answer_with(refused, lambda: keys("a"), refused)
    with pytest.raises(ProviderUnavailable):
        wire.keys(NOW)
    assert kid(wire.keys(NOW + PAUSE_SECONDS)) == "a"
    (document,) = wire.client._documents.values()
    assert document.error is None
    assert kid(wire.keys(NOW + PAUSE_SECONDS, unknown_kid=True)) == "a", "a failing refetch serves the copy"
    assert kid(wire.keys(NOW + PAUSE_SECONDS)) == "a"


def test_a_remembered_failure_does_not_grow_with_every_caller(wire: Wire) -> None:
    wire.answer_with(refused)

    def depth() -> int:
        with pytest.raises(ProviderUnavailable) as caught:
            wire.provider(NOW)
        frames, at = 0, caught.value.__traceback__
        while at is not None:
            frames, at = frames + 1, at.tb_next
        return frames

    depth()
    second = depth()
    for _ in range(20):
        last = depth()
    assert last == second
    assert len(wire.asked) == 1


def test_one_failing_document_does_not_pause_another(wire: Wire) -> None:
    wire.answer_with(refused, lambda: keys("a"))
    with pytest.raises(ProviderUnavailable):
        wire.provider(NOW)
    assert kid(wire.keys(NOW)) == "a"


def test_a_cancelled_fetch_stands_in_nobodys_way() -> None:
    wire = Wire("asyncio", [lambda: keys("b")])

    async def run() -> str:
        with anyio.CancelScope() as scope:
            wire.meanwhile = lambda: _cancelled(scope)
            await wire.client.keys_async(JWKS, False, NOW)
        assert scope.cancelled_caught
        wire.meanwhile = lambda: None
        return kid(await wire.client.keys_async(JWKS, False, NOW))

    assert anyio.run(run) == "b"


async def _cancelled(scope: anyio.CancelScope) -> None:
    scope.cancel()
    await anyio.sleep_forever()


# Unknown keys ------------------------------------------------------------------------------------------------


def test_an_unknown_key_is_looked_for_at_once_but_at_most_once_a_minute(wire: Wire) -> None:
    wire.answer_with(*[lambda name=name: keys(name) for name in "abc"])
    wire.keys(NOW)
    assert kid(wire.keys(NOW + 2, unknown_kid=True)) == "b", "although the set is seconds old"
    assert kid(wire.keys(NOW + 2 + REFETCH_SECONDS - 0.001, unknown_kid=True)) == "b"
    assert len(wire.asked) == 2
    assert kid(wire.keys(NOW + 2 + REFETCH_SECONDS, unknown_kid=True)) == "c"
    assert len(wire.asked) == 3


def test_all_who_miss_the_new_key_at_the_same_time_get_it_by_one_fetch(wire: Wire) -> None:
    wire.answer_with(lambda: keys("a"), lambda: keys("b"), lambda: keys("too many"))
    wire.keys(NOW)
    wire.crowd = IN_LINE
    found = wire.together(*[("keys", JWKS, True, NOW + 1)] * CROWD)
    assert list(map(kid, found)) == ["b"] * CROWD
    assert len(wire.asked) == 2


def test_who_misses_a_key_while_others_fetch_it_waits_for_them(wire: Wire) -> None:
    """One looks for the key already; whoever comes then must not be told the old set, and be refused."""
    wire.answer_with(lambda: keys("a"), lambda: keys("b"))
    wire.keys(NOW)
    found: list[str] = []
    late: list[threading.Thread] = []

    def ask() -> None:
        found.append(kid(wire.client.keys(JWKS, True, NOW + 2)))

    async def ask_async() -> None:
        found.append(kid(await wire.client.keys_async(JWKS, True, NOW + 2)))

    if wire.shell == "threads":

        def meanwhile() -> None:
            CountedLock.callers = 0
            late.append(threading.Thread(target=ask))
            late[0].start()
            with CountedLock.asked:
                CountedLock.asked.wait_for(lambda: CountedLock.callers == 2 or not late[0].is_alive(), PATIENCE)

        wire.meanwhile = meanwhile
        assert kid(wire.keys(NOW + 1, unknown_kid=True)) == "b"
        late[0].join(PATIENCE)
    else:

        async def run() -> None:
            async with anyio.create_task_group() as tasks:

                async def start() -> None:
                    tasks.start_soon(ask_async)
                    await anyio.wait_all_tasks_blocked()

                wire.meanwhile = start
                assert kid(await wire.client.keys_async(JWKS, True, NOW + 1)) == "b"

        anyio.run(run, backend=wire.shell)
    assert found == ["b"]
    assert len(wire.asked) == 2


def test_a_failing_provider_is_not_asked_for_every_unknown_key(wire: Wire) -> None:
    wire.answer_with(lambda: keys("a"), refused)
    wire.keys(NOW)
    for second in range(REFETCH_SECONDS):
        assert kid(wire.keys(NOW + 1 + second, unknown_kid=True)) == "a"
    assert len(wire.asked) == 2


# What is asked and answered ----------------------------------------------------------------------------------


def test_what_is_asked(wire: Wire) -> None:
    wire.answer_with(lambda: httpx.Response(201, headers={"x-made": "yes"}, content=b"made"))
    request = HttpRequest("POST", f"{ISSUER}/token", {"authorization": "Basic abc"}, {"code": "a&b=c"})
    answer = wire.fetch(request)
    assert (answer.status, answer.headers["x-made"], answer.body) == (201, "yes", b"made")
    (asked,) = wire.asked
    assert asked.method == "POST"
    assert str(asked.url) == f"{ISSUER}/token"
    assert asked.headers["authorization"] == "Basic abc"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.content == b"code=a%26b%3Dc"
    assert "cookie" not in asked.headers


def test_every_request_has_a_client_of_its_own(wire: Wire) -> None:
    wire.answer_with(lambda: httpx.Response(200, headers={"set-cookie": "seen=1; Path=/"}))
    for _ in range(2):
        wire.fetch(HttpRequest("GET", ISSUER))
    assert "cookie" not in wire.asked[1].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(wire: Wire, status: int) -> None:
    wire.answer_with(lambda: httpx.Response(status, headers={"location": "https://elsewhere.example.com/"}))
    assert wire.fetch(HttpRequest("POST", f"{ISSUER}/token", {}, {"code": SECRET})).status == status
    assert len(wire.asked) == 1
    with pytest.raises(KMSIError):
        wire.provider()
    assert len(wire.asked) == 2


# Whoever stops reading leaves httpx's own generators to the garbage collector, of which trio tells.
LEFT_TO_TRIO = pytest.mark.filterwarnings("ignore:.*aiter_:pytest.PytestUnraisableExceptionWarning")


class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """An answer in pieces. ``read``: how many were taken."""

    def __init__(self, piece: bytes, count: int, before: Callable[[], None] = lambda: None) -> None:
        self.piece, self.count, self.before, self.read = piece, count, before, 0

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self.count):
            self.read += 1
            self.before()
            yield self.piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.__iter__():
            yield piece


@LEFT_TO_TRIO
def test_an_answer_of_a_megabyte_is_read_and_one_byte_more_is_not(wire: Wire) -> None:
    wire.answer_with(
        lambda: httpx.Response(200, content=b"x" * LARGEST_ANSWER),
        lambda: httpx.Response(200, content=b"x" * (LARGEST_ANSWER + 1)),
    )
    assert len(wire.fetch(HttpRequest("GET", ISSUER)).body) == LARGEST_ANSWER == 1_048_576
    with pytest.raises(ProviderUnavailable):
        wire.fetch(HttpRequest("GET", ISSUER))


@LEFT_TO_TRIO
def test_an_endless_answer_is_not_read_to_its_end(wire: Wire) -> None:
    stream = Stream(b"x" * 65_536, 1_000)
    wire.answer_with(lambda: httpx.Response(200, stream=stream))
    with pytest.raises(ProviderUnavailable):
        wire.fetch(HttpRequest("GET", ISSUER))
    assert stream.read == 17


@LEFT_TO_TRIO
def test_what_counts_is_the_size_after_unpacking(wire: Wire) -> None:
    bomb = gzip.compress(bytes(20 * LARGEST_ANSWER))
    assert len(bomb) < LARGEST_ANSWER / 10
    wire.answer_with(lambda: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Stream(bomb, 1)))
    with pytest.raises(ProviderUnavailable):
        wire.fetch(HttpRequest("GET", ISSUER))


def test_a_packed_answer_is_unpacked(wire: Wire) -> None:
    packed = gzip.compress(json.dumps({"keys": [{"kid": "a"}]}).encode())
    wire.answer_with(lambda: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Stream(packed, 1)))
    assert kid(wire.keys()) == "a"


def test_an_answer_that_trickles_in_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire("threads")
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: wire.elapsed))

    def pass_() -> None:
        wire.elapsed += 1.0

    stream = Stream(b"x", 1_000, pass_)
    wire.answer_with(lambda: httpx.Response(200, stream=stream))
    with pytest.raises(ProviderUnavailable):
        wire.fetch(HttpRequest("GET", ISSUER))
    assert stream.read == PATIENCE + 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_answer_that_never_comes_is_given_up(backend: str) -> None:
    async def hang(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    client = ProviderClient(timeout=0, async_transport=lambda: httpx.MockTransport(hang))  # the shortest patience

    async def run() -> None:
        with anyio.fail_after(PATIENCE), pytest.raises(ProviderUnavailable):
            await client.fetch_async(HttpRequest("GET", ISSUER), NOW)

    anyio.run(run, backend=backend)


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("not HTTP"),
        httpx.UnsupportedProtocol("not http"),
        httpx.DecodingError("not gzip"),
        httpx.InvalidURL("not a URL"),
        TimeoutError(),
        ConnectionResetError("reset"),
        OSError("no route"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_goes_wrong_the_provider_is_not_available(
    wire: Wire, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    wire.answer_with(lambda: error)
    url = f"https://me:{SECRET}@login.example.com/token?code={SECRET}"
    request = HttpRequest("POST", url, {"authorization": f"Basic {SECRET}"}, {"code": SECRET, "client_secret": SECRET})
    with caplog.at_level(logging.DEBUG, "kmsi_middleware"), pytest.raises(ProviderUnavailable) as caught:
        wire.fetch(request)
    shown = "https://(not shown)@login.example.com/token"
    assert str(caught.value) == f"provider_unavailable: POST {shown} failed: {type(error).__name__}"
    ours = [record.getMessage() for record in caplog.records if record.name == "kmsi_middleware"]
    assert ours == [f"POST {shown} failed: {type(error).__name__} {error}"]
    assert SECRET not in str(caught.value) + repr(caught.value.args) + "".join(ours)


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example.com:99999/keys?code=canary-secret",
        "https://login.example.com/\x00?code=canary-secret",
        "https://login.exa mple.com/keys?code=canary-secret",
        "https://[::1/keys?code=canary-secret",
        "https://xn--/keys?code=canary-secret",
        "https:///keys?code=canary-secret",
        "keys?code=canary-secret",
        "",
    ],
)
def test_an_invalid_url_is_a_provider_that_is_not_available(shell_client: Wire, url: str) -> None:
    with pytest.raises(ProviderUnavailable) as caught:
        shell_client.fetch(HttpRequest("GET", url))
    assert SECRET not in str(caught.value)
    assert shell_client.asked == []


@pytest.fixture(params=SHELLS)
def shell_client(request: pytest.FixtureRequest) -> Wire:
    """Without a mock transport: what is asked here never gets as far as the network."""
    made = Wire(request.param)
    made.client = ProviderClient(timeout=1)
    return made


def test_the_query_of_a_key_sets_address_is_in_no_log(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    wire.answer_with(lambda: keys("a"), refused)
    uri = f"{JWKS}?p={SECRET}"
    wire.keys(NOW, uri=uri)
    wire.keys(NOW + FRESH_SECONDS, uri=uri)
    ours = [record.getMessage() for record in caplog.records if record.name == "kmsi_middleware"]
    assert len(ours) == 2
    assert SECRET not in "".join(ours)
    assert str(wire.asked[1].url) == uri


# Whoever can do without it --------------------------------------------------------------------------------------

ANYTHING = HttpRequest("GET", ISSUER)


def fails(wire: Wire, now: float = NOW) -> None:
    with suppress(ProviderUnavailable):
        wire.fetch(ANYTHING, now)


def test_a_provider_that_answers_may_be_asked(wire: Wire) -> None:
    wire.answer_with(lambda: httpx.Response(200))
    assert wire.client.may_ask(NOW)
    wire.fetch(ANYTHING)
    assert all(wire.client.may_ask(NOW) for _ in range(3))


@pytest.mark.parametrize("failure", [refused, *(lambda s=s: httpx.Response(s) for s in (429, 500, 503))])
def test_one_that_failed_is_left_alone_for_some_seconds(wire: Wire, failure: Callable[[], Response]) -> None:
    wire.answer_with(failure)
    fails(wire)
    assert not wire.client.may_ask(NOW)
    assert not wire.client.may_ask(NOW + TROUBLE_SECONDS - 1)
    assert wire.client.may_ask(NOW + TROUBLE_SECONDS)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404])
def test_a_refusal_is_an_answer(wire: Wire, status: int) -> None:
    wire.answer_with(lambda: httpx.Response(status))
    fails(wire)
    assert wire.client.may_ask(NOW)


def test_then_one_caller_finds_out_for_all(wire: Wire) -> None:
    wire.answer_with(refused, lambda: httpx.Response(200))
    fails(wire)
    later = NOW + TROUBLE_SECONDS
    assert [wire.client.may_ask(later) for _ in range(3)] == [True, False, False]
    wire.fetch(ANYTHING, later)
    assert all(wire.client.may_ask(later) for _ in range(3))


def test_and_if_that_one_is_killed_the_next_does(wire: Wire) -> None:
    wire.answer_with(refused)
    fails(wire)
    later = NOW + TROUBLE_SECONDS
    assert wire.client.may_ask(later)
    assert not wire.client.may_ask(later + PATIENCE + TROUBLE_SECONDS - 1)
    assert wire.client.may_ask(later + PATIENCE + TROUBLE_SECONDS)


def test_the_pause_begins_when_the_provider_has_failed_and_not_when_it_was_asked(wire: Wire) -> None:
    wire.answer_with(refused)
    wire.hangs = 7.0
    fails(wire)
    assert not wire.client.may_ask(NOW + 7 + TROUBLE_SECONDS - 1)
    assert wire.client.may_ask(NOW + 7 + TROUBLE_SECONDS)


def test_a_clock_that_was_set_back_makes_no_pause_endless(wire: Wire) -> None:
    wire.answer_with(refused)
    fails(wire)
    assert wire.client.may_ask(NOW - 86_400)


def test_documents_that_can_not_be_fetched_tell_of_trouble_too(wire: Wire) -> None:
    wire.answer_with(refused)
    with pytest.raises(ProviderUnavailable):
        wire.provider()
    assert not wire.client.may_ask(NOW)


@LEFT_TO_TRIO
def test_an_answer_that_is_not_waited_for_is_given_up_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire("threads")
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: wire.elapsed))

    def pass_() -> None:
        wire.elapsed += 1.0

    stream = Stream(b"x", 1_000, pass_)
    wire.answer_with(lambda: httpx.Response(200, stream=stream))
    with pytest.raises(ProviderUnavailable):
        wire.fetch(ANYTHING, NOW, 2.0)
    assert stream.read == 3


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_nor_is_one_that_never_comes(backend: str) -> None:
    async def hang(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    client = ProviderClient(timeout=3_600, async_transport=lambda: httpx.MockTransport(hang))

    async def run() -> None:
        with anyio.fail_after(PATIENCE), pytest.raises(ProviderUnavailable):
            await client.fetch_async(ANYTHING, NOW, 0)

    anyio.run(run, backend=backend)


def test_what_needs_no_answer_is_sent_all_the_same_when_one_of_it_fails(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    wire.answer_with(refused, lambda: httpx.Response(503), lambda: httpx.Response(200))
    wire.tell(f"{ISSUER}/one?x={SECRET}", f"{ISSUER}/two?x={SECRET}", f"{ISSUER}/three")
    assert [request.url.path.rpartition("/")[2] for request in wire.asked] == ["one", "two", "three"]
    assert {request.content for request in wire.asked} == {f"token={SECRET}".encode()}
    ours = [record.getMessage() for record in caplog.records if record.name == "kmsi_middleware"]
    assert len(ours) == 2
    assert "503" in ours[1]
    assert SECRET not in "".join(ours)


def test_it_is_sent_for_no_longer_than_it_may_take_altogether(wire: Wire) -> None:
    wire.answer_with(lambda: httpx.Response(200))
    wire.hangs = 1.5
    wire.tell(*(f"{ISSUER}/{number}" for number in range(9)), within=2.0)
    assert len(wire.asked) == 2


# How much ----------------------------------------------------------------------------------------------------


def test_what_is_remembered_is_bounded_and_the_newest_stay(wire: Wire) -> None:
    wire.answer_with(lambda: keys("a"))
    for number in range(MOST_DOCUMENTS + 5):
        wire.keys(NOW, uri=f"{JWKS}/{number}")
    assert len(wire.client._documents) == MOST_DOCUMENTS
    asked = len(wire.asked)
    wire.keys(NOW, uri=f"{JWKS}/{MOST_DOCUMENTS + 4}")
    assert len(wire.asked) == asked, "this one is kept"
    wire.keys(NOW, uri=f"{JWKS}/0")
    assert len(wire.asked) == asked + 1, "this one is not"


def test_each_issuer_and_key_set_is_remembered_for_itself(wire: Wire) -> None:
    other = "https://other.example.com"
    wire.answer_with(metadata, lambda: metadata(other), lambda: keys("a"))
    assert wire.provider().issuer == ISSUER
    assert wire.provider(issuer=other).issuer == other
    assert wire.provider().issuer == ISSUER
    assert kid(wire.keys(uri=ISSUER)) == "a", "a key set at the issuer's own address is not its metadata"
    assert len(wire.asked) == 3


def test_a_forked_child_remembers_nothing_and_waits_for_nobody(wire: Wire) -> None:
    wire.answer_with(lambda: keys("a"), lambda: keys("b"))
    wire.keys(NOW)
    for document in wire.client._documents.values():
        document.lock.acquire()  # a thread of the parent held it
    wire.client._lock.acquire()
    wire.client.renew()
    assert kid(wire.keys(NOW)) == "b"
