"""Help of each command, and what wrong usage prints."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mde_live_response as mde
from mde_live_response._cli import main
from mde_live_response._cli.main import build_parser
from mde_live_response._cli.options import duration
from mde_live_response._cli.termination import raise_at_sigterm
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
        (["state", "prune", "--older-than", "1w"], "'1w' is not a duration: give a number of days"),
        (["run", "ws", "--timeout", "-5", "--get-file", "x"], "'-5' is not a duration: give a"),
        (["state", "prune", "--older-than", "30"], "'30' has no unit: give 30d for days"),
        (["state", "prune", "--older-than", "1.5"], "'1.5' has no unit: give 1.5d for days"),
        (["rnu", "ws"], "'rnu' is not a command (did you mean run?)"),
        (["xyz"], "'xyz' is not a command\n"),
        (["--endpoint", "http://x", "run", "ws"], "is not a command (options follow the command)"),
        (["run", "ws-1", "ws-2", *COMMENT], "ws-2 (run-many takes several machines)"),
        (
            ["run", "ws", "--run-script", "a.ps1", "--args", "-Depth", "2", *COMMENT],
            "arguments: 2 (put quotes around a text with spaces: --args '-Depth 2')",
        ),
        (["verify", ".", "--last", "abc"], "'abc' is not a SHA-256"),
        (["emulator", "--speed", "fast"], "argument --speed: 'fast' is not a number"),
        (["emulator", "--seed", "x"], "argument --seed: 'x' is not a whole number"),
        (["machines", "--top", "one"], "argument --top: 'one' is not a whole number"),
        (["download", "id", "one", "--to", "x"], "argument INDEX: 'one' is not a whole number"),
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
    is_known = arguments[0] not in ("rnu", "xyz") and not arguments[0].startswith("-")
    command = f" {arguments[0]}" if is_known else ""
    assert f"\nSee mde-live-response{command}" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu", "ws"], "'rnu' is not a command (did you mean run?)"),
        (["C:\\x"], "is not a command\n"),
        (["it's"], "is not a command\n"),
        (["--endpoint", "http://x", "run", "ws"], "is not a command (options follow the command)"),
        (["--json", "machines"], "--json (options follow the command)"),
    ],
    ids=str,
)
def test_an_unknown_command_in_a_shell(
    arguments: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The console script calls `main` without arguments: they are in `sys.argv`."""
    monkeypatch.setattr(sys, "argv", ["mde-live-response", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert expected in err
    assert err.endswith("See mde-live-response -h\n")


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
        ["verify", "missing"],
        ["pack", "missing"],
        ["verify", ".", "--audit", "missing"],
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


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_of_machines_may_come_from_powershell(
    coding: str, box: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "hosts.txt"
    names.write_text("ws-0001.example.test\nws-0002.example.test  # the server\n", coding)
    run = ["run-many", "--machines-from", str(names), "--run-inline", "ls", *COMMENT]
    assert main(run) == 0
    assert "2 of 2 ok" in capsys.readouterr().out
    names.write_bytes(b"caf\xe9")
    assert main(run) == 2
    assert "is not UTF-8" in capsys.readouterr().err


def test_names_and_a_selection_exclude_each_other(
    box: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["run-many", "ws-0001.example.test", "--top", "2", "--run-inline", "ls", *COMMENT]
    assert main(run) == 2
    assert "and a selection too" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ['"ws-1"', "'ws-1'", "ws-1,ws-2", "ws-1;ws-2", "ws-1 ws-2", "ws-1\tws-2"]
)
@pytest.mark.parametrize("is_file", [True, False])
def test_several_names_in_one_are_refused(
    is_file: bool, name: str, box: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "hosts.csv"
    names.write_text(f"ws-0001.example.test\n{name}\n")
    given = ["--machines-from", str(names)] if is_file else [name]
    assert main(["run-many", *given, "--run-inline", "ls", *COMMENT]) == 2
    assert f"{name!r} is not the name of one machine" in capsys.readouterr().err
    assert not box.requests


def test_a_file_in_place_of_a_machine_is_refused(
    box: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hosts.txt").write_text("ws-0001.example.test\n")
    assert main(["run-many", "hosts.txt", "--run-inline", "ls", *COMMENT]) == 2
    assert "give --machines-from hosts.txt" in capsys.readouterr().err
    assert not box.requests


@pytest.mark.parametrize("command", [["sessions"], ["runs"], ["resume", "x"]], ids=" ".join)
def test_a_command_that_reads_a_store_creates_none(
    command: list[str], box: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "typo.db"
    assert main([*command, "--state", f"sqlite:///{path}"]) == 2
    assert f"there is no state store at {path}" in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize("command", ["show", "prune"])
def test_a_store_that_does_not_exist_is_wrong_usage(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "missing.db"
    assert main(["state", command, f"sqlite:///{path}"]) == 2
    assert f"there is no state store at {path}" in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize("has_store", [True, False])
def test_a_timeout_says_what_goes_on(
    has_store: bool, box: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    box.on_script("slow.ps1", duration=1000.0)
    store = ["--state", "sqlite:///state.db"] if has_store else []
    # The session of another call in the same store is no business of this run.
    with box.client(state="sqlite:///state.db") as client:
        client.submit("ws-0002.example.test", mde.Command.run_script("slow.ps1"), "case 41")
    run = ["run-many", "ws-0001.example.test", "--run-script", "slow.ps1", *COMMENT, *store]
    assert main([*run, "--timeout", "2", "--run-id", "case-42"]) == 3
    err = capsys.readouterr().err
    newest, *_ = box.client().list_machine_actions()
    assert f"Session {newest.id} continues at the service" in err
    assert err.count(" continues at the service") == 1
    assert ("mde-live-response resume case-42" in err) is has_store
    assert ("without a state store" in err) is not has_store
    assert err.count("resume") == (1 if has_store else 0)


def test_a_document_of_an_error_has_the_id_of_the_run(
    box: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    box.on_script("slow.ps1", duration=1000.0)
    run = ["run-many", "ws-0001.example.test", "--run-script", "slow.ps1", *COMMENT, "--json"]
    assert main([*run, "--timeout", "1"]) == 3
    printed = capsys.readouterr()
    error = json.loads(printed.out)["error"]
    # The id that the command chose itself.
    assert printed.err.startswith(f"Run {error['run_id']}, 1 machine\n")
    assert error["type"] == "WaitTimeoutError"
    assert "without a state store" in error["hint"]


def test_a_cancel_says_what_it_did(box: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    box.on_script("quick.ps1", duration=0.1)
    with box.client() as client:
        ended = client.run("ws-0001.example.test", mde.Command.run_script("quick.ps1"), "why")
    assert main(["cancel", ended.action.id, *COMMENT]) == 0
    assert "nothing was cancelled" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--json"], []], ids=str)
def test_a_run_whose_output_is_lost_is_an_error(arguments: list[str], box: Emulator) -> None:
    what = ["ws-0001.example.test", "--run-inline", "ls", *COMMENT]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mde_live_response", "run", *what, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert "the output could not be written: No space left on device" in done.stderr


def test_output_that_cannot_be_written_is_an_error(box: Emulator) -> None:
    command = [sys.executable, "-m", "mde_live_response", "machines", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: the output could not be written: No space left on device\n"


def test_hints_of_a_check_are_the_same_in_json(
    box: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--json"]) == 0
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert "--state sqlite:///path" in finding["hint"]


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


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("90", "s", 90.0),
        ("2.5", "s", 2.5),
        ("90s", "d", 90.0),
        ("15m", "s", 900.0),
        ("2H", "s", 7200.0),
        ("30", "d", 30 * 86_400.0),
        ("1.5d", "s", 129_600.0),
        ("0", "s", 0.0),
    ],
)
def test_a_duration_may_have_a_unit(text: str, unit: str, expected: float) -> None:
    assert duration(text, unit) == expected


@pytest.mark.parametrize("text", ["", "s", "m", "1w", "1 day", "-1h", "nan", "inf", "1e400", "--5"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="such as 90s, 15m, 2h or 3d"):
        duration(text, "s")


def test_sigterm_keeps_the_handler_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with raise_at_sigterm():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        with raise_at_sigterm():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]
