"""The tools that build and check a release: what they refuse, and that no target is forgotten."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
WORKFLOWS = ROOT / ".github/workflows"


@pytest.fixture(scope="module")
def tools() -> Iterator[dict[str, Any]]:
    """The tools as modules. They are scripts, which import each other by name."""
    folders = [str(ROOT / "tools" / name) for name in ("wheels", "supply")]
    sys.path[:0] = folders
    names = ("matrix", "smoke", "release", "supply")
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        for folder in folders:
            sys.path.remove(folder)
        for name in names:
            del sys.modules[name]


def test_each_wheel_is_built_by_the_release(tools: dict[str, Any]) -> None:
    release = (WORKFLOWS / "release.yml").read_text(encoding="utf-8")
    elsewhere = re.findall(r"system: [\w-]+, target: ([\w-]+)", release)
    wheels = tools["matrix"].WHEELS
    assert sorted(elsewhere) == sorted(wheel.target for wheel in wheels if not wheel.here)
    added = re.findall(r"rustup target add (.*)", release)[0].split()
    here = {wheel.target for wheel in wheels if wheel.here}
    assert {*added, "x86_64-unknown-linux-gnu"} == here


def test_the_page_has_a_row_for_each_wheel(tools: dict[str, Any]) -> None:
    page = (ROOT / "docs/platforms.md").read_text(encoding="utf-8")
    for wheel in tools["matrix"].WHEELS:
        assert f"| {wheel.system} | `{wheel.tag}` |" in page


def test_the_tests_run_on_the_oldest_python_that_is_allowed(tools: dict[str, Any]) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (oldest,) = re.findall(r'^requires-python = ">=(.+)"$', project, re.MULTILINE)
    assert tools["matrix"].PYTHONS[0] == oldest
    assert f'python: ["{oldest}", ' in (WORKFLOWS / "ci.yml").read_text(encoding="utf-8")


GOOD = {
    f"mde_live_response-1.0.dist-info/{name}": b""
    for name in (
        "METADATA",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "entry_points.txt",
        "a.cyclonedx.json",
    )
} | {
    f"mde_live_response/{name}": b"SECRET = None"
    for name in ("__init__.pyi", "_native.pyi", "py.typed", "_native.abi3.so")
}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("mde_live_response/_cli.py", b"", ""),
        ("mde_live_response/test_a.py", b"", "does not belong there"),
        ("tests/a.py", b"", "does not belong there"),
        ("mde_live_response/client.pem", b"", "does not belong there"),
        ("mde_live_response/a.py", b"x = '" + b"eyJhbGciOi" + b"J" * 40 + b".e'", "has a secret"),
        ("mde_live_response/a.py", b"https://a.test/b?sig=" + b"a" * 43, "has a secret"),
        ("mde_live_response/a.py", b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 64, "has a secret"),
        ("mde_live_response/a.py", b"-----BEGIN PRIVATE KEY-----", ""),
        ("mde_live_response/py.typed", None, "py.typed is missing"),
    ],
)
def test_what_a_wheel_may_have(
    tools: dict[str, Any], tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    release = tools["release"]
    files = {**GOOD, name: content} if content is not None else dict(GOOD)
    if content is None:
        del files[name]
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"")
    if not problem:
        release.check_archive(wheel, release.IN_WHEEL, release.WHEEL_PLACES, files)
        return
    with pytest.raises(SystemExit, match=problem):
        release.check_archive(wheel, release.IN_WHEEL, release.WHEEL_PLACES, files)


def test_the_versions_agree(tools: dict[str, Any]) -> None:
    stated = tools["release"].versions()
    assert len(stated) == 3
    assert len(set(stated.values())) == 1, stated


@pytest.mark.parametrize(
    ("dependencies", "code", "asked"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], 0, True),
        ([{"name": "a", "version": "1", "vulns": [{"id": "X-1"}]}], 1, True),
        ([{"name": "a", "skip_reason": "not found"}], 0, False),
        (
            [{"name": "a", "skip_reason": "no"}, {"name": "b", "version": "1", "vulns": [{}]}],
            1,
            True,
        ),
    ],
)
def test_what_an_audit_says(
    tools: dict[str, Any], dependencies: list[dict[str, Any]], code: int, asked: bool
) -> None:
    supply = tools["supply"]
    output = "a line of progress\n" + json.dumps({"dependencies": dependencies, "fixes": []})
    done, answered = supply.read_audit(supply.Done(0, output))
    assert (done.code, answered) == (code, asked)


def test_an_audit_without_an_answer(tools: dict[str, Any]) -> None:
    supply = tools["supply"]
    done, asked = supply.read_audit(supply.Done(1, "ConnectionError: no route\n"))
    assert not asked
    assert supply.report("packages", done, asked)
