"""Count the lines of the examples, and write the counts into `docs/by-hand.md` and `docs/soar.md`.

A line counts if it has code: blank lines, comments and docstrings do not count.
`python tools/example_lines.py` updates the pages; with `--check` it ends with 1 if a page is not up
to date.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
BY_HAND = EXAMPLES / "as_written_today"
SOAR = EXAMPLES / "soar"
BEGIN, END = "<!-- tools/example_lines.py writes this table -->\n", "<!-- end of the table -->\n"

# The lines that the published content of a platform has for the same job. `docs/soar.md` says
# which functions these are, and where they are published.
PUBLISHED = {"xsoar_command.py": 127, "splunk_connector.py": 122, "fastapi_step.py": 202}

NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def count_lines(text: str) -> int:
    """Return how many lines of a Python file have code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return len(lines)


def count_file(path: Path) -> int:
    return count_lines(path.read_text(encoding="utf-8"))


def by_hand_table() -> str:
    """Return the table of `docs/by-hand.md`."""
    rows = ["| example | lines by hand | lines with this package |", "|---|---|---|"]
    for by_hand in sorted(BY_HAND.glob("*.py")):
        counts = count_file(by_hand), count_file(EXAMPLES / by_hand.name)
        rows.append(f"| `{by_hand.name}` | {counts[0]} | {counts[1]} |")
    return "\n".join(rows) + "\n"


def soar_table() -> str:
    """Return the table of `docs/soar.md`."""
    rows = ["| example | lines | lines of the published content | share |", "|---|---|---|---|"]
    for path in sorted(SOAR.rglob("*.py")):
        lines, published = count_file(path), PUBLISHED.get(path.name)
        share = f"{published} | {lines / published:.0%}" if published else "none found |"
        rows.append(f"| `{path.relative_to(SOAR)}` | {lines} | {share} |")
    return "\n".join(rows) + "\n"


TABLES = {ROOT / "docs/by-hand.md": by_hand_table, ROOT / "docs/soar.md": soar_table}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args()
    status = 0
    for path, table in TABLES.items():
        page = path.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        after = rest.split(END)[1]
        new = f"{before}{BEGIN}{table()}{END}{after}"
        if new == page:
            continue
        if options.check:
            print(f"{path} is not up to date: run tools/example_lines.py", file=sys.stderr)
            status = 1
        else:
            path.write_text(new, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
