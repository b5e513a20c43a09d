"""The pages that a person sees: Jinja2 templates, rendered with the headers that keep them safe.

1. A page is looked for in the app's own folder first (setting ``templates``), then among ours, so that an app
   replaces them one by one. Ours stay reachable as ``kmsi_middleware/<name>``, to be extended.
2. Nothing is trusted: every value is escaped, a missing one is an error, and the Content-Security-Policy
   allows no script and nothing from outside. A style block is allowed by its hash, whoever wrote it; a
   ``style`` attribute is not.
3. Jinja2 is imported with the first page, not with this module: most processes serve requests long before.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

from kmsi_middleware.vocabulary.errors import SettingsError

if TYPE_CHECKING:
    from jinja2 import Environment

_OURS = Path(__file__).parent.parent / "templates"

# Everything visible in ASCII, but for the two characters that end a source list or a policy.
_SOURCE = re.compile(r"[!-+\--:<-~]+")


class PageRenderer:
    """Renders a page by name, as HTML bytes and headers.

    ``templates`` is a folder whose files replace ours of the same name. Raises `SettingsError` where it is no
    folder; what is in it is looked at by `check`.
    """

    def __init__(self, templates: str | os.PathLike[str] | None = None) -> None:
        self._folder: Path | None = None
        if templates is not None:
            value = os.fspath(templates)
            if not value or not Path(value).is_dir():
                raise SettingsError(
                    "templates", value, "there is no such folder; give the path of one, or leave it out"
                )
            # Absolute, so that an app may change its working directory later.
            self._folder = Path(value).absolute()

    def render(
        self,
        name: str,
        context: Mapping[str, object],
        *,
        form_action: Sequence[str] = ("'self'",),
        frame_ancestors: Sequence[str] = ("'none'",),
        frame_src: Sequence[str] = (),
    ) -> tuple[bytes, list[tuple[str, str]]]:
        """Return the page ``name`` (``"kmsi.html"``) as HTML bytes and its headers.

        The three source lists go into the Content-Security-Policy (CSP Level 3, section 2.3.1); an empty one
        allows nothing. A source that could break out of its list raises `ValueError`.
        """
        text = self._environment.get_template(name).render(context)
        # As a browser reads it (HTML, section 13.2.3.5): the hashes are over these newlines.
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        # A name may hold a lone surrogate, which JSON can carry and UTF-8 can't.
        body = text.encode("utf-8", "replace")
        policy = [
            "default-src 'none'",
            _directive("style-src", _style_hashes(body.decode())),
            "img-src data:",
            "base-uri 'none'",
            _directive("form-action", form_action),
            _directive("frame-ancestors", frame_ancestors),
        ]
        if frame_src:
            policy.append(_directive("frame-src", frame_src))
        headers = [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", "; ".join(policy)),
            ("Cache-Control", "no-store"),
            # Not no-referrer: with it, browsers send `Origin: null` with our own forms.
            ("Referrer-Policy", "same-origin"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
        ]
        if tuple(frame_ancestors) in {(), ("'none'",)}:
            headers.append(("X-Frame-Options", "DENY"))
        return body, headers

    def check(self) -> None:
        """Compile every page that the app replaces, and what it extends or includes.

        Called at the start, so that a mistake is not found by the first person who signs in. Raises
        `SettingsError`, also where the folder replaces nothing: then a name in it is misspelt.
        """
        if self._folder is None:
            return
        ours = sorted(path.name for path in _OURS.glob("*.html"))
        pending = [name for name in ours if (self._folder / name).is_file()]
        if not pending:
            raise SettingsError(
                "templates",
                str(self._folder),
                f"nothing in it replaces a page; by name, they are {', '.join(ours)}",
            )
        seen = set(pending)
        while pending:
            for referenced in self._compile(pending.pop()):
                if referenced not in seen:
                    seen.add(referenced)
                    pending.append(referenced)

    def _compile(self, name: str) -> Iterator[str]:
        """Compile one template and give the names that it refers to."""
        from jinja2 import TemplateNotFound, TemplateSyntaxError, meta

        loader = self._environment.loader
        assert loader is not None
        try:
            source, _, _ = loader.get_source(self._environment, name)
            self._environment.get_template(name)
            referenced = set(meta.find_referenced_templates(self._environment.parse(source, name)))
        except TemplateSyntaxError as error:
            raise self._problem(f"{name}, line {error.lineno}: {error.message}") from error
        except TemplateNotFound as error:
            raise self._problem(f"{name} is extended, included or imported, and is not there") from error
        except (OSError, UnicodeDecodeError) as error:
            raise self._problem(f"{name} can't be read as UTF-8 text: {error}") from error
        if name in referenced:
            raise self._problem(f"{name} refers to itself; our page of that name is kmsi_middleware/{name}")
        return iter(sorted(reference for reference in referenced if reference is not None))

    def _problem(self, problem: str) -> SettingsError:
        return SettingsError("templates", str(self._folder), problem)

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined

        ours = FileSystemLoader(_OURS)
        theirs = [FileSystemLoader(self._folder)] if self._folder is not None else []
        return Environment(
            loader=ChoiceLoader([PrefixLoader({"kmsi_middleware": ours}), *theirs, ours]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )


def _directive(name: str, sources: Sequence[str]) -> str:
    """One directive of the policy. No sources: nothing is allowed."""
    for source in sources:
        if not _SOURCE.fullmatch(source):
            raise ValueError(f"{source!r} can't stand in {name}: only printable ASCII can, without blank, ';' or ','")
    return " ".join([name, *(sources or ["'none'"])])


def _style_hashes(html: str) -> list[str]:
    """The hash source of each style block (CSP Level 3, section 6.7.3.3), in order, each once."""
    parser = _StyleBlocks()
    parser.feed(html)
    parser.close()
    digests = (hashlib.sha256(block.encode()).digest() for block in parser.blocks)
    return list(dict.fromkeys(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests))


class _StyleBlocks(HTMLParser):
    """Collects the text of each style element; not what only looks like one, in a comment or in a text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag == "style":
            self.blocks.append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "style":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.blocks[-1] += data
