"""Write the docstrings of the built module into its stub, `python/mde_live_response/__init__.pyi`.

The docstrings are written once, in Rust. Editors read them from the stub.
`python tools/stub_docs.py` updates the stub; with `--check` it ends with 1 if the stub is not up to
date.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
from pathlib import Path

import mde_live_response

STUB = Path(__file__).resolve().parent.parent / "python/mde_live_response/__init__.pyi"


Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.ClassDef | Function


def runtime_doc(class_name: str, member: str | None) -> str | None:
    """Return a docstring of the built module; None for a private member and one without."""
    found = getattr(mde_live_response, class_name)
    if member is not None:
        if member.startswith("_"):
            return None
        found = getattr(found, member)
    return inspect.getdoc(found)


def format_docstring(doc: str, indent: str) -> list[str]:
    """Return the lines of a docstring as it stands in the stub."""
    prefix = "r" if "\\" in doc else ""
    first, *rest = doc.split("\n")
    if not rest:
        return [f'{indent}{prefix}"""{first}"""']
    lines = [f"{indent}{line}".rstrip() for line in rest]
    return [f'{indent}{prefix}"""{first}', *lines, f'{indent}"""']


def replace_docstring(lines: list[str], node: Documented, doc: str) -> None:
    """Replace the docstring of a class or function of the stub, or add one."""
    indent = " " * (node.col_offset + 4)
    head = node.body[0]
    start, end = head.lineno - 1, head.end_lineno or head.lineno
    has_docstring = ast.get_docstring(node) is not None
    if isinstance(node, ast.ClassDef) and not has_docstring:
        end = start
    if isinstance(node, Function) and not has_docstring:
        # `def name(self) -> None: ...` becomes `def name(self) -> None:` and a docstring.
        header = lines[start].rpartition(":")[0] + ":"
        lines[start:end] = [header, *format_docstring(doc, indent), ""]
        return
    lines[start:end] = format_docstring(doc, indent)


def update(text: str) -> str:
    """Return the stub's text with the docstrings of the built module."""
    lines = text.splitlines()
    nodes: list[tuple[Documented, str]] = []
    for node in ast.parse(text).body:
        if not isinstance(node, ast.ClassDef):
            continue
        if doc := runtime_doc(node.name, None):
            nodes.append((node, doc))
        for member in node.body:
            if isinstance(member, Function) and (doc := runtime_doc(node.name, member.name)):
                nodes.append((member, doc))
    # From the end, so that line numbers before a replacement stay valid.
    for node, doc in sorted(nodes, key=lambda pair: -pair[0].lineno):
        replace_docstring(lines, node, doc)
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    check = parser.parse_args().check
    text = STUB.read_text(encoding="utf-8")
    updated = update(text)
    if check:
        if updated != text:
            print(f"{STUB} is not up to date: run python tools/stub_docs.py", file=sys.stderr)
        return int(updated != text)
    STUB.write_text(updated, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
