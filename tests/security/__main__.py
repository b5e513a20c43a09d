"""``make security``: write the tables of docs/security.md anew, from the rows and tests that there are."""

from __future__ import annotations

from tests.security.evidence import PAGE, written


def main() -> None:
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
