"""What `run`, `run_many` and `result` save: files, transcripts, and a manifest that proves them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runtime_helpers import MACHINE

from mde_live_response import Command, InvalidRequestError, LiveResponseClient
from mde_live_response.__main__ import main
from mde_live_response.emulator import Emulator
from mde_live_response.evidence import pack, verify

FILE = r"C:\a.txt"
COMMANDS = [Command.run_script("echo.ps1"), Command.get_file(FILE)]


@pytest.fixture
def client(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveResponseClient]:
    emulator.on_script("echo.ps1", stdout="done")
    emulator.put_remote_file("*", FILE, b"evidence")
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    with emulator.client() as client:
        yield client


def entries(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_manifest_of_a_run_on_one_machine_is_that_of_a_fleet(
    client: LiveResponseClient, tmp_path: Path
) -> None:
    one, many = tmp_path / "one", tmp_path / "many"
    result = client.run(MACHINE, COMMANDS, "why", save_to=one)
    client.run_many([MACHINE], COMMANDS, "why", save_to=many, run_id="r").report()
    (of_one,), (of_many,) = entries(one), entries(many)
    assert list(of_one) == list(of_many)
    assert (of_one["run_id"], of_many["run_id"]) == (None, "r")
    assert of_one["action_id"] == result.action.id
    client.run(MACHINE, COMMANDS, "why", save_to=one)
    found = verify(one)
    assert (found.ok, found.files) == (True, 2)
    packed = pack(one)
    assert packed.verification.ok
    assert packed.path is not None


def test_a_session_of_an_action_id_writes_it_once(
    client: LiveResponseClient, tmp_path: Path
) -> None:
    session = client.submit(MACHINE, COMMANDS, "why")
    for _ in range(2):
        assert session.result(save_to=str(tmp_path)).ok
        assert client.session(session.id).result(save_to=tmp_path).ok
    assert len(entries(tmp_path)) == 1
    assert verify(tmp_path).ok


def test_a_relative_folder(
    client: LiveResponseClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (".", "sub/..", "sub"):
        client.run(MACHINE, COMMANDS, "why", save_to=folder)
    assert {Path(entry["path"]).parts[0][:7] for entry in entries(tmp_path)} == {"ws-0001"}
    assert verify("sub").ok
    # The folder `sub` lies in this one, which does not list its files.
    problems = verify(".").problems
    assert len(problems) == 2
    assert all("'sub/" in problem for problem in problems)


@pytest.mark.parametrize("many", [False, True])
def test_transcripts_are_saved_beside_the_files(
    many: bool, client: LiveResponseClient, tmp_path: Path
) -> None:
    if many:
        fleet = client.run_many([MACHINE], COMMANDS, "why", save_to=tmp_path, save_transcripts=True)
        result = fleet.report()[0].load_result()
    else:
        result = client.run(MACHINE, COMMANDS, "why", save_to=tmp_path, save_transcripts=True)
    assert result is not None
    folder = tmp_path / f"{MACHINE}_{result.action.id}"
    saved = folder / "0_echo.ps1.transcript.json"
    assert saved.read_bytes() == result.scripts[0].raw
    assert sorted(path.name for path in folder.iterdir()) == [saved.name, "1_a.txt"]
    transcript, file = entries(tmp_path)
    assert (transcript["script_name"], transcript["remote_path"]) == ("echo.ps1", None)
    assert (transcript["command"], file["command"]) == (0, 1)
    assert verify(tmp_path).ok
    saved.write_bytes(saved.read_bytes().replace(b"done", b"gone"))
    assert not verify(tmp_path).ok


def test_transcripts_need_a_folder(client: LiveResponseClient, emulator: Emulator) -> None:
    session = client.submit(MACHINE, COMMANDS, "why")
    asked = len(emulator.requests)
    calls = (
        lambda: client.run(MACHINE, COMMANDS, "why", save_transcripts=True),
        lambda: client.run_many([MACHINE], COMMANDS, "why", save_transcripts=True),
        lambda: session.result(save_transcripts=True),
    )
    for call in calls:
        with pytest.raises(InvalidRequestError, match="save_transcripts=True needs save_to="):
            call()
    assert len(emulator.requests) == asked


def test_the_commands_save_transcripts(
    client: LiveResponseClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--run-script", "echo.ps1", "--get-file", FILE, "--comment", "why"]
    folder = ["--save-to", str(tmp_path), "--save-transcripts"]
    assert main(["run", MACHINE, *options, *folder]) == 0
    assert main(["run-many", "ws-0002", *options, *folder]) == 0
    session = client.submit("ws-0003", COMMANDS, "why")
    assert main(["result", session.id, *folder]) == 0
    assert len(entries(tmp_path)) == 6
    capsys.readouterr()
    assert main(["verify", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("6 files, nothing wrong")
    assert main(["run-many", "ws-0002", *options, "--save-transcripts"]) == 2
    assert "--save-transcripts needs --save-to" in capsys.readouterr().err


def test_a_result_holds_each_command_once(client: LiveResponseClient, tmp_path: Path) -> None:
    result = client.run(MACHINE, COMMANDS, "why", save_to=tmp_path)
    found = result.to_dict()
    assert "commands" not in found["action"]
    assert json.dumps(found).count("echo.ps1") == 2, "as the command, and as its script"
    assert [command["index"] for command in found["commands"]] == [0, 1]
    assert found["commands"][1]["file"]["size"] == 8
    # The action itself still has its commands.
    assert [command["index"] for command in result.action.to_dict()["commands"]] == [0, 1]
    expected = {**result.action.to_dict()}
    del expected["commands"]
    assert found["action"] == expected


def test_an_hresult_has_its_name(client: LiveResponseClient, emulator: Emulator) -> None:
    session = client.submit(MACHINE, COMMANDS, "why")
    session.wait()
    for value, name in [
        (-2147024891, "E_ACCESSDENIED (0x80070005)"),
        (-2147418113, "E_UNEXPECTED (0x8000FFFF)"),
        (-1, "0xFFFFFFFF"),
        (0, None),
        (None, None),
    ]:
        emulator.set_property(session.id, "errorHResult", value)
        action = client.get_machine_action(session.id)
        assert (action.error_hresult, action.error_name) == (value, name)
        assert action.to_dict()["error_name"] == name
        assert repr(action).endswith(f"Succeeded {name}>" if name else "Succeeded>")


def test_the_command_line_shows_the_name_of_an_hresult(
    client: LiveResponseClient, emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    session = client.submit(MACHINE, COMMANDS, "why")
    session.wait()
    assert main(["status", session.id]) == 0
    assert "error" not in capsys.readouterr().out.lower().splitlines()[-4:][0]
    emulator.set_property(session.id, "errorHResult", -2147024891)
    assert main(["status", session.id]) == 0
    assert "E_ACCESSDENIED (0x80070005)" in capsys.readouterr().out


def test_an_empty_folder_name_is_refused_before_any_request(emulator: Emulator) -> None:
    """An empty variable in a script must not save into the current folder."""
    with emulator.client() as client:
        count = len(emulator.requests)
        command = Command.run_script("echo.ps1")
        for call in (
            lambda: client.run("ws-0001", command, "why", save_to=""),
            lambda: client.run_many(["ws-0001"], command, "why", save_to=""),
        ):
            with pytest.raises(InvalidRequestError, match="save_to is an empty path"):
                call()
        assert len(emulator.requests) == count
