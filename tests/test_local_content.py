"""Local files, inline code and their arguments, through HTTP on the emulator and in real bash."""

from __future__ import annotations

import asyncio
import base64
import copy
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from runtime_helpers import MACHINE, requests_of

from mde_live_response import (
    Command,
    InvalidRequestError,
    Limits,
    LiveResponseClient,
    PermissionDeniedError,
)
from mde_live_response.emulator import Emulator

ROOT = Path(__file__).resolve().parent.parent
CODE = "Get-Date\n"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "triage.ps1"
    path.write_text(CODE)
    return path


def digits(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def uploads(emulator: Emulator) -> int:
    return len(requests_of(emulator, "upload"))


def decode(args: str) -> Any:
    assert re.fullmatch(r"[A-Za-z0-9_-]+", args)
    return json.loads(base64.urlsafe_b64decode(args))


def test_the_names_in_the_library(script: Path) -> None:
    name = f"triage-{digits(CODE.encode())}.ps1"
    assert Command.run_local(script).params == {"ScriptName": name}
    assert Command.put_local(str(script)).params == {"FileName": name}
    assert Command.run_local(script, "-Depth 2").params == {"ScriptName": name, "Args": "-Depth 2"}
    inline = Command.run_inline(CODE, ["-Name", "two words"])
    assert inline.params == {
        "ScriptName": f"inline-{digits(CODE.encode())}.ps1",
        "Args": "-Name 'two words'",
    }
    assert Command.run_inline("true", ["two words"], shell="bash").params["Args"] == "'two words'"


def test_the_content_is_read_when_the_command_is_made(
    client: LiveResponseClient, script: Path
) -> None:
    command = Command.run_local(script)
    script.unlink()
    assert client.run(MACHINE, command, "why").ok
    (file,) = [
        file for file in client.library.list_files() if file.file_name in command.params.values()
    ]
    assert file.sha256 == hashlib.sha256(CODE.encode()).hexdigest()


def test_what_cannot_be_a_command(tmp_path: Path, script: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Command.run_local(tmp_path / "none.ps1")
    with pytest.raises(IsADirectoryError):
        Command.put_local(tmp_path)
    spaced = tmp_path / "a tool.exe"
    spaced.write_bytes(b"MZ")
    with pytest.raises(InvalidRequestError, match=r"a tool\.exe"):
        Command.put_local(spaced)
    for code in ("", " \n", "a\0b"):
        with pytest.raises(InvalidRequestError, match="run_inline"):
            Command.run_inline(code)
    with pytest.raises(InvalidRequestError, match="shell"):
        Command.run_inline("true", shell="zsh")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Command.run_local(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="args takes"):
        Command.run_local(script, 3)  # type: ignore[arg-type]


def test_a_pickled_command_keeps_its_content(client: LiveResponseClient) -> None:
    command = Command.run_inline("'\u00fc'\n'two'\r\n")
    again = pickle.loads(pickle.dumps(command))
    assert again == command == copy.deepcopy(command)
    assert hash(again) == hash(command)
    assert client.run(MACHINE, again, "why").ok
    # The JSON of the service has only the name.
    assert Command.from_dict(command.to_dict()) == command


def test_equal_content_is_uploaded_once(
    emulator: Emulator, client: LiveResponseClient, script: Path
) -> None:
    assert client.run(MACHINE, Command.run_local(script), "why").ok
    assert client.run("ws-0002", Command.run_local(script), "why").ok

    async def main() -> bool:
        return (await client.run_async(MACHINE, Command.run_local(script), "why")).ok

    assert asyncio.run(main())
    assert uploads(emulator) == 1
    routes = [request["route"] for request in emulator.requests]
    assert routes.index("upload") < routes.index("runliveresponse")


def test_a_fleet_uploads_each_file_once(
    emulator: Emulator, client: LiveResponseClient, script: Path
) -> None:
    machines = ["ws-0001", "ws-0002", "ws-0003"]
    commands = {machine: Command.run_local(script) for machine in machines[:2]}
    commands["ws-0003"] = Command.run_inline("'other'")
    assert client.run_many(machines, commands, "why").report(60).ok
    assert uploads(emulator) == 2


def test_the_same_id_with_changed_content(client: LiveResponseClient, script: Path) -> None:
    client.submit(MACHINE, Command.run_local(script), "why", correlation_id="once")
    script.write_text("Remove-Item C:\\")
    with pytest.raises(InvalidRequestError, match="other commands"):
        client.submit(MACHINE, Command.run_local(script), "why", correlation_id="once")


def test_size_and_right_are_settled_before_a_submit(emulator: Emulator, script: Path) -> None:
    command = Command.run_local(script)
    with (
        emulator.client(limits=Limits(upload_size=3)) as small,
        pytest.raises(InvalidRequestError, match=r"triage\.ps1 has 9 bytes"),
    ):
        small.run("nobody", command, "why")
    assert not emulator.requests
    token = emulator.token_with("Machine.LiveResponse", "Machine.Read.All")
    with LiveResponseClient(token, endpoint=emulator.url) as client:
        for submit in (
            lambda: client.submit(MACHINE, command, "why"),
            lambda: client.run_many([MACHINE], command, "why"),
        ):
            with pytest.raises(PermissionDeniedError) as caught:
                submit()
            assert "Library.Manage" in str(caught.value)
        findings = client.check(MACHINE, command).findings
        assert "error" in {found.level for found in findings if "Library.Manage" in found.message}
    assert not requests_of(emulator, "runliveresponse")


def test_prune(emulator: Emulator, client: LiveResponseClient, script: Path) -> None:
    command = Command.run_local(script)
    assert client.run(MACHINE, command, "why").ok
    name = command.params["ScriptName"]
    emulator.add_library_file("theirs.ps1", b"x")
    plan = client.library.prune(older_than=0, dry_run=True)
    assert (plan.delete, plan.others) == ((name,), ("theirs.ps1",))
    assert client.library.prune(older_than=3600).leave == (name,)
    assert asyncio.run(client.library.prune_async(older_than=0)) == plan
    assert [file.file_name for file in client.library.list_files()] == ["theirs.ps1"]
    with pytest.raises(InvalidRequestError, match="seconds"):
        client.library.prune(older_than=-1)


# -- arguments


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"Depth": 2},
        {"Name": 'it\'s; $(x) "y" & Müller \u2028', "list": [1, None, True], "n": {"a": 1.5}},
        MappingProxyType({"a": "?>~"}),
    ],
)
def test_a_mapping_is_one_argument(args: Mapping[str, Any]) -> None:
    for command in (Command.run_script("a.ps1", args), Command.run_inline("true", args)):
        assert decode(command.params["Args"]) == dict(args)


def test_equal_mappings_are_equal_commands() -> None:
    one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    assert Command.run_script("a.ps1", one) == Command.run_script("a.ps1", other)


def test_a_mapping_that_is_not_json() -> None:
    with pytest.raises(TypeError):
        Command.run_script("a.ps1", {"a": object()})
    with pytest.raises(InvalidRequestError, match="JSON"):
        Command.run_script("a.ps1", {"a": float("nan")})


def test_check_warns_of_arguments(client: LiveResponseClient, tmp_path: Path) -> None:
    def warnings(command: Command) -> set[str]:
        found = client.check(None, command).findings
        assert all("secret" not in it.message + it.hint for it in found)
        return {it.code for it in found if it.level == "warning" and it.code != "state"}

    for refused in ";&|!$()":
        assert warnings(Command.run_inline("true", f"secret{refused}")) == {"arguments"}
    assert warnings(Command.run_inline("true", 'secret "x"')) == {"arguments"}
    assert warnings(Command.run_inline("true", "x" * 30_001)) == {"arguments"}
    assert warnings(Command.run_inline("true", {"a": ';&|!$()"'})) == set()
    assert warnings(Command.run_inline("echo 'ü'")) == set()
    for name, text in [("a.ps1", "'ü'"), ("a.sh", "true\r\n")]:
        path = tmp_path / name
        path.write_bytes(text.encode())
        assert warnings(Command.run_local(path)) == {"script"}


# -- in real bash, as the Linux agent runs a script


def inline_bash(code: str) -> bytes:
    """Return what is uploaded for inline code: its pickled state ends with it."""
    reduced: Any = Command.run_inline(code, shell="bash").__reduce__()
    state: bytes = reduced[1][1]
    return state.split(b"\n", 2)[2]


def run_in_bash(script: bytes, *args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["/bin/bash", "-s", "--", *args], input=script, capture_output=True, timeout=30
    )


TRAP = 'echo before\ncat\nread -r line\necho "after $line"\nexit 3\n'


def test_a_command_that_reads_stdin_does_not_consume_the_script() -> None:
    # Without the wrapping, `cat` prints the rest of the script, and the exit code is 0.
    plain = run_in_bash(TRAP.encode())
    assert (plain.returncode, b"exit 3" in plain.stdout) == (0, True)
    done = run_in_bash(inline_bash(TRAP))
    assert (done.returncode, done.stdout) == (3, b"before\nafter \n")


def test_crlf_line_ends_work_in_bash() -> None:
    code = "if true; then\r\n  echo ok\r\nfi\r\n"
    assert run_in_bash(code.encode()).returncode != 0
    done = run_in_bash(inline_bash(code))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ok\n", b"")


@pytest.mark.parametrize(
    ("code", "out"),
    [
        ("echo 'it'\"'\"'s' \"$1\" $#", "it's two words 2\n"),
        ("cat <<'END'\n$x `y` 'z'\nEND\necho \\\n  done", "$x `y` 'z'\ndone\n"),
        ("shopt -s extglob\ncase ab in +(a|b)) echo yes;; esac", "yes\n"),
        ("#!/bin/sh\necho ü # comment", "ü\n"),
        (
            'f() { local x=$1; echo "$x"; }\nf a\nwhile read -r l; do echo "$l"; done <<< b',
            "a\nb\n",
        ),
        ("\ufeffecho mark", "mark\n"),
    ],
)
def test_inline_bash_means_what_it_says(code: str, out: str) -> None:
    done = run_in_bash(inline_bash(code), "two words", "b")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, out, b"")


@pytest.mark.parametrize(
    ("code", "status"),
    [("false", 1), ("exit 7", 7), ("set -e\nfalse\nexit 0", 1), ("trap 'exit 9' EXIT", 9)],
)
def test_the_exit_code_is_the_codes_own(code: str, status: int) -> None:
    assert run_in_bash(inline_bash(code)).returncode == status


# -- what docs/commands.md shows


def blocks(language: str) -> list[str]:
    page = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_the_bash_decoder() -> None:
    (decoder,) = blocks("bash")
    assert len(decoder.splitlines()) == 2
    for depth in ("2", "M\u00fcller's ?>~ \u2028"):
        command = Command.run_script("a.sh", {"depth": depth, "more": [1, {}]})
        for script in (
            (decoder + 'printf %s "$depth"\n').encode(),
            inline_bash(decoder + 'printf %s "$depth"\n'),
        ):
            done = run_in_bash(script, command.params["Args"])
            assert (done.stdout.decode(), done.stderr) == (depth, b"")


def test_the_powershell_decoder_decodes_what_is_sent() -> None:
    """Its steps, in Python: PowerShell is not run here."""
    (decoder,) = blocks("powershell")
    assert len(decoder.splitlines()) == 2
    steps = re.findall(r"Replace\('(.)', '(.)'\)", decoder)
    options = {"Depth": 2, "name": "M\u00fcller ?>~"}
    sent = Command.run_script("a.ps1", options).params["Args"]
    for old, new in steps:
        sent = sent.replace(old, new)
    # FromBase64String refuses missing padding and the other alphabet, as this does.
    assert json.loads(base64.b64decode(sent, validate=True)) == options


def test_the_examples_run(
    emulator: Emulator,
    client: LiveResponseClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulator.add_machine("srv-0001", osPlatform="Linux")
    emulator.put_remote_file("*", r"C:\Windows\Temp\collected.zip", b"PK")
    emulator.put_remote_file("*", "/tmp/collected.zip", b"PK")
    monkeypatch.chdir(tmp_path)
    for name in ("collector", "collector.exe"):
        (tmp_path / name).write_bytes(b"MZ")
    # tests/test_readme.py runs the first, which creates a client.
    examples = [example for example in blocks("python") if "LiveResponseClient" not in example]
    assert len(examples) == 2
    for example in examples:
        names: dict[str, Any] = {"Command": Command, "client": client}
        exec(example, names)
        assert names["result"].ok, names["result"].message


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
@pytest.mark.parametrize("make", [Command.put_local, Command.run_local])
def test_a_pipe_or_a_device_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], Command]
) -> None:
    """Nobody writes to the pipe, so reading it would never end."""
    pipe = tmp_path / "tool.sh"
    os.mkfifo(pipe)
    device = tmp_path / "zero.sh"
    device.symlink_to("/dev/zero")
    for path in (pipe, device):
        with pytest.raises(InvalidRequestError, match="not a regular file"):
            make(path)
