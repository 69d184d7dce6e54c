"""Which folders `library.sync` refuses, and which of their files it uploads."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from runtime_helpers import library_names, requests_of

from mde_live_response import InvalidRequestError, LiveResponseClient, PermissionDeniedError
from mde_live_response.__main__ import main
from mde_live_response.emulator import Emulator


def test_hidden_files_subfolders_and_settings_are_skipped(
    client: LiveResponseClient, folder: Path
) -> None:
    (folder / ".gitignore").write_text("*~")
    (folder / "tests").mkdir()
    (folder / "tests" / "b.sh").write_text("id")
    (folder / "empty.sh").touch()
    (folder / "a b.md").touch()
    (folder / "mde-library.json").write_text('{"ignore": ["a b.md"]}')
    assert client.library.sync(folder).add == ("a.sh", "empty.sh")
    assert library_names(client) == ["a.sh", "empty.sh"]


def test_a_link_is_followed_inside_the_folder(client: LiveResponseClient, folder: Path) -> None:
    # As Kubernetes mounts a ConfigMap.
    (folder / "..2026").mkdir()
    (folder / "..2026" / "b.sh").write_text("ls")
    (folder / "..data").symlink_to("..2026")
    (folder / "b.sh").symlink_to("..data/b.sh")
    assert client.library.sync(folder).add == ("a.sh", "b.sh")
    current = folder.parent / "current"
    current.symlink_to(folder)
    (current / "mde-library.json").write_text('{"name": "scripts"}')
    assert client.library.sync(current).leave == ("a.sh", "b.sh")


def link_outside(folder: Path) -> None:
    (folder.parent / "secret").write_text("x")
    (folder / "b.sh").symlink_to("../secret")


def long_file(folder: Path) -> None:
    with (folder / "b.exe").open("wb") as file:
        file.truncate((20 << 20) + 1)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link outside": (link_outside, '"b.sh" is a link to a file outside the folder'),
    "a broken link": (lambda f: (f / "b.sh").symlink_to("no"), '"b.sh" cannot be read'),
    "a pipe": (lambda f: os.mkfifo(f / "b.sh"), '"b.sh" is not a regular file'),
    "a name": (lambda f: (f / "a b.ps1").touch(), '"a b.ps1" is not a valid name'),
    "bytes as a name": (lambda f: os.mknod(os.fsencode(f) + b"/\xff"), "is not a valid name"),
    "capitals": (lambda f: (f / "A.sh").touch(), '"A.sh" and "a.sh" are one name'),
    "a large file": (long_file, "b.exe has 20971521 bytes"),
    "a name in the settings": (
        lambda f: (f / "mde-library.json").write_text('{"files": {"A.sh": {}}}'),
        'mde-library.json names "A.sh"',
    ),
    "settings": (
        lambda f: (f / "mde-library.json").write_text('{"file": {}}'),
        "unknown field `file`",
    ),
    "settings in other capitals": (
        lambda f: (f / "MDE-Library.json").write_text("{}"),
        'the settings are read from "mde-library.json" only',
    ),
    "a pattern": (
        lambda f: (f / "mde-library.json").write_text('{"ignore": ["*.md"]}'),
        '"*.md" under "ignore" is a pattern',
    ),
    "a path": (
        lambda f: (f / "mde-library.json").write_text('{"ignore": ["tests/b.sh"]}'),
        '"tests/b.sh" under "ignore" is a path',
    ),
    "a folder of settings": (lambda f: (f / "mde-library.json").mkdir(), "is a folder"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="makes names and files that only Linux has")
@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_is_refused_before_any_request(
    case: str, emulator: Emulator, client: LiveResponseClient, folder: Path
) -> None:
    spoil, message = REFUSED[case]
    spoil(folder)
    for dry_run in (True, False):
        with pytest.raises(InvalidRequestError, match=re.escape(message)) as caught:
            client.library.sync(folder, dry_run=dry_run)
        assert caught.value.hint
    assert not emulator.requests


def test_one_error_names_all_problems(client: LiveResponseClient, folder: Path) -> None:
    for number in range(12):
        (folder / f"{number:02} x").touch()
    with pytest.raises(InvalidRequestError) as caught:
        client.library.sync(folder)
    assert caught.value.message.count("is not a valid name") == 10
    assert caught.value.message.endswith("and 2 more problems")


def test_a_folder_that_is_none(
    emulator: Emulator, client: LiveResponseClient, folder: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        client.library.sync(folder / "missing", delete=True)
    with pytest.raises(NotADirectoryError):
        client.library.sync(folder / "a.sh")
    with pytest.raises(TypeError):
        client.library.sync(None)  # type: ignore[arg-type]
    assert not emulator.requests


def test_a_missing_right_changes_nothing(emulator: Emulator, folder: Path) -> None:
    token = emulator.token_with("Machine.LiveResponse")
    with LiveResponseClient(token, endpoint=emulator.url) as client:
        for dry_run in (True, False):
            with pytest.raises(PermissionDeniedError, match=r"Library\.Manage"):
                client.library.sync(folder, dry_run=dry_run)
    assert not requests_of(emulator, "upload")


@pytest.mark.skipif(sys.platform != "linux", reason="makes a name that Windows does not have")
def test_a_name_with_a_star_is_ignored(client: LiveResponseClient, folder: Path) -> None:
    (folder / "a*.md").touch()
    (folder / "mde-library.json").write_text('{"ignore": ["a*.md", "not there.md"]}')
    assert client.library.sync(folder).add == ("a.sh",)


def test_an_empty_folder_deletes_only_if_it_has_settings(
    emulator: Emulator, client: LiveResponseClient, folder: Path
) -> None:
    client.library.sync(folder)
    (folder / "a.sh").unlink()
    (folder / ".git").mkdir()
    before = len(emulator.requests)
    # As after a checkout or a mount that failed.
    for dry_run in (True, False):
        with pytest.raises(InvalidRequestError, match="no file to upload") as caught:
            client.library.sync(folder, delete=True, dry_run=dry_run)
        assert caught.value.hint
        assert "mde-library.json" in caught.value.hint
    assert len(emulator.requests) == before
    assert client.library.sync(folder).leave == ("a.sh",)
    (folder / "mde-library.json").write_text("{}")
    assert client.library.sync(folder, delete=True).delete == ("a.sh",)
    assert library_names(client) == []


def test_an_empty_path_is_not_the_current_folder(
    emulator: Emulator,
    client: LiveResponseClient,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(InvalidRequestError, match="folder is an empty path"):
        client.library.sync("")
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    # As from an unset variable of a shell.
    assert main(["library", "sync", "", "--delete"]) == 2
    assert not emulator.requests
    assert client.library.sync(".").add == ("a.sh",)


@pytest.mark.skipif(sys.platform == "win32", reason="makes a link")
def test_a_long_name_of_the_folder_needs_settings(client: LiveResponseClient, folder: Path) -> None:
    long = folder.parent / ("x" * 65)
    long.symlink_to(folder)
    with pytest.raises(InvalidRequestError, match="65 characters"):
        client.library.sync(long)
    (folder / "mde-library.json").write_text('{"name": "scripts"}')
    assert client.library.sync(long).add == ("a.sh",)
