"""docs/security.md: its tests exist, stores have no secret, and what this is built from."""

from __future__ import annotations

import importlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from state_helpers import shared_stores

from mde_live_response import Command
from mde_live_response.emulator import Emulator

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
CONTENT = b"what was collected"


def attackers(page: str) -> Iterator[tuple[str, str]]:
    """Yield the title and the text of each section that has a table with tests."""
    parts = re.split(r"^## (.*)$", page, flags=re.MULTILINE)[1:]
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        if "| test |" in text:
            yield title, text


def is_test(file: str, name: str) -> bool:
    """Return whether a file has a function with this name that a test runner calls."""
    path = ROOT / file
    if not path.is_file():
        return False
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return re.search(rf"^def {name}\(", source, re.MULTILINE) is not None
    # Attributes stand above the function, and a macro may stand between them.
    marked = rf"#\[(?:tokio::)?test[^\n]*\](?:\s*#\[[^\n]*\])*\s*(?:async )?fn {name}\("
    return re.search(marked, source) is not None


def test_each_row_names_tests_that_exist() -> None:
    found = 0
    for title, text in attackers(PAGE):
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        for row in rows[1:]:
            named = re.findall(r"`([\w/]+\.(?:rs|py))::(\w+)`", row.rsplit(" | ", 1)[-1])
            assert named, f"{title}: no test in {row}"
            found += len(named)
            missing = [f"{file}::{name}" for file, name in named if not is_test(file, name)]
            assert not missing, title
    assert found > 60, "the tests are written in a form that this test does not find"


def test_each_attacker_has_what_does_not_hold() -> None:
    sections = dict(attackers(PAGE))
    assert len(sections) >= 6
    for title, text in sections.items():
        _, _, after = text.partition("\nWhat does not hold:\n\n- ")
        assert after, title


@pytest.mark.parametrize(
    ("file", "name", "expected"),
    [
        ("tests/test_security.py", "test_a_name_is_that_of_a_test", True),
        ("tests/test_security.py", "is_test", True),
        ("tests/test_security.py", "test_a_name", False),
        ("tests/none.py", "test_a_name", False),
        ("src/secret.rs", "neither_prints_its_value", True),
        ("src/secret.rs", "expose", False),
        ("src/transfer/file_name.rs", "any_name_becomes_one_safe_component", True),
        ("tests/it/control_tcp.rs", "who_may_use_it", True),
        ("tests/it/control_tcp.rs", "ask", False),
    ],
)
def test_a_name_is_that_of_a_test(file: str, name: str, expected: bool) -> None:
    assert is_test(file, name) is expected


def test_a_store_has_no_secret(tmp_path: Path) -> None:
    """Every byte of a store is searched after a session and a run, while it is open."""
    commands = [Command.run_script("a.ps1", "an-argument"), Command.get_file("C:\\a.txt")]
    with Emulator(machines=3, speed=50) as emulator, shared_stores(tmp_path) as stores:
        emulator.on_script("a.ps1", stdout="the transcript")
        emulator.add_library_file("a.ps1")
        emulator.put_remote_file("*", "C:\\a.txt", CONTENT)
        for kind, address in stores.items():
            with emulator.client(state=address) as client:
                client.run("ws-0001", commands, "why", save_to=tmp_path / kind)
                machines = ["ws-0002", "ws-0003"]
                client.run_many(machines, commands, "why", save_to=tmp_path / kind).report()
                stored = dump(kind, address, tmp_path)
            for kept in (b"an-argument", b"the transcript", b"RunScript"):
                assert kept in stored, f"{kind} is not read as it is written"
            # All tokens begin alike.
            token = emulator.token.partition(".")[0].encode()
            for secret in (token, emulator.client_secret.encode(), b"sig=", b"sig%3D", CONTENT):
                assert secret not in stored, kind


def dump(kind: str, address: str, folder: Path) -> bytes:
    """Return what a store has, as it is kept."""
    if kind == "sqlite":
        return b"".join(path.read_bytes() for path in sorted(folder.glob("state.db*")))
    server: Any = redis.Redis.from_url(address)  # Its commands have no types.
    # A compressed value would hide what is in it.
    server.execute_command("CONFIG", "SET", "rdbcompression", "no")
    keys: list[bytes] = server.execute_command("KEYS", "*")
    return b"".join(key + server.execute_command("DUMP", key) for key in keys)


# What it is built from

# The files that name versions, by the name that Dependabot has for their kind.
KINDS = {
    "cargo": r"Cargo\.toml",
    "pip": r"(?:requirements.*\.txt|pyproject\.toml)",
    "npm": r"package\.json",
    "docker": r"Dockerfile.*",
    "docker-compose": r"compose.*\.ya?ml",
}


def sources() -> Iterator[Path]:
    """Yield the files of the project, without what was built and installed."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name[0] != "." and name not in BUILT]
        yield from (Path(folder) / name for name in files)


BUILT = ("target", "dist", "node_modules", "__pycache__")


def test_dependabot_knows_each_file_that_names_versions() -> None:
    yaml: Any = importlib.import_module("yaml")  # mkdocs brings it.
    config = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text(encoding="utf-8"))
    known: dict[str, set[str]] = defaultdict(set)
    for entry in config["updates"]:
        folders = entry.get("directories") or [entry["directory"]]
        assert known[entry["package-ecosystem"]].isdisjoint(folders), "a folder has two entries"
        known[entry["package-ecosystem"]].update(folders)
    found: dict[str, set[str]] = {"github-actions": {"/"}}
    for path in sources():
        for kind, pattern in KINDS.items():
            if re.fullmatch(pattern, path.name):
                folder = "/" + path.parent.relative_to(ROOT).as_posix()
                found.setdefault(kind, set()).add(folder.replace("/.", "/"))
    assert found == known


def duplicates() -> dict[str, tuple[str, str]]:
    """Return the crates that Cargo.lock has twice: their versions, and who needs the older one."""
    lock = (ROOT / "Cargo.lock").read_text(encoding="utf-8")
    blocks = lock.split("[[package]]\n")[1:]
    versions: dict[str, list[str]] = defaultdict(list)
    needed_by: dict[str, list[str]] = defaultdict(list)
    for block in blocks:
        name, version = re.findall(r'^(?:name|version) = "(.+)"$', block, re.MULTILINE)
        versions[name].append(version)
        # A dependency has its version here if there is another one.
        for dependency in re.findall(r'^ "(\S+ \S+)",$', block, re.MULTILINE):
            needed_by[dependency].append(name)
    found = {}
    for name, double in versions.items():
        if len(double) > 1:
            double.sort(key=lambda version: [int(part) for part in version.split(".")])
            older = needed_by[f"{name} {double[0]}"]
            found[name] = (", ".join(map(compatible, double)), ", ".join(sorted(older)))
    return found


def compatible(version: str) -> str:
    """Return the part of a version that changes with the API."""
    return re.match(r"0\.\d+|\d+", version)[0]  # type: ignore[index]


def test_each_duplicate_crate_is_listed() -> None:
    _, _, section = PAGE.partition("## What it is built from")
    rows = re.findall(r"^\| ([\w-]+) \| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    listed = {name: (versions, older) for name, versions, older, _ in rows if name != "crate"}
    assert listed == duplicates()


def test_each_skipped_duplicate_is_listed_and_has_a_reason() -> None:
    deny = (ROOT / "deny.toml").read_text(encoding="utf-8")
    skipped = re.findall(r'^  \{ crate = "([\w-]+)@([\d.]+)", reason = "\S.*" \},$', deny, re.M)
    assert len(skipped) == deny.count("crate = ")
    found = duplicates()
    assert all(version in found[name][0].split(", ") for name, version in skipped)
