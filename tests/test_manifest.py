"""The manifest of collected files, and the command that checks it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mde_live_response import Command
from mde_live_response.__main__ import main
from mde_live_response.emulator import Emulator
from mde_live_response.evidence import verify

MACHINES = 4
CONTENTS = {"C:\\a.txt": b"first", "C:\\b.log": b"second " * 1000}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return collect(tmp_path / "evidence")


def collect(folder: Path) -> Path:
    """Collect files from all machines into the folder."""
    with Emulator(machines=MACHINES, speed=200) as emulator, emulator.client() as client:
        for path, content in CONTENTS.items():
            emulator.put_remote_file("*", path, content)
        names = [f"ws-{number:04}" for number in range(1, MACHINES + 1)]
        fleet = client.run_many(
            names, [Command.get_file(path) for path in CONTENTS], "why", save_to=folder, run_id="r7"
        )
        assert all(outcome.ok for outcome in fleet)
    return folder


def lines(folder: Path) -> list[str]:
    return (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)


def write(folder: Path, text: list[str]) -> None:
    (folder / "manifest.jsonl").write_text("".join(text), encoding="utf-8")


def check(folder: Path, *options: str) -> int:
    return main(["verify", str(folder), *options])


def test_each_file_has_its_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries: list[dict[str, Any]] = [json.loads(line) for line in lines(folder)]
    assert len(entries) == MACHINES * len(CONTENTS)
    for entry in entries:
        content = CONTENTS[entry["remote_path"]]
        path = folder / entry["path"]
        assert path.read_bytes() == content
        assert path.parent.name == f"{entry['machine']}_{entry['action_id']}"
        assert path.name == f"{entry['command']}_{entry['remote_path'].rpartition(chr(92))[2]}"
        assert (entry["run_id"], entry["size"]) == ("r7", len(content))
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["received_sha256"] != entry["sha256"]
        assert entry["start_time"] <= entry["end_time"]
        assert entry["saved_time"]
    assert check(folder) == 0
    last = hashlib.sha256(lines(folder)[-1].rstrip("\n").encode()).hexdigest()
    assert capsys.readouterr().out == f"8 files, nothing wrong; the last line's SHA-256: {last}\n"
    assert check(folder, "--last", last.upper()) == 0


def first_file(folder: Path) -> Path:
    return folder / str(json.loads(lines(folder)[0])["path"])


def change_byte(folder: Path) -> None:
    path = first_file(folder)
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def grow(folder: Path) -> None:
    with first_file(folder).open("ab") as file:
        file.write(b"more")


def become_link(folder: Path) -> None:
    path = first_file(folder)
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")


def forge(folder: Path) -> None:
    """Change the file and its own line, so that they agree with each other."""
    path, all_lines = first_file(folder), lines(folder)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    content = path.read_bytes()[:-1] + b"!"
    path.write_bytes(content)
    write(
        folder,
        [all_lines[0].replace(before, hashlib.sha256(content).hexdigest(), 1), *all_lines[1:]],
    )


def lead_out(folder: Path) -> None:
    entry = json.loads(lines(folder)[-1])
    write(folder, [*lines(folder)[:-1], json.dumps({**entry, "path": "../evidence/x"}) + "\n"])


def replace_by_a_later_line(folder: Path) -> None:
    first_file(folder).write_bytes(b"forged")
    *_, last = all_lines = lines(folder)
    changes = {"size": 6, "sha256": hashlib.sha256(b"forged").hexdigest()}
    previous = hashlib.sha256(last.rstrip("\n").encode()).hexdigest()
    later = {**json.loads(all_lines[0]), **changes, "previous": previous}
    write(folder, [*all_lines, json.dumps(later) + "\n"])


def give_a_key_twice(folder: Path) -> None:
    *others, last = lines(folder)
    write(folder, [*others, last.replace('"sha256"', '"sha256":"00","sha256"', 1)])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change_byte, "was changed"),
        (grow, "bytes instead of"),
        (lambda folder: first_file(folder).unlink(), "is missing"),
        (become_link, "is missing"),
        (lambda folder: (folder / "new.txt").write_bytes(b""), "'new.txt' is not in the manifest"),
        (forge, "line 2 does not follow line 1"),
        (lambda folder: write(folder, lines(folder)[1:]), "line 1 does not follow line 0"),
        (
            lambda folder: write(folder, [*lines(folder)[:3], *lines(folder)[4:]]),
            "line 4 does not follow line 3",
        ),
        (
            lambda folder: write(folder, [lines(folder)[1], lines(folder)[0], *lines(folder)[2:]]),
            "does not follow",
        ),
        (lambda folder: write(folder, [*lines(folder), '{"half']), "the last line is incomplete"),
        (
            lambda folder: write(folder, [*lines(folder), "nonsense\n"]),
            "line 9 is not a manifest entry",
        ),
        (lead_out, "points outside the folder"),
        (replace_by_a_later_line, "line 9 has other content for"),
        (give_a_key_twice, "line 8 is not a manifest entry"),
        (lambda folder: (folder / "manifest.jsonl").unlink(), "there is no manifest.jsonl"),
    ],
)
def test_each_problem_is_reported(
    spoil: Callable[[Path], object], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(folder)
    assert check(folder) == 1
    assert said in capsys.readouterr().out


def entry(folder: Path, **changes: object) -> bytes:
    return json.dumps({**json.loads(lines(folder)[-1]), **changes}).encode()


@pytest.mark.parametrize(
    "line",
    [
        lambda _: b"[" * 200_000,
        lambda _: b'{"a":' * 200_000,
        lambda _: b'"' + b"x" * 3_000_000 + b'"',
        lambda folder: entry(folder, remote_path="x" * 3_000_000),
        lambda _: b"\xff\xfe\x00\x80",
        lambda _: b"\x00" * 100,
        lambda _: b"null",
        lambda _: b"[1]",
        lambda _: b'{"size": ' + b"9" * 10_000 + b"}",
        lambda folder: entry(folder, size="1"),
        lambda folder: entry(folder, size=True),
        lambda folder: entry(folder, size=1e400),
        lambda folder: entry(folder, path=["a"]),
        lambda folder: entry(folder, path=None),
        lambda folder: entry(folder, path="a\0b"),
        lambda folder: entry(folder, path="\ud800"),
        lambda folder: entry(folder, path="n" * 5000),
        lambda folder: entry(folder, path="d/" * 5000 + "f"),
        lambda folder: entry(folder, path="."),
        lambda folder: entry(folder, path="\x1b[31mred"),
        lambda folder: entry(folder, sha256="\ud800"),
    ],
)
def test_any_line_is_a_finding_and_never_a_traceback(
    line: Callable[[Path], bytes], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = folder / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes() + line(folder) + b"\n")
    assert check(folder) == 1
    out = capsys.readouterr().out
    assert out.isascii()
    assert "\x1b" not in out
    assert "wrong; the last line" in out


def test_a_link_is_no_manifest_and_no_folder_of_files(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = first_file(folder).parent
    parent.rename(folder.parent / "moved")
    parent.symlink_to(folder.parent / "moved")
    assert check(folder) == 1
    assert "a link in its place" in capsys.readouterr().out
    manifest = folder / "manifest.jsonl"
    manifest.rename(folder.parent / "elsewhere.jsonl")
    manifest.symlink_to(folder.parent / "elsewhere.jsonl")
    assert check(folder) == 1
    assert "is not a plain file" in capsys.readouterr().out


def test_truncation_is_detected_by_the_recorded_hash(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = hashlib.sha256(lines(folder)[-1].rstrip("\n").encode()).hexdigest()
    gone = json.loads(lines(folder)[-1])["path"]
    write(folder, lines(folder)[:-1])
    (folder / gone).unlink()
    assert check(folder) == 0
    assert check(folder, "--last", last) == 1
    assert "lines at the end were removed" in capsys.readouterr().out


def test_verify_returns_what_it_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = verify(folder)
    assert (found.ok, found.problems, found.files) == (True, (), MACHINES * len(CONTENTS))
    assert found.last == hashlib.sha256(lines(folder)[-1].rstrip("\n").encode()).hexdigest()
    change_byte(folder)
    found = verify(str(folder), last="0" * 64)
    assert (found.ok, len(found.problems)) == (False, 2)
    assert check(folder, "--json") == 1
    document = json.loads(capsys.readouterr().out)
    assert document["problems"] == list(verify(folder).problems)
    assert verify(folder / "nowhere").last is None
