"""Tables and completion of the command line."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mde_live_response._cli import main
from mde_live_response.display.text_table import format_table, wants_colour

HEADS = ("NAME", "STATE", "MESSAGE")
ROWS = [("ws-0001.example.test", "ok", None), ("x", "failed", "the disk is full " * 10)]


def test_columns_are_aligned_and_nothing_is_cut_without_a_terminal() -> None:
    lines = format_table(HEADS, ROWS, colour=False).splitlines()
    columns = [
        line.index(word) for line, word in zip(lines, ("STATE", "ok", "failed"), strict=True)
    ]
    assert columns == [22] * 3
    assert lines[1].endswith("-")
    assert lines[2].endswith("the disk is full")
    assert len(lines[2]) > 160


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_table_fits_the_terminal(width: int) -> None:
    lines = format_table(HEADS, ROWS, width=width, colour=False).splitlines()
    assert max(map(len, lines)) <= width
    assert "…" in lines[2]
    assert "ok" in lines[1]


def test_the_first_column_is_cut_last() -> None:
    rows = [("77e3d6c7-5980-4eae-914d-64e28d77324b", "2026-11-29 15:42", "3 of 3", "x" * 40)]
    for width, is_whole in ((80, True), (70, True), (60, False)):
        text = format_table(("RUN", "STARTED", "DONE", "COMMENT"), rows, width=width, colour=False)
        assert max(map(len, text.splitlines())) <= width
        assert (rows[0][0] in text) is is_whole


def test_a_hostile_cell_cannot_move_the_cursor() -> None:
    text = format_table(("A",), [("\x1b[31mred\x07\nnext\u202eline",)], colour=False)
    assert text.splitlines()[1] == "[31mred next line"
    assert len(text.splitlines()) == 2


def test_a_failed_row_is_red_on_a_terminal_only() -> None:
    plain = format_table(HEADS, ROWS, colour=False, bad_rows=[1])
    red = format_table(HEADS, ROWS, colour=True, bad_rows=[1])
    assert "\x1b" not in plain
    assert red.splitlines()[2].startswith("\x1b[31m")
    assert re.sub(r"\x1b\[\d+m", "", red) == plain


@pytest.mark.parametrize(
    ("terminal", "no_color", "expected"),
    [(True, "", True), (True, "1", False), (False, "", False)],
)
def test_colour_needs_a_terminal_and_no_objection(
    terminal: bool, no_color: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream:
        def isatty(self) -> bool:
            return terminal

    monkeypatch.setattr(sys, "stdout", Stream())
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour() is expected


def complete(shell: str, script: Path, line: str) -> set[str]:
    """Return what a real shell offers at the end of a line."""
    words = line.split(" ")
    if shell == "fish":
        code = f"source {script}; complete -C '{line}'"
    elif shell == "bash":
        code = (
            f"source {script}; COMP_WORDS=({' '.join(words[:-1])} '{words[-1]}'); "
            f"COMP_CWORD={len(words) - 1}; _mde_live_response; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
    else:
        # zsh completes only in its editor: the words and the functions that it calls are ours.
        code = (
            "compdef() { :; }; _files() { :; }; _describe() { print -l -- ${(P)argv[-1]}; }; "
            f"source {script}; words=({' '.join(words[:-1])} '{words[-1]}'); "
            f"CURRENT={len(words)}; _mde_live_response"
        )
    done = subprocess.run(
        [shell, *(["-f"] if shell == "zsh" else []), "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not done.stderr, done.stderr
    offered = (re.split(r"[\t:]", row)[0] for row in done.stdout.splitlines())
    return {word for word in offered if word.startswith(words[-1])}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_real_shell_completes_commands_and_options(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shutil.which(shell), f"make test installs {shell}"
    assert main(["completion", shell]) == 0
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out)
    assert complete(shell, script, "mde-live-response ru") == {"run", "run-many", "runs"}
    assert complete(shell, script, "mde-live-response library ") >= {"list", "upload", "delete"}
    assert complete(shell, script, "mde-live-response library up") == {"upload"}
    offered = complete(shell, script, "mde-live-response run --")
    assert {"--run-script", "--comment", "--json", "--on-busy"} <= offered
    assert "--machines-from" not in offered
    assert "--machines-from" in complete(shell, script, "mde-live-response run-many ws-1 --m")
    assert complete(shell, script, "mde-live-response completion f") == {"fish"}
