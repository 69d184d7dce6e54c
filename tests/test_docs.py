"""Every docstring that a user can read: the stub's is the run time's, and there is one for everything public."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mde_live_response as mde
from mde_live_response import errors

STUB = ast.parse(Path(mde.__file__).with_name("__init__.pyi").read_text(encoding="utf-8"))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}


def members() -> Iterator[tuple[str, str]]:
    for cls, node in CLASSES.items():
        for member in node.body:
            if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                yield cls, member.name


MEMBERS = dict.fromkeys(members())


def stub_doc(cls: str, member: str) -> str | None:
    found = [
        node
        for node in CLASSES[cls].body
        if isinstance(node, ast.FunctionDef) and node.name == member
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


@pytest.mark.parametrize("cls", CLASSES)
def test_a_class(cls: str) -> None:
    expected = ast.get_docstring(CLASSES[cls])
    assert expected
    assert inspect.getdoc(getattr(mde, cls)) == expected


@pytest.mark.parametrize(("cls", "member"), MEMBERS, ids=".".join)
def test_a_member(cls: str, member: str) -> None:
    expected = stub_doc(cls, member)
    assert expected
    assert inspect.getdoc(getattr(getattr(mde, cls), member)) == expected


@pytest.mark.parametrize(
    ("cls", "member"),
    [pair for pair in MEMBERS if pair[1].endswith("_async")],
    ids=lambda name: str(name),
)
def test_twins_say_the_same(cls: str, member: str) -> None:
    assert stub_doc(cls, member) == stub_doc(cls, member.removesuffix("_async"))


@pytest.mark.parametrize("name", errors.__all__)
def test_an_error(name: str) -> None:
    assert vars(getattr(mde, name))["__doc__"]


@pytest.mark.parametrize("cls", CLASSES)
def test_the_runtime_has_no_member_missing_from_the_stub(cls: str) -> None:
    runtime: Any = getattr(mde, cls)
    assert {name for name in vars(runtime) if not name.startswith("_")} == {
        member for owner, member in MEMBERS if owner == cls
    }
