"""The command line: its output and its exit codes."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mde_live_response.__main__ import main
from mde_live_response.emulator import Emulator

CLI = [sys.executable, "-m", "mde_live_response"]
MACHINE = "ws-0001.example.test"
RUN = ["run", MACHINE, "--comment", "case 42"]
posix_only = pytest.mark.skipif(
    os.name != "posix", reason="Windows ends a process without asking it"
)


@pytest.fixture
def prepared(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    emulator.add_library_file("triage.ps1", b"# collects what matters")
    emulator.on_script("triage.ps1", stdout=lambda _, args: f"args: {args}")
    emulator.put_remote_file(MACHINE, r"C:\Temp\triage.zip", b"what matters")
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    return emulator


def submits(emulator: Emulator) -> int:
    return sum(
        request["path"].lower().endswith("/runliveresponse") for request in emulator.requests
    )


def test_local_files_and_code(
    prepared: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script, tool = tmp_path / "own.ps1", tmp_path / "tool.exe"
    script.write_text("Get-Date")
    tool.write_bytes(b"MZ")
    local = ["--put-local", str(tool), "--run-local", str(script), "--args", "-x 1"]
    inline = ["--run-inline", "uname", "--shell", "bash", "--run-script", "triage.ps1"]
    assert main([*RUN, *local, *inline, "--json"]) == 0
    commands = json.loads(capsys.readouterr().out)["commands"]
    sent = [
        {param["key"]: param["value"] for param in command["command"]["params"]}
        for command in commands
    ]
    digits = hashlib.sha256(b"Get-Date").hexdigest()[:16]
    assert sent[0]["FileName"].startswith("tool-")
    assert sent[1] == {"ScriptName": f"own-{digits}.ps1", "Args": "-x 1"}
    assert sent[2]["ScriptName"].startswith("inline-")
    assert sent[2]["ScriptName"].endswith(".sh")
    assert sent[3] == {"ScriptName": "triage.ps1"}


# ---------------------------------- demo


def test_demo(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = subprocess.run(
        [*CLI, "demo", "--save-to", str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (file,) = folder.glob("*/*")
    assert file.name == "1_OfficeClickToRun.dmp.zip"
    content = file.read_bytes()
    assert content.startswith(b"PK")
    assert str(len(content)) in done.stdout
    assert hashlib.sha256(content).hexdigest() in done.stdout
    assert str(folder.resolve()) in done.stdout
    assert "Dumping OfficeClickToRun" in done.stdout
    assert "RunScript minidump.ps1 OfficeClickToRun: Completed" in done.stdout
    assert "\r" not in done.stdout.replace("\r\n", "\n")


# ---------------------------------- emulator


@posix_only
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_emulator(number: signal.Signals) -> None:
    with subprocess.Popen(
        [*CLI, "emulator", "--machines", "2"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            printed = json.loads(process.stdout.readline())
            assert set(printed) == {
                "url",
                "login_url",
                "token",
                "tenant_id",
                "client_id",
                "client_secret",
            }
            request = urllib.request.Request(
                f"{printed['url']}/api/machines",
                headers={"Authorization": f"Bearer {printed['token']}"},
            )
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(request, timeout=30) as answer:
                assert len(json.load(answer)["value"]) == 2
            process.send_signal(number)
            rest, _ = process.communicate(timeout=30)
            assert rest == ""
            assert process.returncode == 0
        finally:
            process.kill()


# ---------------------------------- run


def test_run(prepared: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    any_order = [
        "--get-file",
        r"C:\Temp\triage.zip",
        "--run-script",
        "triage.ps1",
        "--args",
        "-Depth 2",
    ]
    code = main([*RUN, *any_order, "--put-file", "triage.ps1", "--save-to", str(tmp_path)])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert out.startswith("Session ")
    assert "args: -Depth 2" in out
    assert [line.split()[1] for line in out.splitlines() if line.startswith("  [")] == [
        "PutFile",
        "RunScript",
        "GetFile",
    ]
    (file,) = tmp_path.glob("*/*")
    assert file.read_bytes() == b"what matters"
    assert str(file) in out
    assert submits(prepared) == 1


def test_run_json(prepared: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--run-script", "triage.ps1", "--json"]) == 0
    out, err = capsys.readouterr()
    result: dict[str, Any] = json.loads(out)
    assert result["ok"] is True
    assert result["action"]["id"] in err
    assert submits(prepared) == 1


def test_each_script_has_its_own_args(
    prepared: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--run-script", "triage.ps1", "--args=-x", "--run-script", "triage.ps1"]
    assert main([*RUN, *arguments]) == 0
    out, _ = capsys.readouterr()
    assert "args: -x" in out
    assert "args: None" in out


def test_a_failed_script_exits_with_1(
    prepared: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared.on_script("triage.ps1", stdout="half done", stderr="it broke", exit_code=3)
    assert main([*RUN, "--run-script", "triage.ps1"]) == 1
    out, _ = capsys.readouterr()
    assert "not ok (script): " in out
    assert "exit code 3" in out
    assert "half done" in out
    assert "it broke" in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["run", MACHINE, "--run-script", "triage.ps1"],
        [*RUN, "--args", "x"],
        [*RUN, "--run-script", "a.ps1", "--args", "x", "--args", "y"],
        [*RUN, "--run-script", "a.ps1", "--on-busy", "shrug"],
        ["emulator", "--port", "many"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "\nSee mde-live-response" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [RUN, [*RUN, "--run-script", "a b.ps1"], [*RUN, "--get-file", ""]], ids=" ".join
)
def test_a_wrong_request_exits_with_2(
    arguments: list[str], prepared: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert submits(prepared) == 0


def test_no_credentials_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    assert main([*RUN, "--run-script", "triage.ps1"]) == 2
    assert "AZURE_TENANT_ID" in capsys.readouterr().err


def no_remediation_level(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    emulator.add_machine("ws-0900.example.test", remediation_level=False)
    return "ws-0900.example.test"


def busy(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    emulator.add_foreign_session(MACHINE, 3600)
    return MACHINE


def out_of_reach(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    emulator.close()
    return MACHINE


def wrong_secret(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")
    return MACHINE


def unknown_machine(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> str:
    return "nowhere"


@pytest.mark.parametrize(
    "how",
    [no_remediation_level, busy, out_of_reach, wrong_secret, unknown_machine],
    ids=lambda how: how.__name__,
)
def test_a_refusal_exits_with_3(
    how: Callable[[Emulator, pytest.MonkeyPatch], str],
    prepared: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine = how(prepared, monkeypatch)
    assert main(["run", machine, "--comment", "case 42", "--run-script", "triage.ps1"]) == 3
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_timeout_prints_how_to_resume(
    prepared: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared.set_online(MACHINE, False)
    arguments = [*RUN, "--run-script", "triage.ps1", "--correlation-id", "case-42"]
    assert main([*arguments, "--timeout", "1"]) == 3
    (error,) = (line for line in capsys.readouterr().err.splitlines() if "error: " in line)
    assert "Hint: the session continues; to adopt it" in error
    assert "--correlation-id case-42" in error
    prepared.set_online(MACHINE, True)
    assert main(arguments) == 0
    assert submits(prepared) == 1


@posix_only
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_the_session_running(prepared: Emulator, number: signal.Signals) -> None:
    prepared.set_online(MACHINE, False)
    arguments = [*CLI, *RUN, "--run-script", "triage.ps1"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline().split()
            assert first[0] == "Session"
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert f"--correlation-id {first[-1]}" in err
    prepared.set_online(MACHINE, True)
    assert main([*RUN, "--run-script", "triage.ps1", "--correlation-id", first[-1]]) == 0
    assert submits(prepared) == 1
