"""From one policy file, whole or a fragment, to what it says of sessions.

1. A whole file is a ``TrustFrameworkPolicy`` in B2C's namespace. A fragment, as documentation shows them, is one of
   ``FRAGMENTS``, with that namespace or with none.
2. ``UserJourneyBehaviors`` stands in ``RelyingParty`` right after ``DefaultUserJourney``; B2C's schema lets
   ``Endpoints`` stand between.
3. In ``RelyingParty`` and ``UserJourneyBehaviors`` an unknown name is refused: it would silently be the default.
   Everywhere else it is named among the notes, as everything is that has no meaning here.

Sources: Azure AD B2C, "Configure session behavior", ``RelyingParty``; ``TrustFrameworkPolicy_0.3.0.0.xsd``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from .elements import Element, parse
from .policy import Behaviors, PolicyFile, Said, TechnicalProfile
from .reading import Notes, Reading, number, truth, truth_of_item, word

T = TypeVar("T")

NAMESPACE = "http://schemas.microsoft.com/online/cpim/schemas/2013/06"
SCHEMA_VERSION = "0.3.0.0"
SCOPES = ("Tenant", "Application", "Policy", "Suppressed", "TrustFramework")
EXPIRY_TYPES = ("Rolling", "Absolute")
REMEMBER_ME = "setting.enableRememberMe"
PLACE = "it stands in RelyingParty, right after DefaultUserJourney"

_POLICY_PARTS = ("PolicyConstraints", "Contacts", "DocumentReferences", "UserJourneys", "SubJourneys")
_POLICY_ATTRIBUTES = (
    *("TenantObjectId", "PublicPolicyUri", "StateTableName", "DeploymentMode"),
    "UserJourneyRecorderEndpoint",
)
_BEHAVIORS = (
    *("AzureApplicationInsights", "JourneyInsights", "ContentDefinitionParameters", "JourneyFraming"),
    *("ScriptExecution", "OnError"),
)
_MANAGERS = ("OAuthSSOSessionProvider", "SamlSSOSessionProvider")
"""The handlers that know which apps a person is signed in to, and so can tell them of a sign-out."""


def load_policy_file(data: bytes, file: str) -> PolicyFile:
    """Read one file. ``file`` is its name, for messages. Raises :class:`.elements.PolicyFileError`."""
    root = parse(data, file)
    _check_namespace(root)
    _check_place(root)
    return _Loading(root).loaded()


def _check_namespace(root: Element) -> None:
    """Rule 1."""
    wanted = NAMESPACE if root.namespace or root.name == "TrustFrameworkPolicy" else ""
    for element in root.walk():
        if element.namespace != wanted:
            found = f"the namespace {element.namespace[:120]!r}" if element.namespace else "no namespace"
            raise element.error(f"it has {found}: B2C's is {NAMESPACE}")


def _check_place(root: Element) -> None:
    """Rule 2, for one that stands elsewhere altogether."""
    for parent in root.walk():
        for child in parent.children:
            if child.name == "UserJourneyBehaviors" and parent.name != "RelyingParty":
                raise child.error(PLACE)


class _Loading:
    """The load of one file."""

    def __init__(self, root: Element) -> None:
        self._root = root
        self._notes = Notes()
        self._found: dict[str, Any] = {}
        self._pages: dict[str, Said[tuple[int, ...]]] = {}
        self._profiles: dict[str, TechnicalProfile] = {}

    def loaded(self) -> PolicyFile:
        read = {"TrustFrameworkPolicy": self._policy, **self._fragments()}.get(self._root.name)
        if read is None:
            raise self._root.error(f"this is no policy: give a TrustFrameworkPolicy, or {', '.join(FRAGMENTS)}")
        read(Reading(self._root, self._notes))
        return PolicyFile(
            file=self._root.file,
            pages=self._pages,
            profiles=self._profiles,
            notes=self._notes.lines(),
            **self._found,
        )

    def _fragments(self) -> dict[str, Callable[[Reading], None]]:
        readers = (
            *(self._relying_party, self._behaviors, self._building_blocks),
            *(self._claims_providers, self._claims_provider),
        )
        return dict(zip(FRAGMENTS, readers, strict=True))

    def _policy(self, policy: Reading) -> None:
        self._found["policy"] = policy.attribute("PolicyId", required=True)
        self._found["tenant"] = policy.attribute("TenantId", required=True)
        version = policy.attribute("PolicySchemaVersion", required=True)
        if version != SCHEMA_VERSION:
            self._notes.say(f"PolicySchemaVersion {version} is not known here: read as {SCHEMA_VERSION}")
        if (base := policy.one("BasePolicy")) is not None:
            self._found["base"] = self._base(base)
        for name, read in self._fragments().items():
            if name in ("BuildingBlocks", "ClaimsProviders", "RelyingParty") and (part := policy.one(name)) is not None:
                read(part)
        policy.without_meaning(*_POLICY_PARTS)
        policy.attributes_without_meaning(*_POLICY_ATTRIBUTES)
        policy.done()

    def _base(self, base: Reading) -> str:
        policy = base.one("PolicyId")
        tenant = base.one("TenantId")
        base.done()
        if tenant is not None:
            tenant.leaf()
        if policy is None or not policy.leaf():
            raise base.element.error("it needs the PolicyId of the policy that this one builds on")
        return policy.leaf()

    # RelyingParty ---------------------------------------------------------------------------------------

    def _relying_party(self, party: Reading) -> None:
        journey = party.one("DefaultUserJourney")
        if journey is None:
            raise party.element.error("it needs a DefaultUserJourney")
        reference = journey.attribute("ReferenceId", required=True)
        journey.done()
        self._found["journey"] = Said(reference, journey.element)
        behaviors = party.one("UserJourneyBehaviors")
        if behaviors is not None:
            before = party.element.children[: party.element.children.index(behaviors.element)]
            if [child.name for child in before if child.name != "Endpoints"] != ["DefaultUserJourney"]:
                raise behaviors.element.error(PLACE)
            self._behaviors(behaviors)
        else:
            self._found["behaviors"] = Behaviors()
        party.without_meaning("Endpoints", "TechnicalProfile")
        party.done()

    def _behaviors(self, behaviors: Reading) -> None:
        sso = behaviors.one("SingleSignOn")
        scope = keep = enforce = None
        if sso is not None:
            sso.attribute("Scope", required=True)
            scope = _said(sso, "Scope", word(SCOPES))
            keep = _said(sso, "KeepAliveInDays", number(0, 90, "days"))
            enforce = _said(sso, "EnforceIdTokenHintOnLogout", truth)
            sso.done()
        kind = behaviors.one("SessionExpiryType")
        seconds = behaviors.one("SessionExpiryInSeconds")
        self._found["behaviors"] = Behaviors(
            scope=scope,
            keep_alive_in_days=keep,
            enforce_id_token_hint=enforce,
            session_expiry_type=_said_in(kind, word(EXPIRY_TYPES)),
            session_expiry_in_seconds=_said_in(seconds, number(900, 86_400, "seconds")),
        )
        behaviors.without_meaning(*_BEHAVIORS)
        behaviors.done()

    # What KMSI and single sign-out need beside it -------------------------------------------------------

    def _building_blocks(self, blocks: Reading) -> None:
        definitions = blocks.one("ContentDefinitions")
        for definition in definitions.all("ContentDefinition") if definitions is not None else ():
            name = definition.attribute("Id", required=True) or ""
            address = definition.one("DataUri")
            if address is not None and (page := page_of(address.leaf())) is not None:
                if name in self._pages:
                    raise definition.element.error(f"there are two content definitions {name}")
                self._pages[name] = Said(page, address.element)
                definition.rest_without_meaning()
            else:
                self._notes.name(definition.path, definition.element)
        if definitions is not None:
            definitions.rest_without_meaning()
        blocks.rest_without_meaning()

    def _claims_providers(self, providers: Reading) -> None:
        for provider in providers.all("ClaimsProvider"):
            self._claims_provider(provider)
        providers.rest_without_meaning()

    def _claims_provider(self, provider: Reading) -> None:
        profiles = provider.one("TechnicalProfiles")
        for profile in profiles.all("TechnicalProfile") if profiles is not None else ():
            self._technical_profile(profile)
        if profiles is not None:
            profiles.rest_without_meaning()
        provider.rest_without_meaning()

    def _technical_profile(self, profile: Reading) -> None:
        name = profile.attribute("Id", required=True) or ""
        if name in self._profiles:
            raise profile.element.error(f"there are two technical profiles {name}")
        protocol, token = profile.one("Protocol"), profile.one("OutputTokenFormat")
        manager = profile.one("UseTechnicalProfileForSessionManagement")
        metadata = profile.one("Metadata")
        item = _item(metadata, REMEMBER_ME)
        found = self._profiles[name] = TechnicalProfile(
            element=profile.element,
            remember_me=None if item is None else Said(truth_of_item(item.element, item.leaf()), item.element),
            protocol=None if protocol is None else protocol.attribute("Name"),
            issues_tokens=token is not None,
            manages=protocol is not None and _handler(protocol) in _MANAGERS,
            manager=None if manager is None else manager.attribute("ReferenceId", required=True),
        )
        if found.remember_me is None and not found.issues_tokens and not found.manages:
            self._notes.name(profile.path, profile.element)  # as a whole
            return
        if metadata is not None:
            for other in metadata.all("Item"):
                if item is None or other.element is not item.element:
                    self._notes.name(other.path, other.element)
            metadata.rest_without_meaning()
        profile.rest_without_meaning()


FRAGMENTS = ("RelyingParty", "UserJourneyBehaviors", "BuildingBlocks", "ClaimsProviders", "ClaimsProvider")


def page_of(address: str) -> tuple[int, ...] | None:
    """The version of the page on which B2C asks whether to stay signed in; ``None`` for an address of another page.

    ``urn:com:microsoft:aad:b2c:elements:unifiedssp:1.1.0``, newer ones with ``contract:`` before the page's name.
    """
    found = re.fullmatch(
        r"urn:com:microsoft:aad:b2c:elements:(?:contract:)?unifiedssp:([0-9]+(?:\.[0-9]+){2})", address
    )
    return tuple(int(part) for part in found[1].split(".")) if found else None


def _item(metadata: Reading | None, key: str) -> Reading | None:
    """The metadata item of that key."""
    found = None
    for item in metadata.all("Item") if metadata is not None else ():
        if item.attribute("Key", required=True) == key:
            if found is not None:
                raise item.element.error(f"{key} is there twice")
            found = item
    return found


def _handler(protocol: Reading) -> str:
    """The class of ``Handler="Web.TPEngine.SSO.OAuthSSOSessionProvider, Web.TPEngine, Version=…"``."""
    return (protocol.attribute("Handler") or "").partition(",")[0].rpartition(".")[2]


def _said(reading: Reading, attribute: str, read: Callable[[Element, str], T]) -> Said[T] | None:
    text = reading.attribute(attribute)
    return None if text is None else Said(read(reading.element, text), reading.element, attribute)


def _said_in(reading: Reading | None, read: Callable[[Element, str], T]) -> Said[T] | None:
    return None if reading is None else Said(read(reading.element, reading.leaf()), reading.element)
