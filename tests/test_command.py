"""Commands: what raises, and what is sent."""

import copy
import pickle
import shlex
from typing import Any

import pytest

from mde_live_response import Command, InvalidRequestError

# learn.microsoft.com/defender-endpoint/api/run-live-response, its request example
PAGE: list[dict[str, Any]] = [
    {
        "type": "RunScript",
        "params": [
            {"key": "ScriptName", "value": "minidump.ps1"},
            {"key": "Args", "value": "OfficeClickToRun"},
        ],
    },
    {
        "type": "GetFile",
        "params": [{"key": "Path", "value": "C:\\windows\\TEMP\\OfficeClickToRun.dmp.zip"}],
    },
]
ONE_OF_EACH = [
    Command.put_file("helper.exe"),
    Command.run_script("triage.ps1"),
    Command.run_script("triage.ps1", "-Depth 2"),
    Command.get_file(r"C:\Temp\triage.zip"),
]


def test_the_example_of_the_page() -> None:
    run = Command.run_script("minidump.ps1", "OfficeClickToRun")
    get = Command.get_file(r"C:\windows\TEMP\OfficeClickToRun.dmp.zip")
    assert [run.to_dict(), get.to_dict()] == PAGE
    assert [Command.from_dict(wire) for wire in PAGE] == [run, get]


def test_type_and_params() -> None:
    assert [command.type for command in ONE_OF_EACH] == [
        "PutFile",
        "RunScript",
        "RunScript",
        "GetFile",
    ]
    assert [command.params for command in ONE_OF_EACH] == [
        {"FileName": "helper.exe"},
        {"ScriptName": "triage.ps1"},
        {"ScriptName": "triage.ps1", "Args": "-Depth 2"},
        {"Path": r"C:\Temp\triage.zip"},
    ]


def test_script_name_comes_before_args() -> None:
    assert list(Command.run_script("a.ps1", "b").params) == ["ScriptName", "Args"]
    backwards = {"type": "RunScript", "params": list(reversed(PAGE[0]["params"]))}
    assert Command.from_dict(backwards).to_dict() == PAGE[0]


def test_no_args_are_not_sent() -> None:
    assert Command.run_script("a.ps1").to_dict()["params"] == [
        {"key": "ScriptName", "value": "a.ps1"}
    ]


@pytest.mark.parametrize("command", ONE_OF_EACH, ids=repr)
def test_it_survives_pickling_and_copying(command: Command) -> None:
    others = [
        pickle.loads(pickle.dumps(command)),
        copy.copy(command),
        copy.deepcopy(command),
        Command.from_dict(command.to_dict()),
    ]
    for other in others:
        assert other == command
        assert hash(other) == hash(command)
        assert repr(other) == repr(command)


def test_equality() -> None:
    assert len(set(ONE_OF_EACH)) == len(ONE_OF_EACH)
    assert Command.put_file("a") != Command.run_script("a")
    assert Command.run_script("a") != Command.run_script("a", "")
    anything: object = "a"
    assert Command.put_file("a") != anything


def test_it_cannot_be_changed() -> None:
    command = Command.put_file("helper.exe")
    with pytest.raises(AttributeError):
        command.type = "GetFile"  # type: ignore[misc]
    command.params["FileName"] = "other.exe"
    assert command.params == {"FileName": "helper.exe"}


@pytest.mark.parametrize(
    "name", ["", " ", "a b.ps1", "dir/a.ps1", "dir\\a.ps1", "a;b", "ä.ps1", "a\n.ps1", "a\0"]
)
def test_a_name_that_the_library_does_not_accept(name: str) -> None:
    with pytest.raises(InvalidRequestError):
        Command.put_file(name)
    with pytest.raises(InvalidRequestError):
        Command.run_script(name)


@pytest.mark.parametrize("name", ["a", "A-1_b.c.ps1", "triage.sh", "0"])
def test_a_name_that_the_library_accepts(name: str) -> None:
    assert Command.put_file(name).params == {"FileName": name}
    assert Command.run_script(name).params == {"ScriptName": name}


@pytest.mark.parametrize("path", ["", "   "])
def test_an_empty_path(path: str) -> None:
    with pytest.raises(InvalidRequestError):
        Command.get_file(path)


@pytest.mark.parametrize("path", ["/var/log/syslog", r"C:\Temp\ä b.zip", r"\\?\C:\x"])
def test_a_path_is_sent_unchanged(path: str) -> None:
    assert Command.get_file(path).params == {"Path": path}


@pytest.mark.parametrize(
    "wire",
    [
        {},
        {"type": "RunPowerShell", "params": [{"key": "ScriptName", "value": "a.ps1"}]},
        {"type": "runscript", "params": [{"key": "ScriptName", "value": "a.ps1"}]},
        {"type": "RunScript", "params": []},
        {"type": "RunScript", "params": [{"key": "Args", "value": "x"}]},
        {"type": "RunScript", "params": [{"key": "ScriptName", "value": ""}]},
        {"type": "GetFile", "params": [{"key": "FileName", "value": "a"}]},
        {"type": "GetFile", "params": "C:\\a"},
    ],
    ids=repr,
)
def test_an_invalid_dict(wire: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        Command.from_dict(wire)


@pytest.mark.parametrize("args", ["-Depth 2", "  two  blanks", 'it\'s; $(as) "is"'])
def test_a_str_is_sent_unchanged(args: str) -> None:
    assert Command.run_script("a.ps1", args).params["Args"] == args
    assert Command.run_script("a.sh", args).params["Args"] == args


@pytest.mark.parametrize(
    ("args", "sent"),
    [
        (
            ["-Depth", "2"],
            "-Depth 2",
        ),  # quoted, PowerShell would take the name of a parameter as a string
        (["-Name", "two words"], "-Name 'two words'"),
        (["it's"], "'it''s'"),
        (["$env:TEMP"], "'$env:TEMP'"),
        (["a;b", "c|d", "e&f", "(g)"], "'a;b' 'c|d' 'e&f' '(g)'"),
        (["a`b", 'c"d'], "'a`b' 'c\"d'"),
        ([""], "''"),
        (("a", "b"), "a b"),
    ],
)
def test_a_sequence_is_quoted_for_powershell(args: list[str], sent: str) -> None:
    assert Command.run_script("triage.ps1", args).params["Args"] == sent
    assert Command.run_script("TRIAGE.PS1", args).params["Args"] == sent
    assert Command.run_script("triage", args).params["Args"] == sent


@pytest.mark.parametrize("name", ["triage.sh", "triage.py"])
@pytest.mark.parametrize(
    "args", [["-d", "2"], ["two words"], ["it's"], ["$HOME", "a;b"], ["", "\\"], ["*", "~", "#"]]
)
def test_a_sequence_is_quoted_for_sh(name: str, args: list[str]) -> None:
    assert shlex.split(Command.run_script(name, args).params["Args"]) == args


@pytest.mark.parametrize("name", ["triage.ps1", "triage.sh"])
def test_an_empty_sequence_sends_no_args(name: str) -> None:
    assert Command.run_script(name, []) == Command.run_script(name)
    assert Command.run_script(name, ()).params == {"ScriptName": name}


@pytest.mark.parametrize(
    ("args", "sent"),
    [(["-Name:-x"], "-Name:'-x'"), (["-Name:it's"], "-Name:'it''s'"), (["--", "-x"], "-- -x")],
)
def test_a_value_that_begins_with_a_dash(args: list[str], sent: str) -> None:
    assert Command.run_script("triage.ps1", args).params["Args"] == sent


def test_plain_words_are_not_quoted_for_sh() -> None:
    assert Command.run_script("a.sh", ["-d", "2", "/var/log"]).params["Args"] == "-d 2 /var/log"


@pytest.mark.parametrize("args", [3, [1, 2], b"x", {"a": 1}.items()])
def test_args_of_another_type(args: Any) -> None:
    with pytest.raises(TypeError):
        Command.run_script("a.ps1", args)
