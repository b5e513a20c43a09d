"""From JSON files to policies. What can't be kept stops the load; what is not known is reported; nothing is ignored
in silence but what :data:`PASSED_OVER` names.

1. A document is a policy, a named location, a list of both, a page of Graph's (``{"value": [...]}``), or
   ``{"policies": ..., "namedLocations": ...}`` with one of these in each.
2. A page that is followed by others (``@odata.nextLink``) is refused: the policies on them would be missing.
3. Disabled policies are read as strictly as the others: they are meant to be switched on.
4. No two policies share an id, nor do two locations. Where a file has no id, the display name is the id.
5. Every location that a policy names is there.
6. A policy without a control is kept and reported. It does nothing; What If says ``emptyPolicy``.

Source: Microsoft Graph, ``conditionalAccessPolicy``, ``namedLocation`` and their List operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast, get_args

from .locations import KNOWN_IDS, is_location, read_location
from .policy import ALL, ALL_TRUSTED, NamedLocation, Policy, PolicySet, State
from .read_conditions import read_conditions
from .read_controls import (
    read_grant,
    read_persistent_browser,
    read_sign_in_frequency,
    refuse_other_session_controls,
)
from .reading import Members, PolicyError

__all__ = ["PASSED_OVER", "STATES", "PolicyError", "load_policies"]

STATES: tuple[State, ...] = get_args(State)
PASSED_OVER = ("createdDateTime", "modifiedDateTime", "templateId", "description")
"""Members of a policy that say nothing about whom it applies to, nor what follows."""

_LISTS = ("policies", "namedLocations")


def load_policies(documents: Sequence[tuple[str, Any]]) -> PolicySet:
    """The policies and named locations of some documents: pairs of a file's name, for messages, and its parsed JSON.

    The order is that of the documents. ``notes`` says what was not known or does nothing, with file and policy.
    Raises :class:`PolicyError` for the first thing that can't be kept, and nothing else.
    """
    notes: list[str] = []
    policies: dict[str, tuple[Policy, Members]] = {}
    locations: dict[str, tuple[NamedLocation, str]] = {}
    for file, document in documents:
        found = 0
        for item, label, is_a_location in _items(file, document, "", notes):
            found += 1
            if is_a_location:
                members = Members(item, notes, file=file, policy=label, kind="named location")
                location = read_location(members)
                if location.id in locations:
                    raise members.refuse(
                        "id", f"{locations[location.id][1]} has a location with this id: leave one out"
                    )
                locations[location.id] = location, file
            else:
                members = Members(item, notes, file=file, policy=label)
                policy = _read_policy(members)
                if policy.id.lower() in policies:
                    other = policies[policy.id.lower()][1].file
                    raise members.refuse(_identity(item), f"{other} has a policy with this id: leave one out")
                policies[policy.id.lower()] = policy, members
        if not found:
            notes.append(f"{file}: holds no policy and no named location")
    named = {identifier: location for identifier, (location, _) in locations.items()}
    for policy, members in policies.values():
        _check_locations(policy, members, named)
    return PolicySet(
        policies=tuple(policy for policy, _ in policies.values()),
        locations=tuple(named.values()),
        notes=tuple(notes),
    )


# What a document holds ----------------------------------------------------------------------------------


def _items(file: str, document: object, path: str, notes: list[str]) -> Iterator[tuple[Mapping[str, Any], str, bool]]:
    """Every policy and location, with a label for messages, and whether it is a location. Rules 1 and 2."""
    if isinstance(document, list):
        for number, item in enumerate(document, start=1):
            yield _item(file, item, f"{path}[{number}]", notes)
        return
    if not isinstance(document, Mapping):
        raise PolicyError(
            file, "", path, document, "give a policy, a list of policies, or an export of Graph's", "file"
        )
    if isinstance(document.get("value"), list):
        page = Members(document, notes, file=file, policy="", kind="file", path=path)
        if page.take("@odata.nextLink") is not None:
            raise page.refuse("@odata.nextLink", "this is not the whole export: put the next pages beside it")
        yield from _items(file, page.take("value"), page.at("value"), notes)
        page.done(binding=False)
        return
    if not path and any(name in document for name in _LISTS):
        whole = Members(document, notes, file=file, policy="", kind="file")
        for name in _LISTS:
            inner = whole.take(name)
            for item, label, is_a_location in _items(file, inner, name, notes) if inner is not None else ():
                if is_a_location and name == "policies":
                    raise whole.refuse(name, f"{label!r} is a named location: put it into namedLocations")
                if not is_a_location and name == "namedLocations":
                    raise whole.refuse(name, f"{label!r} has neither ipRanges nor countriesAndRegions")
                yield item, label, is_a_location
        whole.done(binding=False)
        return
    yield _item(file, document, path, notes)


def _item(file: str, item: object, path: str, notes: list[str]) -> tuple[Mapping[str, Any], str, bool]:
    members = Members(item, notes, file=file, policy="", kind="file", path=path)
    label = path
    for name in ("id", "displayName"):
        value = members.value.get(name)
        if isinstance(value, str) and value.strip():
            label = value
    if is_location(members.value):
        return members.value, label, True
    kind = members.value.get("@odata.type")
    if kind is not None and not str(kind if isinstance(kind, str) else "").endswith("conditionalAccessPolicy"):
        raise PolicyError(file, label, "@odata.type", kind, "this is neither a policy nor a named location")
    return members.value, label, False


def _identity(item: Mapping[str, Any]) -> str:
    """The member that rule 4 takes the id from."""
    return "displayName" if item.get("id") is None else "id"


# One policy ---------------------------------------------------------------------------------------------


def _read_policy(members: Members) -> Policy:
    name = members.text("displayName")
    identifier = members.text("id") or name
    if identifier is None:
        raise members.refuse("displayName", "give a name")
    members.pass_over(*PASSED_OVER)
    members.unsupported(
        {
            "deletedDateTime": "a deleted policy: leave it out of the file",
            "partialEnablementStrategy": "a policy here is for all whom it names, or for none: leave it out",
        }
    )
    state = members.word("state", STATES)
    if state is None:
        raise members.refuse("state", f"give one of {', '.join(STATES)}")
    inner = members.inner("conditions")
    grants, sessions = members.inner("grantControls"), members.inner("sessionControls")
    members.done(binding=False)
    if inner is None:
        raise members.refuse("conditions", "say for whom and for what it is")
    conditions = read_conditions(inner)
    grant = read_grant(grants, conditions)
    frequency, persistent = None, None
    if sessions is not None:
        refuse_other_session_controls(sessions)
        frequency = read_sign_in_frequency(sessions.inner("signInFrequency"))
        persistent = read_persistent_browser(sessions.inner("persistentBrowser"), conditions)
        sessions.done()
    if grant is None and frequency is None and persistent is None:
        members.note(None, "it has no control that is configured, so it does nothing")
    return Policy(
        id=identifier.strip(),
        display_name=name or identifier,
        state=cast("State", state),
        conditions=conditions,
        grant=grant,
        sign_in_frequency=frequency,
        persistent_browser=persistent,
        source=members.file,
    )


def _check_locations(policy: Policy, members: Members, named: Mapping[str, NamedLocation]) -> None:
    """Rule 5."""
    condition = policy.conditions.locations
    if condition is None:
        return
    for name, ids in (("includeLocations", condition.include), ("excludeLocations", condition.exclude)):
        for identifier in ids:
            if identifier in (ALL, ALL_TRUSTED) or identifier in named:
                continue
            problem = "there is no named location with this id: put it beside the policies"
            by_name = [location.id for location in named.values() if location.name.lower() == identifier]
            if identifier in KNOWN_IDS:
                problem = f"Entra's id for {KNOWN_IDS[identifier]}"
            elif by_name:
                problem = f"that is a name: give the id, {by_name[0]}"
            raise PolicyError(
                members.file, members.policy, f"conditions.locations.{name}", identifier, problem, members.kind
            )
