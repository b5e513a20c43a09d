"""What a test of an attack is made of: a weakened copy, and the attack.

    with weakened("kmsi_middleware.flows.callback._secrets", of_whoever_began_it):
        assert attack(World())
    assert not attack(World())

An attack is one function, the same in both halves, that answers whether the attacker got what they wanted. What is
weakened is one function or constant, so a test names the very defence that the attack breaks on; and an attack that
would fail against anything, because the test is wrong, fails its first half.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

ATTACKS: dict[str, str] = {
    "session fixation": "session_fixation",
    "login CSRF": "login_csrf",
    "code injection": "code_injection",
    "code replay": "code_replay",
    "mix-up": "mix_up",
    "open redirect in all its spellings": "open_redirect",
    "cross-site logout": "cross_site_logout",
    "clickjacking of interrupt and logout": "clickjacking",
    "replay of a ticket": "replay_of_a_ticket",
    "replay of a state": "replay_of_a_state",
    "replay of a logout token": "replay_of_a_logout_token",
    "swapping the interrupt between two browsers": "swapping_the_interrupt",
    "cookie tossing from a sibling subdomain": "cookie_tossing",
    "cross-site WebSocket": "cross_site_websocket",
    "header injection": "header_injection",
    "path confusion between public_paths, the prefix and the app": "path_confusion",
    "spoofed forwarding headers": "spoofed_forwarding_headers",
    "the embedded IdP reached through a reverse proxy": "embedded_idp_through_a_proxy",
    "brute force on tokens": "brute_force_on_tokens",
    "brute force on sid": "brute_force_on_sid",
    "log injection": "log_injection",
    "log filling": "log_filling",
    "timing of comparisons": "timing",
}
"""The attacks, and how the names of their tests begin, after ``test_``."""


@contextmanager
def weakened(defence: str, by: Any) -> Iterator[None]:
    """A copy of the middleware in which one name, given with its module, is something else. The name must exist."""
    with mock.patch(defence, by):
        yield


def always(*_: Any, **__: Any) -> bool:
    """A check that lets everything pass."""
    return True


def never(*_: Any, **__: Any) -> bool:
    """A check that never finds anything."""
    return False


def unchanged(value: Any, *_: Any, **__: Any) -> Any:
    """In place of what makes its first argument harmless."""
    return value


def attack_tests() -> dict[str, ast.FunctionDef]:
    """Every test of this folder, by its name without ``test_``."""
    found: dict[str, ast.FunctionDef] = {}
    for path in sorted(Path(__file__).parent.glob("test_attack_*.py")):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert node.name[5:] not in found, f"{node.name} is there twice"
                found[node.name[5:]] = node
    return found
