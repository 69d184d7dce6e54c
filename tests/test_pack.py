"""Packs of collected files: one zip, checked before and after."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from test_manifest import (
    CONTENTS,
    MACHINES,
    change_byte,
    collect,
    entry,
    first_file,
    grow,
    lines,
    write,
)

from mde_live_response import InvalidRequestError, evidence
from mde_live_response.__main__ import main
from mde_live_response.evidence import pack, verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return collect(tmp_path / "evidence")


def test_a_pack_holds_the_manifest_and_its_files(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "case-42.zip"
    assert main(["pack", str(folder), "--to", str(target), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 1 + MACHINES * len(CONTENTS)
        archive.extractall(unpacked)
    assert verify(unpacked).to_dict() == verify(folder).to_dict()
    again = pack(folder, tmp_path / "again.zip")
    assert again.sha256 == document["sha256"]


def test_the_pack_lies_beside_the_folder_and_replaces_nothing(folder: Path) -> None:
    packed = pack(folder)
    assert packed.path == folder.with_name("evidence.zip").resolve()
    assert packed.path is not None
    before = packed.path.read_bytes()
    with pytest.raises(FileExistsError):
        pack(folder)
    assert packed.path.read_bytes() == before
    assert [path.name for path in folder.parent.iterdir() if path.name.endswith(".part")] == []


@pytest.mark.parametrize(
    ("spoil", "options"),
    [
        (grow, []),
        # Only the check before the zip is made can find these.
        (lambda folder: (folder / "new.txt").write_bytes(b""), []),
        (lambda _: None, ["--last", "0" * 64]),
    ],
    ids=["changed", "not listed", "cut"],
)
def test_a_folder_with_problems_is_not_packed(
    spoil: Callable[[Path], object],
    options: list[str],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(folder)
    assert main(["pack", str(folder), *options]) == 1
    assert "nothing was packed" in capsys.readouterr().out
    assert list(folder.parent.glob("*.zip")) == []


def test_a_file_that_changes_while_it_is_packed_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The check before the zip is made sees the folder as it was.
    found = evidence._inspect(folder, None, None)
    monkeypatch.setattr(evidence, "_inspect", lambda *_: found)
    change_byte(folder)
    packed = pack(folder)
    assert packed.path is None
    assert "changed while it was packed" in packed.verification.problems[0]
    assert list(folder.parent.glob("*.zip*")) == []


def test_a_run_that_goes_on_while_its_folder_is_packed_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = evidence._inspect(folder, None, None)
    monkeypatch.setattr(evidence, "_inspect", lambda *_: found)
    previous = hashlib.sha256(lines(folder)[-1].rstrip("\n").encode()).hexdigest()
    later = entry(folder, path="late", previous=previous).decode()
    write(folder, [*lines(folder), later + "\n"])
    packed = pack(folder)
    assert packed.path is None
    assert "manifest.jsonl changed while it was packed" in packed.verification.problems[0]


def test_a_zip_inside_the_folder_is_refused(folder: Path) -> None:
    for target in (folder / "a.zip", first_file(folder).parent / "a.zip"):
        with pytest.raises(InvalidRequestError, match="inside the folder"):
            pack(folder, target)
    assert verify(folder).ok


def test_a_folder_is_packed_where_there_are_no_links(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    packed = pack(folder)
    assert packed.path is not None
    assert packed.sha256 == hashlib.sha256(packed.path.read_bytes()).hexdigest()
    assert {path.name for path in folder.parent.iterdir()} == {"evidence", "evidence.zip"}
    with pytest.raises(FileExistsError):
        pack(folder)


def test_a_pack_writes_through_no_link(folder: Path) -> None:
    victim = folder.parent / "victim"
    victim.write_bytes(b"precious")
    (folder.parent / ".evidence.zip.part").symlink_to(victim)
    assert pack(folder).path is not None
    assert victim.read_bytes() == b"precious"


def test_a_file_over_two_gigabytes_is_packed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What `zipfile` takes as the most that a short entry may have.
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    packed = pack(folder)
    assert packed.path is not None
