"""Each command of the command line against the emulator: text, JSON, errors and exit codes."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from runtime_helpers import wait_until

from mde_live_response import Command, LiveResponseClient
from mde_live_response._cli import main
from mde_live_response._cli.main import build_parser
from mde_live_response.emulator import Emulator

MACHINES = ["ws-0001.example.test", "ws-0002.example.test", "ws-0003.example.test"]
SCRIPT = ["--run-script", "triage.ps1", "--comment", "case 42"]
NOBODY = "5382f7ea-7557-4ab7-9782-d50480024a4e"


@pytest.fixture
def box(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Emulator:
    emulator.on_script("triage.ps1", stdout="found")
    emulator.put_remote_file("*", r"C:\a.txt", b"evidence")
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MDE_LIVE_RESPONSE_STATE", f"sqlite:///{tmp_path / 'state.db'}")
    monkeypatch.chdir(tmp_path)
    return emulator


@pytest.fixture
def client(box: Emulator) -> Iterator[LiveResponseClient]:
    with LiveResponseClient() as client:
        yield client


Say = Callable[..., tuple[int, Any]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command with `--json`, and return its exit code and its document."""

    def run(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


# ---------------------------------- sessions


def test_a_session_is_listed_shown_cancelled_and_its_result_fetched(
    client: LiveResponseClient, box: Emulator, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    box.set_online(MACHINES[0], False)
    session = client.submit(MACHINES[0], Command.run_script("triage.ps1"), "case 42")
    code, listed = say("sessions")
    assert (code, [row["id"] for row in listed]) == (0, [session.id])
    assert main(["sessions"]) == 0
    assert session.id in capsys.readouterr().out
    assert say("status", session.id)[1]["status"] == "Pending"
    assert main(["status", session.id]) == 0
    assert "case 42" in capsys.readouterr().out
    code, cancelled = say("cancel", session.id, "--comment", "not needed")
    assert (code, cancelled["status"]) == (0, "Cancelled")
    code, result = say("result", session.id)
    assert (code, result["reason"]) == (1, "cancelled")
    assert say("sessions") == (0, [])


def test_a_file_is_downloaded(
    client: LiveResponseClient, say: Say, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = client.submit(MACHINES[0], Command.get_file(r"C:\a.txt"), "case 42")
    session.wait()
    code, file = say("download", session.id, "0", "--to", str(tmp_path / "a.txt"))
    assert (code, file["size"]) == (0, 8)
    assert (tmp_path / "a.txt").read_bytes() == b"evidence"
    assert main(["result", session.id, "--save-to", str(tmp_path / "out")]) == 0
    assert "GetFile" in capsys.readouterr().out
    assert len(list((tmp_path / "out").rglob("*_a.txt"))) == 1


def test_the_end_of_a_wait_exits_with_3_and_the_session_lives_on(
    client: LiveResponseClient, box: Emulator, say: Say
) -> None:
    box.set_online(MACHINES[0], False)
    session = client.submit(MACHINES[0], Command.run_script("triage.ps1"), "case 42")
    code, document = say("result", session.id, "--timeout", "0.5")
    assert code == 3
    assert document["error"]["type"] == "WaitTimeoutError"
    assert document["error"]["action_id"] == session.id
    box.set_online(MACHINES[0], True)
    assert say("result", session.id)[0] == 0


# ---------------------------------- many machines


def test_many_machines_from_arguments_a_file_stdin_and_a_selection(
    box: Emulator,
    client: LiveResponseClient,
    say: Say,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {machine.id: machine.computer_dns_name for machine in client.list_machines()}
    tagged = "srv-01.example.test"
    names[box.add_machine(tagged, machineTags=["floor 2"]).id] = tagged
    (tmp_path / "hosts.txt").write_text(f"# floor 2\n{MACHINES[1]}  # the printer's\n\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(MACHINES[2].encode())))
    for arguments, expected in (
        ([MACHINES[0], "--machines-from", "hosts.txt"], MACHINES[:2]),
        (["--machines-from", "-"], MACHINES[2:]),
        (["--filter", f"computerDnsName eq '{MACHINES[1]}'"], MACHINES[1:2]),
        (["--top", "3"], MACHINES),
        (["--tag", "floor 2"], [tagged]),
    ):
        code, document = say("run-many", *arguments, *SCRIPT)
        assert (code, document["ok"]) == (0, True)
        ran_on = [names.get(row["machine"], row["machine"]) for row in document["outcomes"]]
        assert ran_on == expected
        assert all("found" in row["stdout"] for row in document["outcomes"])


def test_one_machine_that_failed_exits_with_1_and_has_its_line(
    box: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run-many", MACHINES[0], "nobody.example.test", *SCRIPT, "--run-id", "r1"]) == 1
    out, err = capsys.readouterr()
    assert "1 of 2 ok" in out
    (line,) = [line for line in out.splitlines() if line.startswith("nobody")]
    assert "machine" in line
    assert "Run r1, 2 machines\n" in err


def test_a_run_is_continued_by_another_command(box: Emulator, say: Say) -> None:
    box.set_online(MACHINES[0], False)
    arguments = [*MACHINES[:2], *SCRIPT, "--run-id", "r7", "--timeout", "1"]
    code, document = say("run-many", *arguments)
    assert (code, document["error"]["type"]) == (3, "WaitTimeoutError")
    box.set_online(MACHINES[0], True)
    code, document = say("resume", "r7")
    assert (code, document["run_id"], len(document["outcomes"])) == (0, "r7", 2)
    posts = [r for r in box.requests if r["path"].lower().endswith("/runliveresponse")]
    assert len(posts) == 2


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["run-many", *SCRIPT], "--machines-from"),
        (["run-many", MACHINES[0], "--comment", "x"], "--run-script"),
        (["run-many", "--top", "0", *SCRIPT], "1 or more"),
        (["run-many", "--tag", "nobody", *SCRIPT], "what they select"),
    ],
    ids=["no machine", "no command", "no machine at all", "nothing selected"],
)
def test_nothing_to_do_is_wrong_usage(
    arguments: list[str], hint: str, box: Emulator, say: Say
) -> None:
    code, document = say(*arguments)
    assert code == 2
    assert document["error"]["type"] == "InvalidRequestError"
    assert hint in document["error"]["hint"]


# ---------------------------------- library, machines, check


def test_the_library(
    box: Emulator, say: Say, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "collect.ps1"
    script.write_bytes(b"# one")
    code, file = say("library", "upload", str(script), "--description", "first")
    assert (code, file["file_name"], file["description"]) == (0, "collect.ps1", "first")
    assert say("library", "ensure", str(script), "--description", "first")[1]["changed"] is False
    script.write_bytes(b"# two")
    code, document = say("library", "upload", str(script))
    assert (code, document["error"]["type"]) == (2, "AlreadyExistsError")
    assert "--overwrite" in document["error"]["hint"]
    assert say("library", "upload", str(script), "--overwrite")[0] == 0
    assert say("library", "upload", str(script), "--name", "other.ps1")[0] == 0
    assert main(["library", "list"]) == 0
    listed = capsys.readouterr().out
    assert {line.split()[0] for line in listed.splitlines()[1:]} >= {"collect.ps1", "other.ps1"}
    assert say("library", "delete", "other.ps1") == (0, {"deleted": "other.ps1"})
    code, document = say("library", "delete", "other.ps1")
    assert (code, document["error"]["type"]) == (3, "NotFoundError")
    code, document = say("library", "upload", str(tmp_path / "missing.ps1"))
    assert (code, document["error"]["type"]) == (2, "FileNotFoundError")


def test_machines_and_check(box: Emulator, say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    code, machines = say("machines", "--top", "2")
    assert (code, [machine["computer_dns_name"] for machine in machines]) == (0, MACHINES[:2])
    assert main(["machines"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert say("check", MACHINES[0])[0] == 0
    box.add_machine("old.example.test", remediation_level=False)
    assert main(["check", "nobody.example.test"]) in (1, 3)


def test_local_files_run_and_are_pruned(box: Emulator, say: Say, tmp_path: Path) -> None:
    (tmp_path / "local.sh").write_text("id\n")
    arguments = ["--run-local", str(tmp_path / "local.sh"), "--run-inline", "hostname"]
    code, result = say("run", MACHINES[0], *arguments, "--comment", "case 42")
    assert (code, len(result["commands"])) == (0, 2)
    code, plan = say("library", "prune", "--older-than", "86400")
    assert (code, plan["delete"], len(plan["leave"])) == (0, [], 2)
    code, plan = say("library", "prune", "--older-than", "0", "--dry-run")
    assert (code, len(plan["delete"])) == (0, 2)
    assert len(say("library", "list")[1]) == 3


# ---------------------------------- what every command has


def leaves(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[Any]:
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield path, parser
    for group in groups:
        for name, child in group.choices.items():
            yield from leaves(child, (*path, name))


LEAVES = dict(leaves(build_parser()))


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_the_help_has_an_example_that_the_parser_accepts(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*path, "-h"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "example:\n" in text
    assert " ".join(["mde-live-response", *path]) in text.split("example:\n")[1]


@pytest.mark.parametrize(
    "path", [p for p in LEAVES if p not in {("emulator",), ("demo",)}], ids=" ".join
)
def test_every_command_has_the_common_options(path: tuple[str, ...]) -> None:
    options = {option for action in LEAVES[path]._actions for option in action.option_strings}
    assert {"--json", "-v", "--version", "-h"} <= options
    if path[0] not in {"state", "verify", "pack", "completion"}:
        assert {"--cloud", "--endpoint", "--state", "--tenant-id"} <= options


def test_a_refusal_is_one_document_with_everything_to_decide_by(box: Emulator, say: Say) -> None:
    box.add_foreign_session(MACHINES[0], 3600)
    code, document = say("run", MACHINES[0], *SCRIPT)
    assert code == 3
    error = document["error"]
    assert (error["type"], error["retryable"]) == ("MachineBusyError", True)
    assert error["machine_id"]
    assert error["correlation_id"]
    assert "--on-busy wait" in error["hint"]
    assert "on_busy" not in error["hint"]


def test_options_reach_the_client(box: Emulator, say: Say) -> None:
    other = "11111111-1111-4111-8111-111111111111"
    code, document = say("machines", "--tenant-id", other)
    assert (code, document["error"]["type"]) == (3, "AuthenticationError")
    code, document = say("machines", "--endpoint", "http://example.test")
    assert (code, document["error"]["type"]) == (2, "InvalidRequestError")
    code, document = say("machines", "--cloud", "moon")
    assert (code, document["error"]["type"]) == (2, "InvalidRequestError")


def test_verbose_logs_to_stderr(
    box: Emulator, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["machines", "-vv"]) == 0
    wait_until(lambda: "GET /api/machines 200" in caplog.text, "the log")
    assert "GET /api/machines" not in capsys.readouterr().out


def test_a_wrong_port_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["emulator", "--port", "99999"])
    assert len(capsys.readouterr().err) < 2000
