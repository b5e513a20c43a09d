"""A world for the flows to play in: no server, no socket, no clock but ``World.now``.

``World`` answers what a flow asks for: from a store in memory, an identity provider made of dicts, a list for
the sign-in log. ``Browser`` keeps cookies as browsers do, and sends the headers that browsers send.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

from kmsi_middleware.edges.aside import Aside
from kmsi_middleware.edges.keeping import Keeping, store_call
from kmsi_middleware.edges.stores import MemoryStore
from kmsi_middleware.edges.unmatched import UnmatchedCounter
from kmsi_middleware.flows import dispatch
from kmsi_middleware.flows.deployment import Deployment
from kmsi_middleware.rules.cookies import SIGN_OUT, is_token, session_cookie_name
from kmsi_middleware.rules.oidc.discovery import Provider
from kmsi_middleware.rules.seals import encode, key_of
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.effects import Effect, Flow
from kmsi_middleware.vocabulary.errors import KMSIError, ProviderUnavailable
from kmsi_middleware.vocabulary.messages import Forward, HttpRequest, HttpResponse, Outcome, Page, Reply, Request, Site
from kmsi_middleware.vocabulary.session import Session, Tombstone
from kmsi_middleware.vocabulary.settings import Settings
from kmsi_middleware.vocabulary.signals import SignInSignals

ORIGIN = "https://app.example.com"
ISSUER = "https://login.example.com/tenant"
IDP_ORIGIN = "https://login.example.com"
SIGN_OUT_ORIGIN = "https://logout.example.com"
CLIENT_ID = "the-app"
COOKIE = "__Host-kmsi"
NOW = 1_800_000_000
MINUTE, HOUR, DAY = 60, 3_600, 86_400

SETTINGS: dict[str, Any] = {
    "issuer": ISSUER,
    "client_id": CLIENT_ID,
    "client_secret": "a secret of the app",
    "secret_keys": ("first key first key first key first key",),
    "base_url": ORIGIN,
    "app_name": "Shop",
}

NAVIGATION = {
    "accept": "text/html,application/xhtml+xml",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
    "sec-fetch-site": "none",
    "user-agent": "Firefox",
}
SCRIPT = {"accept": "*/*", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "sec-fetch-site": "same-origin"}
FRAME = {
    "accept": "text/html",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "iframe",
    "sec-fetch-site": "cross-site",
}
PREFETCH = {**NAVIGATION, "sec-purpose": "prefetch"}

ALICE: dict[str, Any] = {"sub": "alice", "name": "Alice", "preferred_username": "alice@example.com"}
BOB: dict[str, Any] = {"sub": "bob", "name": "Bob", "preferred_username": "bob@example.com"}

_keys = [ECKey.generate_key("P-256", {"kid": f"key-{number}", "use": "sig"}) for number in range(3)]


class IdentityProvider:
    """An OpenID provider of dicts. It holds PKCE and the client's secret against what the app sends."""

    def __init__(self) -> None:
        self.metadata = Provider(
            issuer=ISSUER,
            authorization_endpoint=f"{ISSUER}/authorize",
            token_endpoint=f"{ISSUER}/token",
            jwks_uri=f"{ISSUER}/keys",
            end_session_endpoint=f"{SIGN_OUT_ORIGIN}/end",
            token_endpoint_auth_methods=("client_secret_post",),
            iss_in_response=False,
        )
        self.key = _keys[0]
        self.published = [_keys[0]]
        self.codes: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        self.token_answer: HttpResponse | None = None
        self.refresh_answer: HttpResponse | KMSIError | None = None
        self.grants: dict[str, dict[str, Any]] = {}
        """The claims behind each refresh token that is still good for once."""
        self.refreshed: list[str] = []
        """Every refresh token that somebody came with."""
        self.refreshed_claims: dict[str, Any] = {}
        """What a refreshed ID token says otherwise; ``None`` leaves a claim out."""
        self.id_token_on_refresh = True
        self.expires_in = HOUR
        self.is_away = False
        self._numbers = itertools.count(1)

    def rotate(self) -> None:
        """Sign with another key from now on, and publish it."""
        self.key = _keys[(_keys.index(self.key) + 1) % len(_keys)]
        self.published = [self.key]

    def jwks(self) -> dict[str, Any]:
        return {"keys": [key.as_dict(private=False) for key in self.published]}

    def sign_in(self, url: str, person: Mapping[str, Any], now: float) -> dict[str, str]:
        """The person signs in at an authorization URL. Answer: what the browser brings back to the app."""
        asked = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
        number = next(self._numbers)
        code = f"code-{number}"
        claims: dict[str, Any] = {
            "iss": self.metadata.issuer,
            "aud": asked["client_id"],
            "iat": int(now),
            "exp": int(now) + HOUR,
            "auth_time": int(now),
            "sid": f"sid-{number}",
            "nonce": asked["nonce"],
        } | dict(person)
        self.codes[code] = asked, {name: value for name, value in claims.items() if value is not None}
        return {"code": code, "state": asked["state"]}

    def fetch(self, request: HttpRequest, now: float) -> HttpResponse:
        """The token endpoint, and the metadata for who only looks whether there is somebody."""
        if self.is_away:
            raise ProviderUnavailable("nobody is there")
        if request.method == "GET":
            assert request.url == f"{ISSUER}/.well-known/openid-configuration"
            return _json(200, {})
        form = dict(request.form or {})
        if form["grant_type"] == "refresh_token":
            return self._refresh(form, int(now))
        if self.token_answer is not None:
            return self.token_answer
        assert request.method == "POST"
        assert request.url == self.metadata.token_endpoint
        assert form["client_secret"] == SETTINGS["client_secret"]
        asked, claims = self.codes.pop(form["code"], ({}, {}))
        challenge = encode(hashlib.sha256(form["code_verifier"].encode()).digest())
        if asked.get("code_challenge") != challenge or asked["redirect_uri"] != form["redirect_uri"]:
            return _json(400, {"error": "invalid_grant"})
        tokens = {"token_type": "Bearer", "id_token": self._signed(claims), "access_token": "an access token"}
        if "offline_access" in asked["scope"]:
            tokens |= {"refresh_token": self._grant(claims), "expires_in": self.expires_in}
        return _json(200, tokens)

    def _signed(self, claims: Mapping[str, Any]) -> str:
        return jwt.encode({"alg": "ES256", "kid": self.key.kid}, dict(claims), self.key, algorithms=["ES256"])

    def _grant(self, claims: Mapping[str, Any]) -> str:
        name = f"refresh-{next(self._numbers)}"
        self.grants[name] = dict(claims)
        return name

    def _refresh(self, form: Mapping[str, str], now: int) -> HttpResponse:
        """Each refresh token is good for once."""
        assert form["client_secret"] == SETTINGS["client_secret"]
        self.refreshed.append(form["refresh_token"])
        if isinstance(self.refresh_answer, KMSIError):
            raise self.refresh_answer
        if self.refresh_answer is not None:
            return self.refresh_answer
        claims = self.grants.pop(form["refresh_token"], None)
        if claims is None:
            return _json(400, {"error": "invalid_grant", "error_description": "AADSTS50173: revoked"})
        told = {**claims, "nonce": None, "iat": now, "exp": now + HOUR, **self.refreshed_claims}
        told = {name: value for name, value in told.items() if value is not None}
        token = self._grant(claims)
        answer = {"token_type": "bearer", "access_token": f"access for {token}", "refresh_token": token}
        answer |= {"id_token": self._signed(told)} if self.id_token_on_refresh else {}
        return _json(200, {**answer, "expires_in": self.expires_in})


def _json(status: int, document: object) -> HttpResponse:
    return HttpResponse(status, {"content-type": "application/json"}, json.dumps(document).encode())


class Dice:
    """Bytes that are different each time and the same in each run."""

    def __init__(self) -> None:
        self._count = itertools.count()

    def __call__(self, size: int) -> bytes:
        return hashlib.shake_128(f"throw {next(self._count)}".encode()).digest(size)


class World:
    """Everything outside the flows."""

    def __init__(self, store: MemoryStore | None = None, **settings: Any) -> None:
        self.given = {**SETTINGS, **settings}
        self.dice = Dice()
        self.app = self._deployment()
        self.now: float = NOW
        self.store = store or MemoryStore()
        self.idp = IdentityProvider()
        self.cached_keys: dict[str, Any] | None = None
        self.signals: SignInSignals = SignInSignals()
        self.facts: list[Any] = []
        self.log: list[Mapping[str, Any]] = []
        self.notes: list[Mapping[str, Any]] = []
        """What people were told of sessions that ended."""
        self.unmatched = UnmatchedCounter(limit=3)
        self.broken: dict[type[Effect], KMSIError] = {}
        self.may_ask = True
        self.aside = Aside()
        self.told: list[dict[str, str]] = []
        """What was sent without waiting for an answer."""
        self.asked: list[Effect] = []
        """What the last flow asked for."""

    def _deployment(self) -> Deployment:
        return Deployment(Settings.resolve(self.given), self.dice)

    def configure(self, **settings: Any) -> None:
        """Deploy the app anew, with other settings over the same store."""
        self.given |= settings
        self.app = self._deployment()

    @property
    def site(self) -> Site:
        base = self.app.settings.base
        assert base is not None
        name = session_cookie_name(self.app.settings.cookie_name, secure=base.scheme == "https", port=base.port)
        return Site(f"{base.scheme}://{base.netloc}", base.path, self.app.settings.issuer, name)

    def answer(self, request: Request) -> Outcome:
        """Play a request to its outcome."""
        return self.play(dispatch.answer(self.app, request, self.now))

    def play(self, flow: Flow[Any]) -> Any:
        self.asked = []
        return finished(self.steps(flow))

    def steps(self, flow: Flow[Any]) -> Iterator[None]:
        """Play a flow effect by effect, so that two can be played between each other."""
        try:
            effect = next(flow)
            while True:
                yield
                self.asked.append(effect)
                try:
                    if isinstance(effect, ask.ToTheEnd):
                        answer = yield from self.steps(effect.flow)
                    else:
                        answer = self.perform(effect)
                except KMSIError as error:
                    effect = flow.throw(error)
                else:
                    effect = flow.send(answer)
        except StopIteration as done:
            return done.value

    def perform(self, effect: Effect) -> Any:
        if type(effect) in self.broken:
            raise self.broken[type(effect)]
        now = self.now
        if store_call(effect) is not None:
            return Keeping(self.store).perform(effect, now)
        match effect:
            case ask.GetProvider():
                return self.idp.metadata
            case ask.GetKeys(_, unknown_kid):
                if self.cached_keys is None or unknown_kid:
                    self.cached_keys = self.idp.jwks()
                return self.cached_keys
            case ask.Fetch(request):
                return self.idp.fetch(request, now)
            case ask.MayAsk():
                return self.may_ask
            case ask.Tell(requests):
                return self.told.extend(dict(request.form or {}) for request in requests)
            case ask.PutAside(key, payload):
                return self.aside.put(key, payload)
            case ask.ReadAside(key):
                return self.aside.read(key)
            case ask.AskSignals(facts):
                self.facts.append(facts)
                return self.signals
            case ask.AppendSignIn(record):
                return self.log.append(record)
            case ask.NoteSession(record):
                return self.notes.append(record)
            case ask.NoteLongTarget():
                return None
            case ask.CountUnmatched(kind, address):
                return self.unmatched.hit(kind, address, now)
            case ask.MayTry(kind, address):
                return self.unmatched.allows(kind, address, now)
        raise AssertionError(f"nobody performs {effect!r}")

    # Looking at it ---------------------------------------------------------------------------------------

    def asked_for(self, *kinds: type[Effect]) -> list[Any]:
        """Those effects of the last flow that are of these kinds."""
        return [effect for effect in self.asked if isinstance(effect, kinds)]

    def live(self) -> list[Session]:
        """The sessions in the store that nobody ended and that have not expired."""
        kept = self.store._sessions.values()
        return [session for session in kept if isinstance(session, Session) and self.now < session.expires_at]

    def tombstones(self) -> list[str]:
        return [kept.reason for kept in self.store._sessions.values() if isinstance(kept, Tombstone)]

    def logged(self) -> list[tuple[int, str, str]]:
        """Number, correlation id and decision of each record in the sign-in log."""
        return [(r["status"]["errorCode"], r["correlationId"], r["kmsi"]["decision"]) for r in self.log]


@dataclass
class Cookie:
    value: str
    until: float | None


@dataclass
class Browser:
    """A browser at the app's origin."""

    world: World
    address: str = "192.0.2.1"
    jar: dict[str, Cookie] = field(default_factory=dict)
    keeps_cookies: bool = True

    def get(self, target: str, headers: Mapping[str, str] = NAVIGATION, **more: Any) -> Outcome:
        return self.send(self.request("GET", target, headers, **more))

    def post(
        self, target: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Outcome:
        """A form on a page of the app, unless ``headers`` say otherwise."""
        said = {**NAVIGATION, "sec-fetch-site": "same-origin", "origin": self.world.site.origin}
        said = dict(headers) if headers is not None else said
        said["content-type"] = "application/x-www-form-urlencoded"
        return self.send(self.request("POST", target, said, body=urlencode(form or {}).encode(), **more))

    def request(
        self, method: str, target: str, headers: Mapping[str, str] = NAVIGATION, *, cookies: bool = True, **more: Any
    ) -> Request:
        site = self.world.site
        target = target.removeprefix(site.origin)
        path, _, query = target.partition("?")
        said = dict(headers)
        if cookies and (line := self.cookie_header()):
            said["cookie"] = line
        return Request(
            site=site,
            method=method,
            path=path.removeprefix(site.root) or "/",
            query=query,
            headers=said,
            target=target,
            client_address=self.address,
            **more,
        )

    def send(self, request: Request) -> Outcome:
        outcome = self.world.answer(request)
        self.take(outcome)
        return outcome

    def take(self, outcome: Outcome) -> None:
        """Keep the cookies of an outcome, by RFC 6265's rules for the prefix ``__Host-``."""
        for line in set_cookies(outcome) if self.keeps_cookies else ():
            pair, *attributes = [part.strip() for part in line.split(";")]
            name, _, value = pair.partition("=")
            said = {key.lower(): text for key, _, text in (item.partition("=") for item in attributes)}
            assert said["path"] == "/"
            assert said["samesite"] == ("None" if name.endswith(SIGN_OUT) else "Lax")
            assert {"httponly", "secure"} <= said.keys()
            assert "domain" not in said
            until: float | None = None
            if "max-age" in said:
                until = int(self.world.now) + int(said["max-age"])
                expires = parsedate_to_datetime(said["expires"]).timestamp()
                assert expires == until or (said["max-age"] == "0" and expires == 0)
            self.jar.pop(name, None)
            if until is None or until > self.world.now:
                self.jar[name] = Cookie(value, until)

    def cookie_header(self) -> str:
        now = self.world.now
        kept = {name: kept for name, kept in self.jar.items() if kept.until is None or now < kept.until}
        return "; ".join(f"{name}={cookie.value}" for name, cookie in kept.items())

    def close(self) -> None:
        """Close the browser and open it again: what is not persistent is gone."""
        self.jar = {name: cookie for name, cookie in self.jar.items() if cookie.until is not None}

    # What people do --------------------------------------------------------------------------------------

    def begin(self, target: str = "/", headers: Mapping[str, str] = NAVIGATION) -> str:
        """Go somewhere; the app sends the browser to the provider, or says why the session ended, and then the person
        presses the button. Answer: the authorization URL."""
        outcome = self.get(target, headers)
        if isinstance(outcome, Reply) and outcome.status == 401:
            outcome = self.get(page_of(outcome, 401).context["login_url"])
        url = location(outcome)
        assert url.startswith(self.world.idp.metadata.authorization_endpoint + "?")
        return url

    def come_back(self, url: str, person: Mapping[str, Any] = ALICE, **extra: str) -> Outcome:
        """Sign in at the provider and come back with its answer."""
        answer = self.world.idp.sign_in(url, person, self.world.now) | extra
        return self.get(f"/.auth/callback?{urlencode(answer)}", CROSS_SITE)

    def to_interrupt(self, person: Mapping[str, Any] = ALICE, target: str = "/") -> str:
        """Sign in up to the question. Answer: its path."""
        at = location(self.come_back(self.begin(target), person))
        assert at.startswith("/.auth/kmsi?ticket=")
        return at

    def reply_to(self, at: str, answer: str, **more: str) -> Outcome:
        """Answer the question that is shown at a path."""
        shown = page_of(self.get(at))
        assert shown.name == "kmsi.html"
        return self.post(shown.context["action"], {"ticket": shown.context["ticket"], "answer": answer, **more})

    def sign_in(self, person: Mapping[str, Any] = ALICE, answer: str = "no", target: str = "/", **more: str) -> Outcome:
        return self.reply_to(self.to_interrupt(person, target), answer, **more)

    @property
    def token(self) -> str:
        """The session cookie's value; empty without one."""
        kept = self.jar.get(self.world.site.cookie_name)
        return kept.value if kept is not None and is_token(kept.value) else ""

    @property
    def session(self) -> Session | None:
        """What the store holds under the session cookie."""
        kept = self.world.store.load(key_of(self.token), self.world.now) if self.token else None
        return kept if isinstance(kept, Session) else None

    @property
    def persistent(self) -> bool:
        """Whether the session cookie survives the closing of the browser."""
        return self.jar[self.world.site.cookie_name].until is not None


CROSS_SITE = {**NAVIGATION, "sec-fetch-site": "cross-site"}


def finished(steps: Iterator[None]) -> Any:
    """Play what is left of a flow. Answer: its outcome."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def play_between(world: World, flows: Sequence[Flow[Any]], order: Iterable[int] = ()) -> list[Any]:
    """Play flows effect by effect between each other: first in this order of their numbers, then in turns.

    Answer: their outcomes, in the order in which they come.
    """
    playing = {number: world.steps(flow) for number, flow in enumerate(flows)}
    outcomes: list[Any] = []
    world.asked = []
    for number in itertools.chain(order, itertools.cycle(range(len(flows)))):
        if not playing:
            break
        if number in playing:
            try:
                next(playing[number])
            except StopIteration as done:
                outcomes.append(done.value)
                del playing[number]
    return outcomes


# Reading outcomes ------------------------------------------------------------------------------------------


def headers_of(outcome: Outcome) -> dict[str, str]:
    assert isinstance(outcome, Reply)
    return {name: value for name, value in outcome.headers if name != "set-cookie"}


def set_cookies(outcome: Outcome) -> tuple[str, ...]:
    if isinstance(outcome, Forward):
        return outcome.set_cookies
    return tuple(value for name, value in outcome.headers if name == "set-cookie")


def cookie_names(outcome: Outcome) -> list[str]:
    return [line.partition("=")[0] for line in set_cookies(outcome)]


def cleared(outcome: Outcome) -> list[str]:
    """Names of the cookies that an outcome removes."""
    return [line.partition("=")[0] for line in set_cookies(outcome) if "Max-Age=0;" in line]


def location(outcome: Outcome) -> str:
    assert isinstance(outcome, Reply)
    assert outcome.status == 303, outcome
    return headers_of(outcome)["location"]


def query_of(url: str) -> dict[str, str]:
    found = parse_qs(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert all(len(values) == 1 for values in found.values())
    return {name: values[0] for name, values in found.items()}


def ways_of(page: Page) -> dict[str, str]:
    """The links of a page that says that something failed, by their words."""
    return dict(page.context["ways"])


def page_of(outcome: Outcome, status: int = 200) -> Any:
    """The page of an outcome that is no redirect."""
    assert isinstance(outcome, Reply)
    assert outcome.status == status, outcome
    assert outcome.page is not None
    assert "location" not in headers_of(outcome)
    return outcome.page


def problem_of(outcome: Outcome, status: int) -> dict[str, Any]:
    assert isinstance(outcome, Reply)
    assert outcome.status == status, outcome
    said = headers_of(outcome)
    assert said["content-type"] == "application/problem+json"
    assert said["cache-control"] == "no-store"
    assert said["vary"] == "Cookie"
    document: dict[str, Any] = json.loads(outcome.body)
    assert document["status"] == status
    return document


def forwarded(outcome: Outcome) -> Session | None:
    assert isinstance(outcome, Forward), outcome
    return outcome.session


def code_of(outcome: Outcome) -> str:
    """The stable code of a refusal, whether it is a page or a problem."""
    assert isinstance(outcome, Reply)
    code: str = outcome.page.context["code"] if outcome.page else json.loads(outcome.body)["code"]
    return code


def with_headers(request: Request, **headers: str) -> Request:
    """The same request with headers replaced; an underscore stands for a hyphen."""
    return replace(request, headers={**request.headers, **{n.replace("_", "-"): v for n, v in headers.items()}})
