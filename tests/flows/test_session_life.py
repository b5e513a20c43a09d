"""A session's life against a simple model of it: one browser, two people, a clock, and an operator who tightens
the settings and rotates the keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.flows.flow_support import (
    ALICE,
    BOB,
    COOKIE,
    DAY,
    FRAME,
    HOUR,
    ISSUER,
    NOW,
    PREFETCH,
    SCRIPT,
    Browser,
    World,
    code_of,
    location,
    page_of,
    problem_of,
)

from kmsi_middleware.rules.lifetimes import Over, judge
from kmsi_middleware.rules.seals import key_of
from kmsi_middleware.vocabulary.messages import Forward, Reply

PEOPLE = {"alice": ALICE, "bob": BOB}
LONGEST_UNTIL_NOTED = HOUR

people = st.sampled_from(sorted(PEOPLE))
prompts = st.sampled_from(["", "", "login", "select_account"])
answers = st.sampled_from(["yes", "no"])
instants = st.sampled_from(
    [
        0.25,
        1,
        59,
        599,
        600,
        899,
        900,
        901,
        HOUR - 1,
        HOUR,
        8_640,
        DAY - 1,
        DAY,
        2 * DAY,
        29 * DAY,
        30 * DAY,
    ]
)


@dataclass
class Life:
    """A session as the documentation describes it."""

    person: str
    sids: list[str]
    started: int
    renewed: int
    promised: int
    persistent: bool


@dataclass
class Question:
    at: str
    person: str
    sid: str
    asked: int
    until: float


@dataclass
class Model:
    now: float = NOW
    lifetime: int = DAY
    keep_days: int = 30
    max_age_days: int = 90
    rolling: bool = True
    life: Life | None = None
    questions: list[Question] = field(default_factory=list)
    remembered: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Answers and the days of them."""
    remembered_until: float = 0

    def length(self, persistent: bool) -> int:
        return self.keep_days * DAY if persistent and self.keep_days else self.lifetime

    def allowed(self, life: Life, renewed: int) -> int:
        anchor = renewed if self.rolling else life.started
        return min(anchor + self.length(life.persistent), life.started + self.max_age_days * DAY)

    def end(self, life: Life) -> int:
        return min(life.promised, self.allowed(life, life.renewed))

    @property
    def signed_in(self) -> bool:
        return self.life is not None and self.now < self.end(self.life)

    def visit(self) -> None:
        """Somebody is there: noted when a tenth of the lifetime, or an hour, has gone; it renews a rolling session."""
        life = self.life
        if life is None or not self.signed_in:
            return
        if life.persistent and not self.keep_days:
            life.promised, life.persistent = self.end(life), False
            return
        step = min(self.length(life.persistent) // 10, LONGEST_UNTIL_NOTED)
        now = int(self.now)
        if now >= life.renewed + step:
            life.renewed = now
            if self.rolling:
                life.promised = self.allowed(life, now)

    def start(self, person: str, sid: str, persistent: bool) -> None:
        old = self.life
        at = int(self.now)
        older = old.sids if old is not None and self.signed_in and old.person == person else []
        life = Life(person, [*older, sid][-8:], at, at, 0, persistent and self.keep_days > 0)
        life.promised = self.allowed(life, at)
        self.life = life

    def remembers(self, person: str) -> str | None:
        answer, day = self.remembered.get(person, (None, 0))
        is_good = self.now < self.remembered_until and self.now // DAY - day <= 365
        return answer if is_good else None

    def remember(self, person: str, answer: str) -> None:
        self.remembered[person] = answer, int(self.now) // DAY
        self.remembered_until = int(self.now) + 365 * DAY

    def forget_yes(self, people: set[str]) -> None:
        for person in people:
            if self.remembers(person) == "yes":
                del self.remembered[person]
                self.remembered_until = int(self.now) + 365 * DAY


class SessionLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.browser = Browser(self.world)
        self.model = Model()
        self.sids: list[str] = []
        self.left_behind: set[bytes] = set()
        self.keys = 1

    # What people do ----------------------------------------------------------------------------------------

    @rule(person=people, prompt=prompts)
    def sign_in(self, person: str, prompt: str) -> None:
        model = self.model
        asked = {"post_login_redirect_uri": "/page"} | ({"prompt": prompt} if prompt else {})
        there = location(self.browser.get("/.auth/login?" + urlencode(asked)))
        if model.signed_in and not prompt:
            assert there == "/page"
            model.visit()
            return
        sid = f"{person}-{len(self.sids)}"
        self.sids.append(sid)
        reached = location(self.browser.come_back(there, {**PEOPLE[person], "sid": sid}))
        if model.keep_days == 0:
            assert reached == "/page"
            model.start(person, sid, False)
        elif (answer := model.remembers(person)) is not None:
            assert reached == "/page"
            model.start(person, sid, answer == "yes")
        else:
            assert reached.startswith("/.auth/kmsi?")
            model.questions.append(Question(reached, person, sid, int(model.now), int(model.now) + 600))
            model.questions = model.questions[-6:]

    @rule(data=st.data(), answer=answers, tick=st.booleans(), stale=st.booleans())
    def answer(self, data: st.DataObject, answer: str, tick: bool, stale: bool) -> None:
        model = self.model
        if not model.questions:
            return
        number = data.draw(st.integers(0, len(model.questions) - 1))
        question = model.questions[number]
        waits = model.now < question.until
        if waits:
            shown = page_of(self.browser.get(question.at))
            assert shown.name == "kmsi.html"
            person = PEOPLE[question.person]
            assert shown.context["user_name"] == f"{person['name']} ({person['preferred_username']})"
        form = {"ticket": question.at.partition("=")[2], "answer": answer} | ({"dont_show_again": "1"} if tick else {})
        before = dict(self.browser.jar)
        outcome = self.browser.post("/.auth/kmsi", form)
        model.questions.pop(number)
        if waits:
            assert location(outcome) == "/page"
            model.start(question.person, question.sid, answer == "yes")
            if tick:
                model.remember(question.person, answer)
            if stale:  # the double click: the same cookies, the other answer
                after = self.browser.jar
                self.browser.jar = before
                again = self.browser.post("/.auth/kmsi", form | {"answer": "no" if answer == "yes" else "yes"})
                assert location(again) == "/page"
                assert self.browser.jar[COOKIE].value == after[COOKIE].value
                assert model.life is not None
                if answer == "no" or not model.life.persistent:
                    assert self.browser.jar[COOKIE] == after[COOKIE]
                    self.browser.jar = after
                else:  # a No holds whenever it comes
                    model.life.persistent = False
                    if tick:
                        model.remember(question.person, "no")
                    else:
                        model.forget_yes({question.person})
        elif int(model.now) > question.asked + DAY:
            assert code_of(outcome) == "interrupt_unknown"
        elif model.signed_in:
            assert location(outcome) == "/page"
            model.visit()
        else:
            assert code_of(outcome) == "interrupt_expired"

    @rule(seconds=instants)
    def wait(self, seconds: float) -> None:
        self.world.now += seconds
        self.model.now += seconds

    @rule(headers=st.sampled_from([SCRIPT, {"accept": "text/html"}]))
    def visit(self, headers: dict[str, str]) -> None:
        outcome = self.browser.get("/page", headers)
        assert isinstance(outcome, Forward) is self.model.signed_in
        if isinstance(outcome, Forward):
            assert self.model.life is not None
            assert outcome.session is not None
            assert outcome.session.subject == self.model.life.person
        self.model.visit()

    @rule(path=st.sampled_from(["/page", "/.auth/logout", "/.auth/login"]))
    def prefetch(self, path: str) -> None:
        before, jar = self.world.live(), dict(self.browser.jar)
        outcome = self.browser.get(path, PREFETCH)
        assert isinstance(outcome, Forward) is (self.model.signed_in and path == "/page")
        assert self.world.live() == before
        assert self.browser.jar == jar

    @rule(by_post=st.booleans())
    def sign_out(self, by_post: bool) -> None:
        if by_post:
            self.browser.post("/.auth/logout")
        else:
            self.browser.get("/.auth/logout", {**PREFETCH, "sec-fetch-site": "same-origin", "sec-purpose": ""})
        life = self.model.life if self.model.signed_in else None
        self.model.forget_yes({life.person} if life is not None else {*PEOPLE})
        self.model.life = None
        self.model.questions = []

    @rule(data=st.data(), with_cookies=st.booleans(), issuer=st.sampled_from([ISSUER, None, "https://evil.example"]))
    def front_channel(self, data: st.DataObject, with_cookies: bool, issuer: str | None) -> None:
        if not self.sids:
            return
        sid = data.draw(st.sampled_from(self.sids))
        given = {"sid": sid} | ({"iss": issuer} if issuer is not None else {})
        # Each from an address of its own: the limit on misses is not this model's.
        self.browser.address = f"192.0.{len(self.left_behind) % 256}.{int(self.world.now) % 256}"
        self.world.unmatched.__init__(limit=10_000)  # type: ignore[misc]
        self.browser.get("/.auth/frontchannel-logout?" + urlencode(given), FRAME, cookies=with_cookies)
        life = self.model.life
        if issuer == "https://evil.example":
            return
        if life is not None and sid in life.sids:
            self.model.life = None
        for question in self.model.questions:
            if question.sid == sid:
                question.until = self.model.now

    @rule()
    def close_the_browser(self) -> None:
        """Only a persistent cookie survives it; a session whose cookie is lost is left behind on the server."""
        if self.browser.token and not self.browser.persistent:
            self.left_behind.add(key_of(self.browser.token))
        if self.model.life is not None and not self.model.life.persistent:
            self.model.life = None
        self.browser.close()

    # What the operator does --------------------------------------------------------------------------------

    @rule(
        lifetime=st.sampled_from([900, HOUR, DAY]),
        keep_days=st.sampled_from([0, 1, 2, 30]),
        max_age_days=st.sampled_from([1, 3, 90]),
        rolling=st.booleans(),
    )
    def tighten(self, lifetime: int, keep_days: int, max_age_days: int, rolling: bool) -> None:
        model = self.model
        model.lifetime = min(lifetime, model.lifetime)
        model.keep_days = min(keep_days, model.keep_days)
        model.max_age_days = min(max_age_days, model.max_age_days)
        model.rolling = rolling and model.rolling
        self.world.configure(
            session_lifetime=model.lifetime,
            keep_me_signed_in_days=model.keep_days,
            session_max_age=model.max_age_days,
            session_expiry="rolling" if model.rolling else "absolute",
        )

    @rule(provider=st.booleans())
    def rotate_keys(self, provider: bool) -> None:
        if provider:
            self.world.idp.rotate()
            return
        self.keys += 1
        self.world.configure(secret_keys=(*self.world.given["secret_keys"], f"key number {self.keys} ".ljust(40, "k")))

    # What must hold ----------------------------------------------------------------------------------------

    @invariant()
    def signed_in_exactly_when_the_model_is(self) -> None:
        outcome: Any = self.browser.get("/.auth/me", SCRIPT)
        assert isinstance(outcome, Reply)
        assert (outcome.status == 200) is self.model.signed_in
        if outcome.status != 200:
            problem_of(outcome, 401)

    @invariant()
    def at_most_one_session_of_this_browser_lives(self) -> None:
        app, now = self.world.app, self.world.now
        good = [s for s in self.world.live() if not isinstance(judge(s, app.settings, now), Over)]
        mine = [session for session in good if session.key not in self.left_behind]
        assert len(mine) == (1 if self.model.signed_in else 0)
        if mine:
            assert mine[0] == self.browser.session
            assert self.model.life is not None
            assert list(mine[0].sids) == self.model.life.sids
            assert (mine[0].renewed_at, mine[0].expires_at) == (self.model.life.renewed, self.model.life.promised)

    @invariant()
    def the_cookie_is_persistent_exactly_when_the_model_is(self) -> None:
        if self.model.signed_in:
            assert self.model.life is not None
            assert self.browser.persistent is self.model.life.persistent
            if self.browser.persistent:
                assert self.browser.jar[COOKIE].until == self.model.life.promised

    @invariant()
    def the_cookies_fit(self) -> None:
        assert len(self.browser.cookie_header()) <= 4_096


SessionLife.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestSessionLife = SessionLife.TestCase
