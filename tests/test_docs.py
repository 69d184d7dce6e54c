"""Docstrings: everything public has one, and the stub has those of the built module."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mde_live_response as mde
from mde_live_response import errors

ROOT = Path(__file__).parent.parent
Function = ast.FunctionDef | ast.AsyncFunctionDef
STUB = ast.parse(Path(mde.__file__).with_name("__init__.pyi").read_text(encoding="utf-8"))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}


def members() -> Iterator[tuple[str, str]]:
    for cls, node in CLASSES.items():
        for member in node.body:
            if isinstance(member, Function) and not member.name.startswith("_"):
                yield cls, member.name


MEMBERS = dict.fromkeys(members())


def stub_doc(cls: str, member: str) -> str | None:
    found = [
        node for node in CLASSES[cls].body if isinstance(node, Function) and node.name == member
    ]
    return ast.get_docstring(found[0])


def test_the_stub_declares_what_the_package_exports() -> None:
    names = [
        node
        for node in STUB.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    exported = ast.literal_eval(names[0].value)
    assert exported == mde.__all__
    assert set(CLASSES) <= set(exported)


def test_the_stub_has_the_docstrings_of_the_built_module() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/stub_docs.py"), "--check"],
        env={**os.environ, "PYTHONPATH": str(Path(mde.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("cls", CLASSES)
def test_a_class_has_a_docstring(cls: str) -> None:
    assert ast.get_docstring(CLASSES[cls])


@pytest.mark.parametrize(("cls", "member"), MEMBERS, ids=".".join)
def test_a_member_has_a_docstring(cls: str, member: str) -> None:
    assert stub_doc(cls, member)


@pytest.mark.parametrize("name", errors.__all__)
def test_an_error(name: str) -> None:
    assert vars(getattr(mde, name))["__doc__"]


@pytest.mark.parametrize("cls", CLASSES)
def test_the_runtime_has_no_member_missing_from_the_stub(cls: str) -> None:
    runtime: Any = getattr(mde, cls)
    assert {name for name in vars(runtime) if not name.startswith("_")} == {
        member for owner, member in MEMBERS if owner == cls
    }
