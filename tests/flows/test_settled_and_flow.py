"""What binds the fast path to the flow: where ``peek`` answers, the flow forwards the same session and asks for
nothing but the load; and no write of a session leaves anything stale at hand."""

from __future__ import annotations

import itertools
from dataclasses import replace
from urllib.parse import urlencode

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.flows.flow_support import (
    ALICE,
    COOKIE,
    DAY,
    FRAME,
    HOUR,
    ISSUER,
    NAVIGATION,
    PREFETCH,
    SCRIPT,
    Browser,
    World,
    location,
)

from kmsi_middleware.edges.settled import Settled, SettledSessions
from kmsi_middleware.edges.stores import MemoryStore
from kmsi_middleware.flows import sessions
from kmsi_middleware.rules.seals import key_of
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.effects import slot_of
from kmsi_middleware.vocabulary.messages import Forward, Outcome, Request
from kmsi_middleware.vocabulary.session import Session

NEEDLE = f"{COOKIE}=".encode()

which = st.integers(0, 2)
kinds = st.sampled_from([NAVIGATION, SCRIPT, PREFETCH])
seconds = st.sampled_from([0.5, 1, 90, 899, 900, HOUR - 1, HOUR, 8_640, DAY - 1, DAY, 3 * DAY])


class Process:
    """One process with what it has at hand, as the shells use it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.settled = SettledSessions(world.store, lambda: world.now, "sub", NEEDLE)

    def peek(self, request: Request) -> Settled | None:
        cookies, sessions = request.header("cookie").encode(), self.settled
        settled = sessions.peek(cookies, NEEDLE)
        if settled is None and sessions.asks and (at_hand := sessions.at_hand(cookies, NEEDLE)) is not None:
            settled = sessions.ask(at_hand)
        return settled

    def run(self, request: Request) -> tuple[int | None, Outcome]:
        """The flow, with the counter read before it."""
        parts = [part.partition("=") for part in request.header("cookie").split("; ")]
        tokens = [value for name, _, value in parts if name == COOKIE]
        stamp = self.settled.note(key_of(tokens[-1])) if tokens else None
        return stamp, self.world.answer(request)

    def settle(self, stamp: int | None, outcome: Outcome) -> None:
        if isinstance(outcome, Forward) and outcome.session is not None:
            self.settled.settle(outcome.session, outcome.until, stamp)


class Telling(MemoryStore):
    """Counts nothing, but tells a session's version."""

    reads_versions = True

    def counters(self) -> None:  # type: ignore[override]
        return None


class SettledAndFlow(RuleBasedStateMachine):
    @initialize(
        expiry=st.sampled_from(["rolling", "absolute"]),
        answer=st.sampled_from(["yes", "no"]),
        every=st.sampled_from([0, 900]),
        scope=st.sampled_from(["openid", "openid offline_access"]),
        tells=st.sampled_from(["counts", "versions"]),
    )
    def open(self, expiry: str, answer: str, every: int, scope: str, tells: str) -> None:
        self.world = World(session_expiry=expiry, revalidate_every=every, scope=scope)
        if tells == "versions":
            self.world.store = Telling()
        self.processes = [Process(self.world), Process(self.world)]
        self.browsers = [Browser(self.world) for _ in range(3)]
        self.hits = 0
        for browser in self.browsers:
            browser.sign_in(answer=answer)

    def check(self, process: Process, request: Request) -> bool:
        """The property itself. Answer: whether the fast path answered."""
        hit = process.peek(request)
        if hit is None:
            return False
        outcome = self.world.answer(request)
        assert isinstance(outcome, Forward)
        assert outcome.session == hit.session
        assert outcome.set_cookies == ()
        assert self.world.now < outcome.until
        assert [type(effect) for effect in self.world.asked] == [ask.LoadSession]
        return True

    @rule(browser=which, process=st.integers(0, 1), headers=kinds, method=st.sampled_from(["GET", "POST", "HEAD"]))
    def visit(self, browser: int, process: int, headers: dict[str, str], method: str) -> None:
        """As the shells do: peek, and if it does not answer, the flow."""
        here = self.processes[process]
        request = self.browsers[browser].request(method, "/page", headers)
        if self.check(here, request):
            return
        stamp, outcome = here.run(request)
        self.browsers[browser].take(outcome)
        here.settle(stamp, outcome)
        if isinstance(outcome, Forward) and outcome.until:
            assert self.check(here, request), "nothing came between, so it is at hand"

    @rule(seconds=seconds)
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(browser=which, answer=st.sampled_from(["yes", "no"]))
    def sign_in_again(self, browser: int, answer: str) -> None:
        if self.world.idp.is_away:
            return
        person = self.browsers[browser]
        asking = location(person.come_back(person.begin("/.auth/login?prompt=login"), ALICE))
        person.reply_to(asking, answer)

    @rule(is_away=st.booleans())
    def lose_the_issuer(self, is_away: bool) -> None:
        self.world.idp.is_away = is_away

    @rule(browser=which)
    def sign_out(self, browser: int) -> None:
        self.browsers[browser].post("/.auth/logout")

    @rule(number=st.integers(1, 6))
    def front_channel(self, number: int) -> None:
        query = urlencode({"iss": ISSUER, "sid": f"sid-{number}"})
        self.browsers[0].get(f"/.auth/frontchannel-logout?{query}", FRAME, cookies=False)

    @rule(browser=which, value=st.integers(0, 9))
    def write_data(self, browser: int, value: int) -> None:
        session = self.browsers[browser].session
        if session is not None:
            self.world.play(sessions.save_data(session, {"n": value}, frozenset()))

    @rule(browser=which, process=st.integers(0, 1), how=st.sampled_from(["end", "save"]), when=st.sampled_from([0, 1]))
    def write_between(self, browser: int, process: int, how: str, when: int) -> None:
        """Another process writes after the load and before, or after, it is kept at hand."""
        here = self.processes[process]
        request = self.browsers[browser].request("GET", "/page", SCRIPT)
        stamp, outcome = here.run(request)
        self.browsers[browser].take(outcome)
        if not isinstance(outcome, Forward) or outcome.session is None:
            return
        if when:
            here.settle(stamp, outcome)
        self.write(outcome.session, how)
        if not when:
            here.settle(stamp, outcome)
        assert here.peek(request) is None
        assert self.processes[1 - process].peek(request) is None

    def write(self, session: Session, how: str) -> None:
        if how == "end":
            self.world.store.end(session.key, "revoked", self.world.now)
        else:
            self.world.store.save(replace(session, version=session.version + 1), self.world.now)


SettledAndFlow.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSettledAndFlow = SettledAndFlow.TestCase


def test_peek_really_answers(world: World, browser: Browser) -> None:
    """Else the property above would hold for nothing."""
    browser.sign_in()
    here = Process(world)
    request = browser.request("GET", "/", SCRIPT)
    assert here.peek(request) is None
    here.settle(*here.run(request))
    hit = here.peek(request)
    assert hit is not None
    assert hit.session == browser.session
    world.now += HOUR - 1
    assert here.peek(request) is hit
    world.now += 1
    assert here.peek(request) is None


def test_what_was_loaded_while_a_write_was_under_way_is_not_kept_at_hand(world: World, browser: Browser) -> None:
    """The slot's counter is odd then, and says nothing about what was loaded."""
    browser.sign_in()
    assert browser.session is not None
    here = Process(world)
    request = browser.request("GET", "/", SCRIPT)
    world.store._counters[slot_of(browser.session.key)] += 1
    here.settle(*here.run(request))
    assert here.peek(request) is None
    world.store._counters[slot_of(browser.session.key)] += 1
    assert here.peek(request) is None


def test_a_renewed_session_is_at_hand_from_the_next_request_on(world: World, browser: Browser) -> None:
    browser.sign_in()
    here = Process(world)
    world.now += 2 * HOUR
    request = browser.request("GET", "/", SCRIPT)
    here.settle(*here.run(request))
    assert here.peek(request) is None
    here.settle(*here.run(request))
    assert here.peek(request) is not None


PARTS = [
    ("mine",),
    ("mine", "other"),
    ("other", "mine"),
    ("stale", "mine"),
    ("mine", "stale"),
    ("mine", "x"),
    ("x", "mine"),
]
GLUE = ["; ", ";", " ;", " ", ";;", ",", "=", '"', "\t;"]
BEFORE = ["", " ", ";", "a=b; ", "a=b;", "a=b ", "x", "a=", '"', f"{COOKIE}=", "; ; "]
AFTER = ["", " ", ";", "; ", " ;", "; a=b", " a=b", "x", '"', "=", ",", "\t"]


def read_by(world: World, befores: list[str], glues: list[str], afters: list[str]) -> tuple[int, list[str]]:
    """How many Cookie headers the fast path read a session out of, and those of them where the flow did not."""
    mine, other = Browser(world), Browser(world)
    here = Process(world)
    for browser in (mine, other):
        browser.sign_in()
        here.settle(*here.run(browser.request("GET", "/", SCRIPT)))
    texts = {"mine": mine.token, "other": other.token, "stale": "s" * 43, "x": "x"}
    answered, wrong = 0, []
    for parts, glue, before, after in itertools.product(PARTS, glues, befores, afters):
        line = before + glue.join(f"{COOKIE}={texts[part]}" for part in parts) + after
        request = mine.request("GET", "/", {**SCRIPT, "cookie": line}, cookies=False)
        hit = here.peek(request)
        if hit is not None:
            answered += 1
            outcome = world.answer(request)
            if not isinstance(outcome, Forward) or outcome.session != hit.session or len(world.asked) != 1:
                wrong.append(line[:200])
    return answered, wrong


def test_the_fast_path_reads_no_session_out_of_a_cookie_header_that_the_flow_does_not(world: World) -> None:
    """However it looks; and out of the plain ones it does read it."""
    answered, wrong = read_by(world, BEFORE, GLUE, AFTER)
    assert wrong == []
    assert answered > 100


def test_an_oversized_cookie_header_is_none_for_the_fast_path_either(world: World) -> None:
    assert read_by(world, [""], ["; "], ["; a=" + "b" * 70_000])[1] == []
