"""What a record shows of itself ends up in logs and tracebacks. Every record is found by walking the packages, and
shows only the fields that are listed here: a new field or record that shows anything else fails."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import kmsi_middleware.flows
import kmsi_middleware.rules.oidc
import kmsi_middleware.vocabulary
from kmsi_middleware.flows.sessions import Found, SignIn
from kmsi_middleware.rules.oidc.authorization import Secrets
from kmsi_middleware.rules.oidc.tokens import Tokens
from kmsi_middleware.vocabulary import effects as ask
from kmsi_middleware.vocabulary.messages import Forward, HttpRequest, HttpResponse, Page, Reply, Request, Site
from kmsi_middleware.vocabulary.session import Session

CANARY = "canary-secret"

# Each field was looked at: none is a token, a code, a cookie, a key or a password. A store's key is the SHA-256 of a
# token, and a ticket's payload is sealed, or names a key.
SHOWN: dict[str, set[str]] = {
    "AppendSignIn": set(),
    "Ask": {"max_age", "context", "prompt", "second_factor", "again"},
    "AskRisk": {"session"},
    "AskSignals": {"facts"},
    "CountUnmatched": {"kind", "address"},
    "CreateSession": {"session"},
    "EndSession": {"key", "reason", "by"},
    "EndSessions": {"sessions", "reason", "by"},
    "Busy": {"seconds"},
    "Ended": {"hint"},  # an error of the token endpoint's, and its description
    "Fetch": {"request", "within"},
    "FindSessions": {"sid", "issuer"},
    "FindUserSessions": {"user"},
    "Forward": {"session", "until", "invites", "judged_risk"},
    "Found": {"session", "until", "left"},
    "GetCountry": {"address"},
    "GetKeys": {"jwks_uri", "unknown_kid"},
    "GetPolicies": set(),
    "GetProvider": {"issuer"},
    "GoesOn": {"session", "until", "judged_risk"},
    "HttpRequest": {"method", "url"},
    "HttpResponse": {"status", "headers"},  # the provider's; our own cookies and tokens are in none of them
    "Kind": {"code", "name", "status"},
    "Left": {"id", "tombstone", "session"},
    "ListSessions": {"cursor", "limit"},
    "LoadSession": {"key"},
    "LogoutNotice": {"issuer", "issued_at", "good_until"},
    "Mark": {"valid_from", "real_from"},
    "MayAsk": set(),
    "MayTry": {"kind", "address"},
    "NoteLongTarget": {"characters"},
    "NoteSession": set(),
    "Page": {"name", "form_action", "frame_ancestors"},
    "PutAside": {"key"},
    "PutMark": {"key", "mark", "until"},
    "PutTicket": {"key", "payload", "expires_at"},
    "Question": {"name", "return_to", "correlation_id"},  # its answer needs a cookie
    "ReadAside": {"key"},
    "ReadMark": {"keys"},
    "ReadTicket": {"key"},
    "ReadVersion": {"key"},
    "Reply": {"status", "page"},
    "Request": {"site", "method", "path", "client_address", "websocket"},
    "SaveSession": {"session"},
    "Secrets": set(),
    "Session": {
        "issuer",
        "subject",
        "auth_time",
        "begun_at",
        "country",
        "started_at",
        "renewed_at",
        "expires_at",
        "persistent",
        "decision",
        "correlation_id",
        "second_factor_at",
        "refused_at",
        "password_change_demanded_at",
        "confirmed_at",
        "put_off_until",
        "refreshable",
        "version",
        "asked_for",
        "verified_max_age",
        "reported",
        "user_flow",
    },
    "SignIn": {
        "issuer",
        "auth_time",
        "begun_at",
        "return_to",
        "correlation_id",
        "second_factor_at",
        "missing",
        "asked_for",
        "verified_max_age",
        "user_flow",
    },
    "SignInFacts": {"claims", "client_address", "user_agent"},  # about a person, and no secret
    "SignInSignals": {
        "risk",
        "shared_device",
        "guest",
        "silent",
        "consent",
        "user_risk",
        "device",
        "second_factor",
        "password_changed_at",
    },
    "SignInVerdict": {"decided", "ask", "refusal", "applied", "missing"},
    "Site": {"origin", "root", "issuer", "cookie_name"},
    "TakeTicket": {"key"},
    "Tell": {"requests", "within"},
    "ToTheEnd": {"flow"},
    "Tokens": {"expires_in"},
    "Tombstone": {"reason", "ended_at", "correlation_id"},
    "Transaction": {
        "id",
        "return_to",
        "started_at",
        "prompt",
        "max_age",
        "context",
        "again",
        "second_factor",
        "forced",
        "user_flow",
        "then",
        "came_from",
        "confirms",
        "unanswered",
    },  # without its seed, the id alone opens nothing
    "Turn": {"user_flow", "then", "page"},
    "UserFlow": {
        "authority",
        "kind",
        "session_lifetime_minutes",
        "session_expiry",
        "keep_me_signed_in_days",
        "single_sign_on",
        "multi_factor",
        "single_sign_out",
        "require_id_token_on_logout",
    },  # public, as the metadata
    "Verdict": {"outcome", "until", "persistent", "ask", "refusal", "judged_risk", "is_changed", "reported"},
}
# Settings have a test of their own (test_settings.py). Provider is public metadata. A Deployment is made of settings.
ELSEWHERE = {"Settings", "Provider", "Deployment"}


def modules() -> Iterator[ModuleType]:
    for package in (kmsi_middleware.vocabulary, kmsi_middleware.flows, kmsi_middleware.rules.oidc):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


RECORDS: dict[str, type] = {
    name: value
    for module in modules()
    for name, value in vars(module).items()
    if inspect.isclass(value) and dataclasses.is_dataclass(value) and value.__module__ == module.__name__
}


def test_every_record_is_listed_and_nothing_else() -> None:
    assert set(RECORDS) - ELSEWHERE == set(SHOWN)
    assert set(RECORDS) >= ELSEWHERE


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_a_record_shows_no_other_field_than_those_listed(name: str) -> None:
    record = RECORDS[name]
    made = record.__new__(record)
    canaries = {item.name: f"{CANARY}-{item.name}-" for item in dataclasses.fields(record)}
    for field, canary in canaries.items():
        object.__setattr__(made, field, canary)
    assert {field for field, canary in canaries.items() if canary in repr(made)} == SHOWN[name]


SITE = Site("https://app.example.com", "", "https://login.example.com", "__Host-kmsi")
SESSION = Session(
    key=CANARY.encode(),
    issuer="https://login.example.com",
    subject="alice",
    claims={"name": CANARY},
    sids=(CANARY,),
    started_at=0,
    renewed_at=0,
    expires_at=1,
    persistent=False,
    decision="answered_no",
    correlation_id="0",
    data=CANARY.encode(),
    sealed=CANARY.encode(),
)
PAIR = (("set-cookie", CANARY),)
REQUEST = Request(
    site=SITE,
    method="GET",
    path="/.auth/callback",
    query=f"code={CANARY}",
    headers={"cookie": CANARY, "authorization": CANARY},
    target=f"/.auth/callback?code={CANARY}",
    body=CANARY.encode(),
)
TOKEN_REQUEST = HttpRequest("POST", "https://login.example.com/token", {"authorization": CANARY}, {"code": CANARY})
REPLY = Reply(200, PAIR, CANARY.encode(), Page("kmsi.html", {"ticket": CANARY}))
REAL: list[Any] = [
    SESSION,
    REQUEST,
    TOKEN_REQUEST,
    HttpResponse(200, {"content-type": "application/json"}, CANARY.encode()),
    REPLY,
    Forward(SESSION, (CANARY,), 1, REPLY),
    ask.CreateSession(SESSION),
    ask.SaveSession(SESSION),
    ask.Fetch(TOKEN_REQUEST),
    ask.AppendSignIn({"userDisplayName": CANARY}),
    Found(SESSION, CANARY, 1, (CANARY,)),
    SignIn("i", {"sub": CANARY}, (CANARY,), 1, {"id_token": CANARY}, "/", "0"),
    Tokens(CANARY, CANARY, CANARY, 1),
    Secrets(CANARY),
]


@pytest.mark.parametrize("record", REAL, ids=lambda record: type(record).__name__)
def test_what_holds_secrets_shows_none_however_it_is_printed(record: Any) -> None:
    assert CANARY in "".join(str(getattr(record, item.name)) for item in dataclasses.fields(record)) or isinstance(
        record, ask.CreateSession | ask.SaveSession | ask.Fetch
    )
    for shown in (repr(record), str(record), f"{record}", repr([record]), "%s" % (record,)):  # noqa: UP031
        assert type(record).__name__ in shown
        assert CANARY not in shown
