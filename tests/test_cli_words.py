"""Messages of the core in the words of the command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mde_live_response._cli.words import count, to_option_words

ROOT = Path(__file__).parents[1]
CORE = ROOT / "src"
OTHER_FOLDERS = {"emulator", "python", "redis", "sqlite", "tests"}
"""The emulator's own texts, those for callers of the Python API, and SQL."""

PYTHON_ONLY = (
    # Logged when a program drops its Fleet, and the command line never does.
    "was detached",
    # Keys of a JSON file.
    'maps a file\'s name to its "description"',
    # The command line has no option for these.
    "limits: upload_size is 0",
    "verify=False",
    "the Python API can wait longer: request_timeout",
    "user_agent holds characters",
    # OData.
    "machineTags/any",
    "lastSeen gt now()",
)


def texts() -> Iterator[tuple[str, str]]:
    """Yield the sentences among the literals of the core, with their files."""
    for path in sorted(CORE.rglob("*.rs")):
        parts = path.relative_to(CORE).parts
        if OTHER_FOLDERS & set(parts) or "test" in path.name or path.name == "fuzz.rs":
            continue
        code = re.sub(r"(?m)^\s*//.*$", "", path.read_text().split("#[cfg(test)]")[0])
        for literal in re.findall(r'"((?:[^"\\\n]|\\.|\\\n)*)"', code):
            text = re.sub(r"\\\n\s*", "", literal).replace('\\"', '"')
            if text.count(" ") >= 2 and "form-data" not in text:
                yield path.name, text


def python_names() -> set[str]:
    """Return the names of the Python API that are no English words."""
    tree = ast.parse((ROOT / "python/mde_live_response/__init__.pyi").read_text())
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    names = {function.name for function in functions}
    for function in functions:
        names |= {each.arg for each in (*function.args.args, *function.args.kwonlyargs)}
    return {name for name in names if "_" in name.strip("_")}


def test_no_message_of_the_core_needs_python() -> None:
    names = python_names()
    found = list(texts())
    assert len(found) > 300
    wrong = []
    for file, text in found:
        words = to_option_words(text)
        # `{machine_id}` is filled in.
        plain = re.sub(r"\{[^}]*\}", "", words)
        left = [name for name in re.findall(r"[a-z_]+", plain) if name in names]
        left += re.findall(
            r"\b[a-z]\w*\([^)]*\)|\b\w+=(?=[\s,;.)]|True|False|None)|\bNone\b", plain
        )
        if left and not any(part in words for part in PYTHON_ONLY):
            wrong.append((file, left, words))
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('on_busy="wait" waits', "--on-busy wait waits"),
        ("or replace it with overwrite=True", "or replace it with --overwrite"),
        ("give one with name=", "give one with --name"),
        ("continue it with resume(run_id)", "continue it with the command resume"),
        ('give state="sqlite:///a b.db"', "give --state sqlite:///a b.db"),
        ("Command.run_local or Command.put_local", "--run-local or --put-local"),
        (
            "call again with the same correlation_id: it",
            "call again with the same --correlation-id: it",
        ),
        # Not ours, or English.
        ("docs.rs/x?a=b and osPlatform=1", "docs.rs/x?a=b and osPlatform=1"),
        ("the name and the state of it", "the name and the state of it"),
        ('the key "run_id" of my_run_id.json', 'the key "run_id" of my_run_id.json'),
    ],
)
def test_python_becomes_options(text: str, expected: str) -> None:
    assert to_option_words(text) == expected


def test_one_is_singular() -> None:
    assert [count(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
