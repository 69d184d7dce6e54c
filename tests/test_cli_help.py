"""Help of each command, and what wrong usage prints."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from mde_live_response._cli import main
from mde_live_response._cli.main import build_parser
from mde_live_response.emulator import Emulator

COMMENT = ("--comment", "case 42")


@pytest.fixture
def box(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Emulator:
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MDE_LIVE_RESPONSE_STATE", raising=False)
    monkeypatch.chdir(tmp_path)
    return emulator


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


def usage_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_help_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    every = list(parsers(build_parser()))
    assert len(every) > 25
    for parser in every:
        for line in parser.format_help().splitlines():
            # A URL cannot be broken.
            assert len(line) <= 80 or " " not in line.strip(), (parser.prog, line)


def test_no_paragraph_of_help_is_there_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    for parser in parsers(build_parser()):
        paragraphs = [line for line in parser.format_help().splitlines() if len(line) > 150]
        texts = [line.strip() for line in paragraphs if not line.startswith(("usage", "    "))]
        assert len(texts) == len(set(texts)), parser.prog


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "ws", "--savto", "x", *COMMENT], "(did you mean --save-to?)"),
        (["library", "sync", "x", "--dryrun"], "(did you mean --dry-run?)"),
        (["machines", "--zzz"], "unrecognized arguments: --zzz\n"),
        (["--json", "machines"], "(options follow the command)"),
        (["run", "ws", "--get-file", "x"], "required: --comment"),
        (["run", "ws", "--get-file"], "--get-file: expected one argument"),
        (["run", "ws", "--run-script", "a.ps1", "--args", "--get-file", "x"], "--args: expected"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_takes_two_lines(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    err = usage_error(capsys, *arguments)
    assert expected in err
    assert err.count("\n") == 2
    command = "" if arguments[0].startswith("-") else f" {arguments[0]}"
    assert f"\nSee mde-live-response{command}" in err


@pytest.mark.parametrize("value", ["-Depth", "-Depth 2", "--deep", "-", "-5"])
def test_arguments_of_a_script_may_begin_with_a_dash(
    value: str, box: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    box.on_script("triage.ps1", stdout=lambda _, args: f"got {args}.")
    run = ["run", "ws-0001.example.test", "--run-script", "triage.ps1", "--args", value, *COMMENT]
    assert main(run) == 0
    assert f"got {value}." in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "ws-0001.example.test", "--run-local", "missing", *COMMENT],
        ["run", "ws-0001.example.test", "--put-local", "missing", *COMMENT],
        ["run-many", "--machines-from", "missing", "--get-file", "x", *COMMENT],
        ["library", "upload", "missing"],
        ["library", "ensure", "missing"],
        ["library", "sync", "missing"],
    ],
    ids=" ".join,
)
def test_a_missing_file_is_wrong_usage_and_named_once(
    arguments: list[str], box: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: missing: ")
    assert err.rstrip().endswith("No such file or directory")
    assert err.count("missing") == 1
    assert not [request for request in box.requests if request["method"] != "GET"]


@pytest.mark.parametrize("command", [["run"], ["run-many"]], ids=str)
def test_a_folder_that_cannot_be_made_is_told_before_the_session(
    command: list[str], box: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    where = str(tmp_path / "file" / "evidence")
    what = ["ws-0001.example.test", "--get-file", r"C:\a.txt", "--save-to", where, *COMMENT]
    assert main([*command, *what]) == 2
    assert where in capsys.readouterr().err
    assert not [request for request in box.requests if "runliveresponse" in request["path"].lower()]


@pytest.mark.parametrize("command", [["sessions"], ["runs"], ["resume", "x"]], ids=" ".join)
def test_what_others_stored_needs_a_store(
    command: list[str], box: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    assert "no state store was given. Hint: give --state ADDRESS" in capsys.readouterr().err
    assert main([*command, "--state", "memory:"]) == 2
    assert "a memory store cannot be read" in capsys.readouterr().err


def test_check_ends_with_a_verdict(box: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "ws-0001.example.test"]) == 0
    out = capsys.readouterr().out
    assert "warning: the state store is in memory" in out
    assert "give each of them --state sqlite:///path" in out
    assert out.endswith("\n0 errors, 1 warning\n")
    box.add_machine("new.example.test", remediation_level=False, onboardingStatus="CanBeOnboarded")
    assert main(["check", "new.example.test"]) == 1
    assert capsys.readouterr().out.endswith("\n1 error, 1 warning\n")
    assert main(["check", "--state", "sqlite:///state.db"]) == 0
    assert capsys.readouterr().out == "nothing would prevent a session\n"
