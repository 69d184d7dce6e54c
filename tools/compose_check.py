"""Check compose files against their specification: `python tools/compose_check.py FILE...`."""

from __future__ import annotations

import sys
from pathlib import Path

from compose_spec import PyCompose


def main(paths: list[str]) -> int:
    """Print what is wrong with each file, and return 1 if anything is."""
    failed = 0
    for path in paths:
        try:
            PyCompose.from_yaml(Path(path).read_text(encoding="utf-8")).validate()
        except (OSError, TypeError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
