"""The site: the tutorial is followed word by word, and the reference has every class."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import mde_live_response as mde
from mde_live_response import errors
from mde_live_response.emulator import Emulator

PAGE = (Path(__file__).parents[1] / "docs/tutorial.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'^```python title="([\w.]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))
RUNS = re.findall(r"^```console\n\$ (python .+?)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_file_is_run() -> None:
    commands = [word for command, _ in RUNS for word in command.split()]
    assert len(FILES) >= 6
    # The playbook is imported by its test.
    assert {name for name in FILES if name not in commands} == {"playbook.py"}


@pytest.mark.parametrize(("command", "shown"), RUNS, ids=[command for command, _ in RUNS])
def test_the_command_prints_what_the_tutorial_shows(
    command: str, shown: str, tmp_path: Path
) -> None:
    for name, code in FILES.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *shlex.split(command)[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # pytest says how long it took.
    assert re.sub(r" in [\d.]+s$", "", done.stdout.strip()) == shown.strip()


@pytest.mark.skipif(os.name != "posix", reason="the page's script is for a POSIX shell")
def test_the_commands_print_what_the_tutorial_shows(tmp_path: Path) -> None:
    """In a shell, with the console script that pip installs."""
    (script,) = re.findall(r'^```sh title="try.sh"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"^\$ sh try.sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    command = tmp_path / "mde-live-response"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m mde_live_response "$@"\n')
    command.chmod(0o700)
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == shown, done.stderr


REFERENCE = "\n".join(
    page.read_text(encoding="utf-8")
    for page in sorted((Path(__file__).parents[1] / "docs/reference").glob("*.md"))
)


@pytest.mark.parametrize("name", [n for n in mde.__all__ if isinstance(getattr(mde, n), type)])
def test_the_reference_has_every_public_class(name: str) -> None:
    module = "mde_live_response"
    # The page of the errors shows the whole module.
    named = {f"::: {module}.{name}"} | (
        {f"::: {module}.errors"} if name in errors.__all__ else set()
    )
    assert named & set(REFERENCE.splitlines())


PAGES = [
    (Path(__file__).parents[1] / "docs" / name).read_text(encoding="utf-8")
    for name in ("logging.md", "notebooks.md", "soar.md")
]
RECIPES = {
    name: code
    for page in PAGES
    for name, code in re.findall(
        r'^```python title="([\w.]+)"\n(.*?)^```$', page, re.MULTILINE | re.DOTALL
    )
}


@pytest.mark.parametrize(
    ("name", "stream", "expected"),
    [
        ("json_logs.py", "stderr", '"level": "INFO", "logger": "mde_live_response"'),
        ("notebook_logs.py", "stdout", " is Succeeded\n"),
        ("traces.py", "stdout", '"name": "live_response run"'),
        ("tables.py", "stdout", "ws-0001.example.test"),
        ("two_steps.py", "stdout", "done\n"),
    ],
)
def test_the_recipe_runs(
    name: str, stream: str, expected: str, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.on_script("triage.ps1", stdout="done")
    (tmp_path / name).write_text(RECIPES[name], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", name],
        cwd=tmp_path,
        env={**os.environ, **emulator.env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert expected in getattr(done, stream)
    if name == "json_logs.py":
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert any(line["message"].endswith("is Succeeded") for line in lines)


def test_the_recipe_of_a_token_cache_is_accepted(emulator: Emulator) -> None:
    # azure-identity takes no login host without TLS. The recipe makes no request.
    env = {**os.environ, **emulator.env}
    del env["AZURE_AUTHORITY_HOST"]
    code = RECIPES["token_cache.py"]
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=env, timeout=120, check=True)


def test_every_recipe_is_run() -> None:
    assert set(RECIPES) == {
        "json_logs.py",
        "notebook_logs.py",
        "tables.py",
        "token_cache.py",
        "traces.py",
        "two_steps.py",
    }
