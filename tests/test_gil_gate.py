"""The binding runs Python code behind its gate only: see src/python/gil_gate.rs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

BINDING = Path(__file__).parent.parent / "src" / "python"
GATE = "gil_gate.rs"

RUNS_PYTHON = re.compile(
    r"\.(call[01]?|call_method[01]?|import|getattr|hasattr|try_iter|is_truthy|check_signals)\("
    r"|\.str\(\)|PyErr::warn|extract::<PathBuf>"
)
BEHIND_GATE = re.compile(r"\b(enter|attach|detach|call_python|with_python_in_drop)\(")
PASSES_BY = re.compile(r"Python::(try_)?attach\(|\bpy(\(\))?\.detach\(")

AT_IMPORT = "runs when the module is imported, and a process that imports it is not exiting"
EXEMPT = {
    ("client/fork_hooks.rs", "register"): AT_IMPORT,
    ("runtime/lifecycle.rs", "register"): AT_IMPORT,
    ("errors.rs", "from"): "a thread that makes an exception holds the GIL already",
    ("runtime/coroutine.rs", "__traverse__"): "the garbage collector's `call` runs no Python code",
}


def functions() -> Iterator[tuple[str, str, str]]:
    """Yield the file, the name and the text of each function of the binding."""
    for path in sorted(BINDING.rglob("*.rs")):
        if path.name == GATE:
            continue
        text = re.sub(r"//[^\n]*", "", path.read_text())
        for start in re.finditer(r"\bfn (\w+)", text):
            body = text[start.start() : body_end(text, start.end())]
            yield str(path.relative_to(BINDING)), start[1], body


def body_end(text: str, start: int) -> int:
    """Return where the body of a function ends that begins after `start`."""
    depth = 0
    for at in range(text.index("{", start), len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at + 1
    raise AssertionError("unbalanced braces")


def test_a_function_that_runs_python_code_is_behind_the_gate() -> None:
    found = {
        (path, name)
        for path, name, text in functions()
        if RUNS_PYTHON.search(text) and not BEHIND_GATE.search(text)
    }
    found |= {(path, name) for path, name, text in functions() if PASSES_BY.search(text)}
    assert found == set(EXEMPT)
