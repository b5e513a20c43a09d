"""The middleware under real servers, over real HTTP: in full under uvicorn and gunicorn, a smoke test elsewhere."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from examples.demo_servers import Trouble
from examples.fake_browser import Browser, Loopback
from server_programs import Site, running, server
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

pytestmark = pytest.mark.servers

IN_FULL = ("uvicorn", "gunicorn-uvicorn-2", "gunicorn-asgi-2", "gunicorn-sync-2", "gunicorn-threads-2")
WITH_SEVERAL_PROCESSES = [name for name in IN_FULL if name.endswith("-2")]
SMOKE = (
    "uvicorn-2",
    "gunicorn-sync-2-preload",
    "gunicorn-asgi-2-preload",
    "hypercorn",
    "granian-asgi",
    "granian-wsgi",
    "waitress",
)
MONTH = 30 * 86_400
MOST_REQUESTS = 400


@pytest.fixture(scope="module", params=IN_FULL)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as served:
        yield served


def session_cookies(response: httpx.Response) -> list[str]:
    return [line for line in response.headers.get_list("set-cookie") if ".t." not in line and ".p." not in line]


def processes_that_answer(site: Site, browser: Browser, number: int) -> set[int]:
    """Asks until so many of the server's processes have seen this session."""
    seen: set[int] = set()
    for _ in range(MOST_REQUESTS):
        seen.add(site.fetch(browser, "/").json()["process"])
        if len(seen) >= number:
            return seen
    raise AssertionError(f"only {len(seen)} of {number} processes answered")


def test_yes_leads_back_to_the_page_that_was_asked_for_with_a_persistent_cookie(site: Site) -> None:
    with site.browser() as browser:
        question = browser.submit(browser.visit(f"{site.url}/page?of=the+day"), pick="mia")
        assert "Stay signed in?" in question.text
        page = browser.submit(question, answer="yes")
        assert str(page.url) == f"{site.url}/page?of=the+day"
        assert page.json()["user"] == "Mia Member"
        assert page.json()["query"] == "of=the+day"
        assert page.json()["persistent"] is True
        (cookie,) = [cookie for cookie in browser.http.cookies.jar if cookie.name == f"kmsi-{site.server.port}"]
        assert cookie.expires is not None
        left = site.fetch(browser, "/.auth/me").json()["session"]["expires_in"]
        assert MONTH - 60 <= left <= MONTH


def test_no_makes_a_session_that_is_not_kept(site: Site) -> None:
    with site.signed_in(answer="no") as browser:
        assert site.fetch(browser, "/").json()["persistent"] is False
        (cookie,) = [cookie for cookie in browser.http.cookies.jar if cookie.name == f"kmsi-{site.server.port}"]
        assert cookie.expires is None


def test_app_data_is_kept_and_a_request_that_passes_sets_no_cookie(site: Site) -> None:
    with site.signed_in() as browser:
        for number in range(1, 9):
            answer = site.fetch(browser, "/count", "POST")
            assert answer.json()["count"] == number
            assert "set-cookie" not in answer.headers
        answer = site.fetch(browser, "/")
        assert answer.json()["count"] == 8
        assert answer.headers["vary"].lower() == "cookie"
        assert answer.headers["cache-control"] == "private"
        assert "set-cookie" not in answer.headers


def test_a_script_without_a_session_gets_a_problem_and_a_public_path_passes(site: Site) -> None:
    with site.browser() as browser:
        answer = site.fetch(browser, "/")
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "no_session"
        assert browser.visit(f"{site.url}/public").text == "for everybody"
        head = browser.http.head(f"{site.url}/")
        assert head.status_code == 401
        assert head.content == b""


def test_signing_out_ends_the_session_and_reaches_the_provider(site: Site) -> None:
    with site.signed_in() as browser:
        kept = dict(browser.http.cookies)
        frames = site.sign_out(browser)
        assert [frame.split("?")[0] for frame in frames] == [f"{site.url}/.auth/frontchannel-logout"]
        assert f"kmsi-{site.server.port}" not in browser.http.cookies
        assert "<h1>Sign in</h1>" in browser.visit(f"{site.url}/").text
    with site.browser() as thief:
        thief.http.cookies.update(kept)
        answer = site.fetch(thief, "/")
        assert (answer.status_code, answer.json()["code"]) == (401, "signed_out")


def test_a_front_channel_logout_without_a_cookie_holds_in_every_process_at_once(site: Site) -> None:
    several = site.server.name in WITH_SEVERAL_PROCESSES
    with site.signed_in() as browser:
        processes_that_answer(site, browser, 2 if several else 1)  # each holds the session in memory now
        claims = site.fetch(browser, "/.auth/me").json()["user"]["claims"]
        with site.signed_in() as bystander:
            frame = httpx.URL(
                f"{site.url}/.auth/frontchannel-logout", params={"iss": claims["iss"], "sid": claims["sid"]}
            )
            answer = browser.frame(str(frame))
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "no-store"
            for _ in range(20):
                refused = site.fetch(browser, "/")
                assert (refused.status_code, refused.json()["reason"]) == (401, "front_channel")
            assert site.fetch(bystander, "/").status_code == 200


def test_under_load_no_request_that_starts_after_a_logout_passes(site: Site) -> None:
    """Readers and writers of one session, in all processes, while its front-channel logout comes in."""
    with site.signed_in() as browser, site.browser() as other:
        claims = site.fetch(browser, "/.auth/me").json()["user"]["claims"]
        other.http.cookies.update(browser.http.cookies)
        over, warm = threading.Event(), threading.Semaphore(0)
        answers: list[tuple[float, int]] = []

        def work(path: str, method: str) -> None:
            after = 0
            while after < 10:
                after += over.is_set()
                started = time.monotonic()
                answers.append((started, site.fetch(other, path, method).status_code))
                warm.release()

        with ThreadPoolExecutor(4) as pool:
            working = [pool.submit(work, *what) for what in (("/", "GET"), ("/count", "POST")) * 2]
            for _ in range(60):
                assert warm.acquire(timeout=20)
            parameters = {"iss": claims["iss"], "sid": claims["sid"]}
            browser.frame(str(httpx.URL(f"{site.url}/.auth/frontchannel-logout", params=parameters)))
            ended = time.monotonic()
            over.set()
            for one in working:
                one.result(timeout=60)
        # 503 is a busy store's answer, and no pass.
        assert {status for started, status in answers if started < ended} <= {200, 401, 503}
        assert 401 in {status for started, status in answers if started >= ended} <= {401, 503}


def test_ten_tabs_sign_in_at_the_same_time_and_the_last_answer_holds(site: Site) -> None:
    with site.browser() as browser:
        tabs = [browser.visit(f"{site.url}/page?tab={number}") for number in range(10)]
        questions = [browser.submit(tab, pick="mia") for tab in tabs]
        for number, question in enumerate(questions):
            page = browser.submit(question, answer="yes" if number % 2 else "no")
            assert page.json()["query"] == f"tab={number}"
            assert page.json()["persistent"] is bool(number % 2)
        names = {cookie.name for cookie in browser.http.cookies.jar if "idp" not in cookie.name}
        assert names == {f"kmsi-{site.server.port}"}


def test_a_restart_signs_nobody_out(site: Site) -> None:
    with site.signed_in() as kept, site.signed_in(answer="no") as not_kept, site.browser() as halfway:
        site.fetch(kept, "/count", "POST")
        question = halfway.submit(halfway.visit(f"{site.url}/page"), pick="mia")
        before = site.fetch(kept, "/").json()["process"]
        site.restart()
        after = site.fetch(kept, "/").json()
        assert after["process"] != before
        assert (after["count"], after["persistent"]) == (1, True)
        assert site.fetch(not_kept, "/").json()["persistent"] is False
        assert halfway.submit(question, answer="yes").json()["user"] == "Mia Member"


# WebSockets -----------------------------------------------------------------------------------------------


def handshake(site: Site, browser: Browser, origin: str) -> dict[str, object]:
    url = site.url.replace("http", "ws", 1) + "/talk"
    cookie = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.http.cookies.jar)
    headers = {"Cookie": cookie} if cookie else {}
    with connect(url, additional_headers=headers, origin=origin, proxy=None, open_timeout=10) as socket:  # type: ignore[arg-type]
        told: dict[str, object] = json.loads(socket.recv(timeout=10))
        return told


@pytest.fixture(params=["uvicorn", "gunicorn-uvicorn-2", "gunicorn-asgi-2"], scope="module")
def talking(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(request.param, tmp_path_factory.mktemp(f"{request.param}-talking")) as served:
        yield served


def test_a_websocket_with_a_session_sees_what_http_sees(talking: Site) -> None:
    with talking.signed_in() as browser:
        talking.fetch(browser, "/count", "POST")
        assert handshake(talking, browser, talking.url) == {"user": "Mia Member", "count": 1}


def test_a_websocket_without_a_session_is_refused(talking: Site) -> None:
    with talking.browser() as browser, pytest.raises(InvalidStatus) as refused:
        handshake(talking, browser, talking.url)
    # gunicorn's own worker knows no denial response: the handshake is closed before it is accepted, which is a 403.
    assert refused.value.response.status_code == (403 if talking.server.name == "gunicorn-asgi-2" else 401)


def test_a_websocket_of_a_foreign_page_is_refused_even_with_a_session(talking: Site) -> None:
    with talking.signed_in() as browser, pytest.raises(InvalidStatus) as refused:
        handshake(talking, browser, "https://elsewhere.example")
    assert refused.value.response.status_code == 403


# Mounted --------------------------------------------------------------------------------------------------


class Stripping(Loopback):
    """A proxy that serves the app at /sub and strips that, as ``--root-path`` is made for."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path.startswith("/sub/"), f"{request.url} is outside the app"
        url = request.url.copy_with(raw_path=request.url.raw_path.removeprefix(b"/sub"))
        at = httpx.Request(request.method, url, headers=request.headers, stream=request.stream)
        at.extensions = request.extensions
        return super().handle_request(at)


@pytest.mark.parametrize("program", ["uvicorn", "gunicorn-asgi-2", "gunicorn-sync-2"])
def test_an_app_below_a_root_path_signs_in_and_out_within_it(program: str, tmp_path: Path) -> None:
    if program == "gunicorn-sync-2":  # it wants the whole path; the others, what a proxy leaves of it
        starting = running(program, tmp_path, root="/sub", SCRIPT_NAME="/sub")
        browser = Browser()
    else:
        starting = running(program, tmp_path, ("--root-path", "/sub"))
        browser = Browser(transport=Stripping)
    with starting as site, browser:
        page = browser.sign_in(f"{site.url}/sub/page?a=1")
        assert str(page.url) == f"{site.url}/sub/page?a=1"
        assert page.json()["user"] == "Mia Member"
        assert browser.http.get(f"{site.url}/sub/.auth/me").json()["user"]["issuer"] == f"{site.url}/sub/.auth/idp"
        out = browser.visit(f"{site.url}/sub/.auth/logout", method="POST", came_from=f"{site.url}/sub/")
        assert str(out.url).startswith(f"{site.url}/sub/.auth/idp/end-session")
        assert browser.http.get(f"{site.url}/sub/.auth/me").json()["code"] == "no_session"


# Everywhere else ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", SMOKE)
def test_the_main_job_works_under(program: str, tmp_path: Path) -> None:
    with running(program, tmp_path) as site, site.signed_in() as browser:
        site.fetch(browser, "/count", "POST")
        answer = site.fetch(browser, "/")
        assert answer.json()["count"] == 1
        assert answer.json()["persistent"] is True
        (frame,) = site.sign_out(browser)
        assert browser.frame(frame).status_code == 200
        assert site.fetch(browser, "/").json()["code"] == "no_session"  # its cookie is gone
        assert "<h1>Sign in</h1>" in browser.visit(f"{site.url}/").text


@pytest.mark.parametrize("program", ["uvicorn", "gunicorn-asgi-2", "gunicorn-sync-2"])
def test_a_setting_that_cannot_work_stops_the_start_up_and_is_named(program: str, tmp_path: Path) -> None:

    wrong = server(program, tmp_path, KMSI_SESSION_LIFETIME="5")
    try:
        wrong.start()
        with pytest.raises(Trouble, match="stopped"):
            wrong.wait_until_ready()
    finally:
        wrong.stop()
    assert "session_lifetime" in wrong.log.read_text()
