"""What is fuzzed: every parser, and every reserved path of both shells. Each target is a function from a source of
hostile values to nothing; it raises for what must never happen.

What may come out of hostile input: one of our own errors, and of a request an answer below 500, or a 503 where the
provider was made hostile. Never a session, never a request above its limits, never something that is kept for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from joserfc import jws
from joserfc.jwk import ECKey
from tests.fuzz.hostile import Hostile

from kmsi_middleware.assembly import assemble
from kmsi_middleware.edges.asgi import ASGIShell
from kmsi_middleware.edges.provider import ProviderClient
from kmsi_middleware.edges.stores import MemoryStore, codec, open_store
from kmsi_middleware.edges.wire import Clients, Where
from kmsi_middleware.edges.wsgi import WSGIShell
from kmsi_middleware.flows import forms
from kmsi_middleware.policies import PolicyError
from kmsi_middleware.rules import cookies, seals, sign_in_log, targets
from kmsi_middleware.rules.conditional_access import device_filter
from kmsi_middleware.rules.conditional_access.load import load_policies
from kmsi_middleware.rules.oidc import authorization, discovery, id_token, logout_token, tokens
from kmsi_middleware.vocabulary.errors import KMSIError
from kmsi_middleware.vocabulary.messages import HttpResponse, Request, Site
from kmsi_middleware.vocabulary.session import Session
from kmsi_middleware.vocabulary.settings import Settings

NOW = 1_800_000_000
ISSUER = "https://login.example.com/tenant"
HOME = "https://app.example.com"
CLIENT = "the-app"
SETTINGS: dict[str, Any] = {
    "issuer": ISSUER,
    "client_id": CLIENT,
    "secret_keys": ("k" * 32,),
    "base_url": HOME,
    "trusted_proxies": ("127.0.0.0/8",),
}
POLICIES = Path(__file__).parent.parent.parent / "examples" / "policies"
LONGEST_ANSWER = 200_000


@cache
def key() -> ECKey:
    return ECKey.import_key(  # the same in every run
        {
            "kty": "EC",
            "crv": "P-256",
            "kid": "k",
            "use": "sig",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
        }
    )


def signed(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token of the issuer's, as far as the header lets itself be signed."""
    registry = jws.JWSRegistry(strict_check_header=False)
    try:
        return jws.serialize_compact({**header, "alg": "ES256"}, json.dumps(claims).encode(), key(), registry=registry)
    except Exception:
        return "a.b.c"


CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": CLIENT,
    "sub": "ada",
    "iat": NOW,
    "exp": NOW + 600,
    "auth_time": NOW,
    "nonce": "n",
    "sid": "sid-1",
    "amr": ["pwd", "mfa"],
}
LOGOUT: dict[str, Any] = {
    "iss": ISSUER,
    "aud": CLIENT,
    "iat": NOW,
    "exp": NOW + 120,
    "jti": "j",
    "sid": "sid-1",
    "events": {logout_token.EVENT: {}},
}
METADATA: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/keys",
    "end_session_endpoint": f"{ISSUER}/logout",
    "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
    "authorization_response_iss_parameter_supported": False,
}
TOKEN_ANSWER: dict[str, Any] = {"token_type": "Bearer", "id_token": "", "access_token": "a", "expires_in": 3_600}


def jwks() -> dict[str, Any]:
    return {"keys": [key().as_dict(private=False)]}


def id_tokens() -> list[str]:
    return [signed({"kid": "k", "typ": "JWT"}, CLAIMS)]


def logout_tokens() -> list[str]:
    return [signed({"kid": "k", "typ": "logout+jwt"}, LOGOUT)]


SITE = Site(HOME, "", ISSUER, "__Host-kmsi")
SEALS = seals.Seals(SETTINGS["secret_keys"], lambda size: b"\x07" * size)
TOKEN = "A" * 43
COOKIE = f"__Host-kmsi={TOKEN}; __Host-kmsi.t.abc=WyJhIl0.x.y; __Host-kmsi.p.q={TOKEN}; other=1; __Host-kmsi.r=x"
EXPECTED = (KMSIError, PolicyError, id_token.UnknownKey)


def check(condition: object, about: object) -> None:
    if not condition:
        raise AssertionError(about)


# Parsers -----------------------------------------------------------------------------------------------------------


def cookie_header(hostile: Hostile) -> None:
    header = hostile.text([COOKIE])
    found = cookies.session_tokens(header, SITE)
    check(len(found) <= 4 and all(cookies.is_token(token) for token in found), found)
    for name, _ in cookies.ours(header, SITE):
        check(name.startswith(SITE.cookie_name), name)


def form(hostile: Hostile) -> None:
    said = {"content-type": hostile.text(["application/x-www-form-urlencoded; charset=utf-8"])}
    body = hostile.blob([b"ticket=abc&answer=yes&dont_show_again=1", b"logout_token=a.b.c"])
    request = Request(SITE, "POST", "/.auth/kmsi", hostile.text(["a=b&c=d%20e"]), said, body=body)
    for read in (forms.form, forms.query):
        with contextlib.suppress(KMSIError):
            check(len(read(request)) <= forms.MOST_FIELDS, "too many fields")


@cache
def good_state() -> str:
    transaction, _ = authorization.new_transaction("/orders", NOW, lambda size: b"\x07" * size)
    return authorization.sealed_state(transaction, SEALS, NOW)


def sealed(hostile: Hostile) -> None:
    good = [good_state(), SEALS.seal("other", {"a": 1}, NOW), SEALS.sign("other", ["x"], NOW), "", "AAAA", "a.b.c"]
    text = hostile.text(good)
    for found in (
        SEALS.open("state", text, within=600, now=NOW),
        SEALS.unsign("state", text, within=600, now=NOW),
        authorization.opened_state(text, SEALS, NOW),
    ):
        check(found is None or text == good_state(), found)
    check(seals.open_under(TOKEN, text.encode("utf-8", "replace")) == {}, "opened")


def return_target(hostile: Hostile) -> None:
    text = hostile.text(["/orders?of=the+day#x", f"{HOME}/a/b", "/a/../b", "/.auth/login", "//evil.example/"])
    try:
        target = targets.return_target(text, SITE, "/.auth")
    except KMSIError:
        return
    check(target.startswith("/") and not target.startswith(("//", "/\\")), target)
    check(all(character > " " for character in target), target)


def path(hostile: Hostile) -> None:
    public = targets.PublicPaths(("/about", "/static/*"))
    text = hostile.text(["/about", "/static/site.css", "/static/../account", "/account", "/static/a/b;c=d"])
    if text in public:
        check(text == "/about" or text.startswith("/static/"), text)
        check(".." not in text.split("/") and "\\" not in text, text)


def where(hostile: Hostile) -> None:
    free = Where(Settings(issuer="embedded"))
    try:
        site = free.site(
            "http", hostile.text(["localhost:8000", "[::1]:80", "127.0.0.1"]), 8_000, hostile.text(["", "/sub"])
        )
    except KMSIError:
        return
    host = site.origin.removeprefix("http://")
    check(host.startswith(("localhost", "127.", "[")) or ".localhost" in host, site.origin)
    check(not any(character in site.origin + site.root for character in '\r\n\0 <>"'), site)


def client_address(hostile: Hostile) -> None:
    clients = Clients(("10.0.0.0/8", "::1"))
    clients._warned = True
    seeds = ["203.0.113.9, 10.0.0.1", "[2001:db8::1]:443, 10.1.1.1", "unknown", "::ffff:10.0.0.1"]
    address = clients.address(hostile.one(("10.0.0.1", "::1", "203.0.113.1", "")), hostile.text(seeds))
    check(len(address) < 64, address)


def id_token_(hostile: Hostile) -> None:
    settings = Settings(**SETTINGS)
    keys = hostile.document(jwks())
    token = hostile.jwt(id_tokens(), signed)
    try:
        claims = id_token.verified_claims(token, keys if isinstance(keys, dict) else {}, settings.id_token_algorithms)
        id_token.check_claims(claims, provider(), settings, client_id=CLIENT, nonce="n", now=NOW, access_token="a")
    except EXPECTED:
        return
    check((claims["iss"], claims["nonce"]) == (ISSUER, "n") and isinstance(claims["sub"], str), claims)
    id_token.sids_of(claims, "")
    id_token.auth_time_of(claims)


def logout_token_(hostile: Hostile) -> None:
    settings = Settings(**SETTINGS)
    token = hostile.jwt(logout_tokens(), signed)
    try:
        claims = logout_token.verified_claims(token, jwks(), settings.id_token_algorithms)
        notice = logout_token.check(token, claims, provider(), settings, client_id=CLIENT, now=NOW)
    except EXPECTED:
        return
    check(notice.issuer == ISSUER and (notice.sid or notice.subject), notice)
    check(notice.good_until <= NOW + 90_000, notice)


@cache
def provider() -> discovery.Provider:
    return discovery.check_discovery(HttpResponse(200, {}, json.dumps(METADATA).encode()), ISSUER)


def metadata(hostile: Hostile) -> None:
    try:
        found = discovery.check_discovery(
            HttpResponse(hostile.one((200, 200, 200, 302, 500)), {}, hostile.body(METADATA)), ISSUER
        )
    except EXPECTED:
        return
    check(found.issuer == ISSUER, found)
    for url in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri, found.end_session_endpoint):
        check(url is None or url.lower().startswith("https://"), url)


def token_answer(hostile: Hostile) -> None:
    try:
        found = tokens.check_token_response(
            HttpResponse(hostile.one((200, 200, 400, 503)), {}, hostile.body(TOKEN_ANSWER | {"id_token": "x"}))
        )
    except EXPECTED:
        return
    check(found.id_token and isinstance(found.access_token, str), found)


@cache
def policy_seeds() -> tuple[Any, ...]:
    return tuple(json.loads(file.read_text()) for file in sorted(POLICIES.glob("*.json")))


def policy_file(hostile: Hostile) -> None:
    with contextlib.suppress(EXPECTED):
        load_policies([("fuzz.json", hostile.document(hostile.one(policy_seeds())))])


def filter_rule(hostile: Hostile) -> None:
    seeds = [
        'device.isCompliant -eq True -and (device.trustType -ne "ServerAD")',
        'device.displayName -startsWith "a" -or device.deviceId -in ["x", "y"]',
        '-not (device.operatingSystem -contains "Win")',
    ]
    try:
        rule = device_filter.parse(hostile.text(seeds))
    except EXPECTED:
        return
    device_filter.match(rule, {"deviceId": "x", "isCompliant": True})
    check(device_filter.parse(device_filter.render(rule)) == rule, rule)


def log_record(hostile: Hostile) -> None:
    claims = hostile.document(CLAIMS)
    record = sign_in_log.sign_in_record(
        at=NOW,
        record_id="r",
        correlation_id=hostile.text(["c"]),
        code=hostile.text(["access_denied"]),
        failure_reason=hostile.text(["because"]),
        hint=hostile.text(["access_denied: AADSTS50105: x"]),
        claims=claims if isinstance(claims, dict) else None,
        app_id="a",
        app_name="b",
        client_address=hostile.text(["127.0.0.1"]),
        user_agent=hostile.text(["Mozilla/5.0"]),
    )
    line = json.dumps(record, ensure_ascii=False)
    check(len(line) < 8_000 and not any(ord(character) < 32 for character in line), line[:200])
    line.encode()


def stored_row(hostile: Hostile) -> None:
    good = codec.encode(session())
    row = [hostile.text([part]) if isinstance(part, str) else part for part in good]
    with contextlib.suppress(ValueError, TypeError):  # the stores make StoreUnavailable of it
        codec.decode(b"k" * 32, row)


def session() -> Session:
    return Session(
        key=b"k" * 32,
        issuer=ISSUER,
        subject="ada",
        claims=CLAIMS,
        sids=("sid-1",),
        started_at=NOW,
        renewed_at=NOW,
        expires_at=NOW + 600,
        persistent=False,
        decision="answered_no",
        correlation_id="c",
    )


PARSERS: tuple[Callable[[Hostile], None], ...] = (
    cookie_header,
    form,
    sealed,
    return_target,
    path,
    where,
    client_address,
    id_token_,
    logout_token_,
    metadata,
    token_answer,
    policy_file,
    filter_rule,
    log_record,
    stored_row,
)


# Whole requests ------------------------------------------------------------------------------------------------------

PATHS = (
    "/.auth/login",
    "/.auth/initiate-login",
    "/.auth/callback",
    "/.auth/kmsi",
    "/.auth/logout",
    "/.auth/logged-out",
    "/.auth/frontchannel-logout",
    "/.auth/backchannel-logout",
    "/.auth/me",
    "/.auth/sessions",
    "/.auth",
    "/",
    "/account",
    "/static/site.css",
)
METHODS = ("GET", "GET", "GET", "POST", "POST", "HEAD", "OPTIONS", "PUT", "BREW")


class Apps:
    """Both shells over one store each, with a provider that is sometimes hostile itself."""

    def __init__(self) -> None:
        self.hostile: Hostile | None = None
        self.stores: list[MemoryStore] = []
        self.asgi, self.wsgi = self._shell(asynchronous=True), self._shell(asynchronous=False)
        self.loop = asyncio.new_event_loop()
        self.reached = 0
        """Requests that the app itself saw with a session; none may."""

    def _shell(self, *, asynchronous: bool) -> Any:
        store = open_store("memory:")
        assert isinstance(store, MemoryStore)
        self.stores.append(store)
        settings = {**SETTINGS, "store": store, "public_paths": ("/static/*",), "http_timeout": 5}
        parts = assemble(settings, clock=lambda: NOW, asynchronous=asynchronous)

        def transport() -> httpx.MockTransport:
            return httpx.MockTransport(self._provider)

        client = ProviderClient(timeout=5, async_transport=transport, sync_transport=transport)
        services = replace(parts.services, provider=client)
        if asynchronous:
            return ASGIShell(self._asgi_app, parts.deployment, services, parts.pages, lambda: NOW)
        return WSGIShell(self._wsgi_app, parts.deployment, services, parts.pages, lambda: NOW)

    def _provider(self, request: httpx.Request) -> httpx.Response:
        hostile, url = self.hostile, str(request.url)
        seed = METADATA if url.endswith("openid-configuration") else jwks() if url.endswith("/keys") else TOKEN_ANSWER
        if hostile is None or hostile.often(0.7):
            return httpx.Response(200, json=seed)
        return httpx.Response(hostile.one((200, 200, 302, 404, 500)), content=hostile.body(seed))

    async def _asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached += scope["kmsi"] is not None
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    def _wsgi_app(self, environ: Any, start_response: Any) -> Any:
        self.reached += environ["kmsi"] is not None
        start_response("200 OK", [])
        return [b"ok"]

    def request(self, hostile: Hostile) -> None:
        """One hostile request, to one of the shells; then nobody may have a session."""
        self.hostile = hostile
        method, path = hostile.one(METHODS), self._path(hostile)
        headers, body = self._headers(hostile), self._body(hostile)
        query = self._query(hostile)
        if hostile.often(0.5):
            status, said, answer = self._play_asgi(method, path, query, headers, body)
        else:
            status, said, answer = self._play_wsgi(method, path, query, headers, body)
        check(status < 500 or status in (502, 503), (status, method, path, query, headers, body))
        check(status != 503 or any(name == "retry-after" for name, _ in said), said)
        check(len(answer) <= LONGEST_ANSWER, len(answer))
        for name, value in said:
            check(not any(character in name + value for character in "\r\n\0"), said)
        where = next((value for name, value in said if name == "location"), "")
        check(not where or where.startswith(("/", f"{HOME}/", f"{ISSUER}/")), where)
        check(not where.startswith(("//", "/\\")), where)
        check(self.reached == 0, "a session came of it")
        self.hostile = None

    def _path(self, hostile: Hostile) -> str:
        return str(hostile.one(PATHS)) if hostile.often(0.8) else "/" + hostile.text(PATHS, 300).lstrip("/")

    def _query(self, hostile: Hostile) -> str:
        if hostile.often(0.4):
            pairs = {
                "post_login_redirect_uri": hostile.text(["/orders", f"{HOME}/x", "//evil.example"]),
                "prompt": hostile.text(["login", "none", "select_account"]),
                "state": hostile.text([good_state(), "x"]),
                "code": hostile.text(["abc"]),
                "error": hostile.text(["access_denied"]),
                "error_description": hostile.text(["AADSTS50105: x"]),
                "iss": hostile.text([ISSUER]),
                "sid": hostile.text(["sid-1"]),
                "ticket": hostile.text([SEALS.sign("interrupt", ["n", "/", "c"], NOW)]),
                "ask": hostile.text(["x"]),
                "target_link_uri": hostile.text(["/", "https://evil.example"]),
            }
            names = [name for name in pairs if hostile.often(0.4)]
            return urlencode({name: pairs[name] for name in names}, errors="replace")
        return (
            hostile.text(["a=b", "state=x&code=y", "sid=1&sid=2"]).encode("ascii", "replace").decode().replace(" ", "+")
        )

    def _headers(self, hostile: Hostile) -> list[tuple[str, str]]:
        said = [("host", _line(hostile.text(["app.example.com"])) if hostile.often(0.2) else "app.example.com")]
        choices = {
            "cookie": [COOKIE],
            "accept": ["text/html", "application/json", "*/*"],
            "origin": [HOME, "null", "https://evil.example"],
            "referer": [f"{HOME}/page", "https://evil.example/"],
            "sec-fetch-mode": ["navigate", "cors", "no-cors"],
            "sec-fetch-dest": ["document", "empty", "iframe"],
            "sec-fetch-site": ["none", "same-origin", "cross-site", "same-site"],
            "sec-purpose": ["prefetch"],
            "hx-request": ["true"],
            "hx-current-url": [f"{HOME}/page"],
            "x-forwarded-for": ["203.0.113.9, 127.0.0.1"],
            "x-forwarded-host": ["evil.example"],
            "x-forwarded-proto": ["http"],
            "forwarded": ["for=1.2.3.4;host=evil.example"],
            "user-agent": ["Mozilla/5.0"],
            "content-type": ["application/x-www-form-urlencoded", "application/json", "multipart/form-data"],
            "authorization": ["Bearer x"],
        }
        for name, seeds in choices.items():
            if hostile.often(0.35):
                value = hostile.one(seeds) if hostile.often(0.7) else hostile.text(seeds, 9_000)
                said.append(
                    (name, value.encode("latin-1", "replace").decode("latin-1").replace("\r", "").replace("\n", ""))
                )
        return said

    def _body(self, hostile: Hostile) -> bytes:
        if hostile.often(0.3):
            return urlencode({"logout_token": hostile.jwt(logout_tokens(), signed)}, errors="replace").encode()
        return hostile.blob([b"ticket=abc&answer=yes", b"state=x&code=y", b"", b"x" * 70_000], 80_000)

    def _play_asgi(self, method: str, path: str, query: str, headers: Any, body: bytes) -> Any:
        scope = {
            "type": "http",
            "method": method,
            "scheme": "https",
            "path": path,
            "raw_path": path.encode("utf-8", "replace"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8_000),
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        self.loop.run_until_complete(self.asgi(scope, receive, send))
        said = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        return sent[0]["status"], said, b"".join(message.get("body", b"") for message in sent[1:])

    def _play_wsgi(self, method: str, path: str, query: str, headers: Any, body: bytes) -> Any:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path.encode("utf-8", "replace").decode("latin-1"),
            "SCRIPT_NAME": "",
            "QUERY_STRING": query,
            "SERVER_PORT": "8000",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(body),
        }
        for name, value in headers:
            plain = name.upper().replace("-", "_")
            environ["CONTENT_TYPE" if plain == "CONTENT_TYPE" else f"HTTP_{plain}"] = value
        sent: list[Any] = []
        chunks = self.wsgi(environ, lambda status, said, _=None: sent.extend((int(status[:3]), said)))
        answer = b"".join(chunks)
        return sent[0], [(name.lower(), value) for name, value in sent[1]], answer

    def close(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def kept(self) -> dict[str, int]:
        """How much is kept because of all these requests."""
        counts: dict[str, int] = {}
        for store in self.stores:
            for name in ("_sessions", "_keys_by_sid", "_keys_by_user"):
                counts[name] = counts.get(name, 0) + len(getattr(store, name))
        for shell in (self.asgi, self.wsgi):
            services = shell._services
            counts["settled"] = counts.get("settled", 0) + len(shell._settled._by_key)
            counts["unmatched"] = counts.get("unmatched", 0) + len(services.unmatched._windows)
            counts["documents"] = counts.get("documents", 0) + len(services.provider._documents)
        return counts


def _line(text: str) -> str:
    """A header's value as a server would let it through."""
    return text.encode("latin-1", "replace").decode("latin-1").replace("\r", "").replace("\n", "")


def run(count: int, seed: int) -> dict[str, int]:
    """``count`` hostile inputs: half of them whole requests, half for the parsers. Answer: how many of each."""
    apps = Apps()
    counts: dict[str, int] = {}
    try:
        for number in range(count):
            hostile = Hostile(seed * 1_000_003 + number)
            target = apps.request if number % 2 else PARSERS[number // 2 % len(PARSERS)]
            try:
                target(hostile)
            except Exception as error:
                raise AssertionError(f"input {number} of seed {seed} ({target.__name__}): {error!r}") from error
            counts[target.__name__] = counts.get(target.__name__, 0) + 1
    finally:
        apps.close()
    kept = apps.kept()
    check(kept["_sessions"] == kept["_keys_by_sid"] == kept["_keys_by_user"] == kept["settled"] == 0, kept)
    check(kept["unmatched"] <= 2 * 4_096 and kept["documents"] <= 128, kept)
    return counts | {f"kept: {name}": value for name, value in kept.items()}
