"""From the policy files of one relying party to the user flow that they describe.

1. One file has the relying party. The others are those that it builds on, extension and base: of a page or a technical
   profile that several files have, what the nearest file says holds, as in B2C.
2. What the relying party does not say is B2C's default, and is written down, so that no setting of the app's slips in.
3. B2C's own “Keep me signed in” needs two things beside ``KeepAliveInDays``: ``setting.enableRememberMe``, and its page
   ``unifiedssp`` of version 1.1.0 or above. A page that is too old is refused.
4. Single sign-out needs session management at every token issuer. Where that is not in the files, it is not known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from ...vocabulary.errors import SettingsError
from ...vocabulary.records import frozen
from ...vocabulary.user_flows import NEVER_KEPT, Kind, UserFlows, read_user_flows
from .elements import PolicyFileError
from .policy import Behaviors, PolicyFile, Said, TechnicalProfile

DEFAULT = "B2C’s default"
FIRST_WITH_KMSI = (1, 1, 0)
_HOSTS = {"com": "b2clogin.com", "cn": "b2clogin.cn", "us": "b2clogin.us"}
_JOURNEYS: tuple[tuple[str, Kind], ...] = (
    (r"sign-?up.*sign-?in", "sign_up_and_sign_in"),
    (r"profile-?edit|edit-?profile", "profile_editing"),
    (r"password-?reset|reset-?password|forgot-?password", "password_reset"),
    (r"sign-?in", "sign_in"),
    (r"sign-?up", "sign_up"),
)
"""What the starter pack's and the documentation's user journeys are called."""


@frozen
class Setting:
    """A property of the user flow, and where it comes from."""

    name: str
    value: Any
    source: str


@frozen
class Imported:
    """What follows from the files."""

    name: str
    """The policy; ``""`` for a fragment that names none."""
    settings: tuple[Setting, ...]
    """Properties of the user flow: none where there is no relying party."""
    findings: tuple[str, ...]
    """What else the files say of sessions, and what they leave open."""
    notes: tuple[str, ...]
    """What has no meaning here, by path and line."""
    single_sign_out: bool | None
    """Whether B2C tells the other apps of a sign-out; ``None``: the files don't say."""

    @property
    def properties(self) -> dict[str, Any]:
        return {setting.name: setting.value for setting in self.settings}

    def user_flows(self) -> UserFlows:
        """The setting ``user_flows``, with this one flow in it. Raises :class:`SettingsError` where that takes more
        than the files say."""
        if not self.name:
            raise SettingsError("user_flows", None, "these files do not name their policy: give the relying party's")
        return read_user_flows({self.name: self.properties}, whole=False)


def imported(files: Sequence[PolicyFile], *, kind: Kind | None = None, authority: str | None = None) -> Imported:
    """The user flow of some files. ``kind`` and ``authority`` stand for what the files tell of them.

    Raises :class:`PolicyFileError`.
    """
    parties = [file for file in files if file.behaviors is not None]
    if len(parties) > 1:
        problem = f"{parties[0].file} has a relying party already: each has a user flow of its own"
        raise PolicyFileError(parties[1].file, 1, "RelyingParty", problem)
    near = _by_distance(files, parties)
    profiles = _profiles(near)
    pages = {name: page for file in reversed(near) for name, page in file.pages.items()}
    asks, open_questions = _asks(profiles, pages)
    out, signing_out = _single_sign_out(profiles)
    settings: tuple[Setting, ...] = ()
    findings = [*open_questions, *signing_out]
    if parties:
        settings, more = _settings(parties[0], kind, authority)
        findings = [*more, *_kmsi(settings, asks), *findings, *_missing(near)]
        if out:
            settings += (Setting("single_sign_out", True, "UseTechnicalProfileForSessionManagement"),)
    many = len(files) > 1
    return Imported(
        name=(parties[0].policy or "") if parties else "",
        settings=settings,
        findings=tuple(findings),
        notes=tuple(f"{file.file}: {note}" if many else note for file in files for note in file.notes),
        single_sign_out=out,
    )


# The files -----------------------------------------------------------------------------------------------


def _by_distance(files: Sequence[PolicyFile], parties: Sequence[PolicyFile]) -> list[PolicyFile]:
    """The relying party's file, what it builds on, what that builds on; then the others, as given."""
    named = {file.policy: file for file in files if file.policy is not None}
    found = list(parties)
    while found and found[-1].base in named and named[found[-1].base] not in found:
        found.append(named[found[-1].base])
    return found + [file for file in files if file not in found]


def _missing(near: Sequence[PolicyFile]) -> list[str]:
    names = {file.policy for file in near}
    wanted = [file.base for file in near if file.base is not None and file.base not in names]
    return [f"it builds on {name}, which is not among the files" for name in wanted]


def _profiles(near: Sequence[PolicyFile]) -> dict[str, TechnicalProfile]:
    """Rule 1."""
    found: dict[str, TechnicalProfile] = {}
    for file in near:
        for name, profile in file.profiles.items():
            nearer = found.get(name)
            found[name] = profile if nearer is None else _over(nearer, profile)
    return found


def _over(nearer: TechnicalProfile, base: TechnicalProfile) -> TechnicalProfile:
    return replace(
        base,
        remember_me=nearer.remember_me or base.remember_me,
        protocol=nearer.protocol or base.protocol,
        issues_tokens=nearer.issues_tokens or base.issues_tokens,
        manages=nearer.manages or base.manages,
        manager=nearer.manager or base.manager,
    )


# The user flow -------------------------------------------------------------------------------------------


def _settings(party: PolicyFile, kind: Kind | None, authority: str | None) -> tuple[tuple[Setting, ...], list[str]]:
    behaviors = party.behaviors or Behaviors()
    found: list[Setting] = []
    open_questions: list[str] = []
    address = _address(party)
    if authority is not None:
        found.append(Setting("authority", authority, "given"))
    elif address is not None:
        found.append(Setting("authority", address, "TenantId and PolicyId"))
    elif party.policy is not None:
        open_questions.append(f"the tenant {party.tenant} has no address at b2clogin.com: give the authority")
    journey = party.journey
    told = _kind(journey.value) if journey is not None else None
    if kind is not None:
        found.append(Setting("kind", kind, "given"))
    elif journey is not None and told is not None:
        found.append(Setting("kind", told, f"{journey.place} {journey.value}"))
    else:
        place = f" ({journey.place} {journey.value})" if journey is not None else ""
        open_questions.append(f"the kind is not known{place}: give one of {', '.join(get_args(Kind))}")
    kind = kind or told
    keep = behaviors.keep_alive_in_days
    if kind in NEVER_KEPT and keep is not None and keep.value:
        raise keep.element.error(f"KeepAliveInDays {keep.value}: B2C keeps nobody signed in by a {kind} flow: give 0")
    seconds, scope = behaviors.session_expiry_in_seconds, behaviors.scope
    minutes = seconds.value // 60 if seconds is not None else 1_440
    if seconds is not None and seconds.value % 60:
        open_questions.append(f"{seconds.place} {seconds.value}: no whole minutes, so {minutes}, the shorter")
    if scope is not None and scope.value == "TrustFramework":
        open_questions.append(f"{scope.place} TrustFramework: read as tenant, which all policies here belong to")
    found += [
        _setting("session_lifetime_minutes", seconds, minutes),
        _setting("session_expiry", behaviors.session_expiry_type, _lower(behaviors.session_expiry_type, "rolling")),
        _setting("keep_me_signed_in_days", keep, keep.value if keep is not None else 0),
        _setting("single_sign_on", scope, _lower(scope, "tenant").replace("trustframework", "tenant")),
        _setting(
            "require_id_token_on_logout",
            behaviors.enforce_id_token_hint,
            behaviors.enforce_id_token_hint is not None and behaviors.enforce_id_token_hint.value,
        ),
    ]
    return tuple(found), open_questions


def _setting(name: str, said: Said[Any] | None, value: Any) -> Setting:
    return Setting(name, value, DEFAULT if said is None else said.place)


def _lower(said: Said[str] | None, default: str) -> str:
    return default if said is None else said.value.lower()


def _address(party: PolicyFile) -> str | None:
    """Where B2C serves a policy's metadata, unless the tenant has a domain of its own."""
    found = re.fullmatch(r"([a-z0-9-]+)\.onmicrosoft\.(com|cn|us)", (party.tenant or "").lower())
    if found is None or party.policy is None:
        return None
    return f"https://{found[1]}.{_HOSTS[found[2]]}/{found[0]}/{party.policy}/v2.0"


def _kind(journey: str) -> Kind | None:
    return next((kind for pattern, kind in _JOURNEYS if re.search(pattern, journey, re.IGNORECASE)), None)


# What KMSI and single sign-out need beside it --------------------------------------------------------------


def _asks(
    profiles: Mapping[str, TechnicalProfile], pages: Mapping[str, Said[tuple[int, ...]]]
) -> tuple[bool | None, list[str]]:
    """Whether B2C asks on its own page (rule 3)."""
    said = [profile.remember_me for profile in profiles.values() if profile.remember_me is not None]
    on = [item for item in said if item.value]
    findings = []
    for name, page in pages.items():
        able = "can" if page.value >= FIRST_WITH_KMSI else "can’t"
        version = ".".join(map(str, page.value))
        findings.append(
            f"{page.element.place}: {name} is unifiedssp {version}, which {able} ask to keep people signed in"
        )
    if on and pages and all(page.value < FIRST_WITH_KMSI for page in pages.values()):
        old = next(iter(pages.values()))
        problem = f"setting.enableRememberMe ({on[0].element.place}) needs unifiedssp 1.1.0 or above"
        raise old.element.error(problem)
    if on:
        version = "" if pages else ", if that is unifiedssp 1.1.0 or above, which these files don’t tell"
        findings.append(f"{on[0].element.place}: setting.enableRememberMe: B2C asks on its own page{version}")
    elif said:
        findings.append(f"{said[0].element.place}: setting.enableRememberMe is off: B2C does not ask on its own page")
    return (bool(on) if said else None), findings


def _kmsi(settings: Sequence[Setting], asks: bool | None) -> list[str]:
    days = next(setting.value for setting in settings if setting.name == "keep_me_signed_in_days")
    if days and asks:
        return ["so that nobody is asked twice, set kmsi_asked_by to idp"]
    if days and asks is None:
        return ["whether B2C asks on its own page (setting.enableRememberMe) is not in these files"]
    if not days and asks:
        return ["KeepAliveInDays is 0 or not there, so B2C keeps nobody signed in, though it asks"]
    return []


def _single_sign_out(profiles: Mapping[str, TechnicalProfile]) -> tuple[bool | None, list[str]]:
    """Rule 4."""
    issuers = {name: profile for name, profile in profiles.items() if profile.issues_tokens}
    answers: list[bool | None] = []
    findings = []
    for name, issuer in issuers.items():
        place = f"{issuer.element.place}: single sign-out from {name}"
        manager = profiles.get(issuer.manager or "")
        if issuer.protocol is None or issuer.manager is None:
            answers.append(False)
            what = "protocol" if issuer.protocol is None else "UseTechnicalProfileForSessionManagement"
            findings.append(f"{place}: no, because it has no {what}")
        elif manager is None:
            answers.append(None)
            findings.append(f"{place}: not known, because {issuer.manager} is not in these files")
        elif not manager.manages:
            answers.append(False)
            findings.append(f"{place}: no, because {issuer.manager} does not know which apps a session reached")
        else:
            answers.append(True)
            findings.append(f"{place}: yes, by {issuer.manager}")
    if not answers:
        return None, []
    return (False if False in answers else None if None in answers else True), findings
