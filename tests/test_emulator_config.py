"""`Emulator(config=)` and `emulator --config`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from emulator_helpers import DIRECT, call, finished, result, run, script

from mde_live_response import InvalidRequestError, Limits, Rate
from mde_live_response._cli import main
from mde_live_response.emulator import Emulator

BOX = r"""
seed: 7
speed: 50
limits: {sessions: 2, submit: [{count: 4, per: 60}]}
switches: {accepted_status: 200}
machines:
  - ws-0001.example.test
  - name: srv-01.example.test
    osPlatform: Linux
library:
  - {name: helper.exe, file: helper.exe}
scripts:
  - {name: triage.ps1, stdout: found it, exit_code: 3}
files:
  - {path: 'C:\Temp\a.bin', file: a.bin}
"""


PAGE = (Path(__file__).parents[1] / "docs/emulator-control.md").read_text(encoding="utf-8")


def test_the_config_of_the_page(tmp_path: Path) -> None:
    (text,) = re.findall(r'^```yaml title="box.yaml"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    for name in ("helper.exe", "triage.zip"):
        (tmp_path / name).write_bytes(b"content")
    path = tmp_path / "box.yaml"
    path.write_text(text, encoding="utf-8")
    with Emulator(config=path) as emulator:
        config = config_of(emulator)
    sections = re.findall(r"^(\w+):", text, re.MULTILINE)
    assert len(sections) == 10
    assert all(config[section] for section in sections)
    # The page shows this mistake, in the same line.
    path.write_text(text.replace("online:", "onlin:"), encoding="utf-8")
    with pytest.raises(InvalidRequestError) as raised:
        Emulator(config=path)
    (shown,) = re.findall(r"^config box.yaml, (.*), \.\.\.$", PAGE, re.MULTILINE)
    assert f"config {path}, {shown}" in str(raised.value)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "helper.exe").write_bytes(b"MZ")
    (tmp_path / "a.bin").write_bytes(b"\x00\xff")
    path = tmp_path / "box.yaml"
    path.write_text(BOX, encoding="utf-8")
    return path


def config_of(emulator: Emulator) -> dict[str, Any]:
    with DIRECT.open(f"{emulator.url}/__box/config", timeout=30) as response:
        config: dict[str, Any] = json.load(response)
        return config


def test_a_file(box: Path) -> None:
    with Emulator(config=box) as emulator:
        assert "2 machines, speed 50" in repr(emulator)
        command = "GetFile", {"Path": r"C:\Temp\a.bin"}
        action = run(emulator, script("triage.ps1"), command, machine="srv-01")
        ended = finished(emulator, action["id"])
        assert ended["status"] == "Succeeded"
        assert json.loads(result(emulator, action["id"]))["exit_code"] == 3
        assert emulator.requests[1]["status"] == 200
        files = call(emulator, "GET", "/api/libraryfiles")[1]["value"]
        assert [file["fileName"] for file in files] == ["helper.exe", "triage.ps1"]
        # The client gets the limits and the speed of the config.
        with emulator.client() as client:
            machine = client.get_machine("srv-01.example.test")
            assert machine.raw["osPlatform"] == "Linux"


def test_a_saved_config(box: Path, tmp_path: Path) -> None:
    with Emulator(config=str(box)) as first:
        first.fault("POST", "cancel", "page", nth=2, body="<html>")
        saved = config_of(first)
        ids = first.tenant_id, first.client_id, first.client_secret
    (tmp_path / "saved.json").write_text(json.dumps(saved), encoding="utf-8")
    for config in (tmp_path / "saved.json", saved):
        with Emulator(config=config) as second:
            assert config_of(second) == saved
            assert (second.tenant_id, second.client_id, second.client_secret) == ids


def test_arguments_take_precedence(box: Path) -> None:
    limits = Limits(sessions=9)
    arguments = {"speed": 1.0, "seed": 0, "machines": 3, "limits": limits}
    with Emulator(config=box, switches={"windows": "fixed"}, **arguments) as emulator:  # type: ignore[arg-type]
        config = config_of(emulator)
    assert (config["speed"], config["seed"], config["limits"]["sessions"]) == (1.0, 0, 9)
    assert config["switches"] == {"accepted_status": 200, "windows": "fixed"}
    # Numbered machines first, then those that the config lists.
    assert len(config["machines"]) == 5
    with Emulator(config={"machines": 5}) as emulator:
        assert len(config_of(emulator)["machines"]) == 5
    with Emulator(config={"machines": 5}, machines=1) as emulator:
        assert len(config_of(emulator)["machines"]) == 1
    with Emulator(config=box, switches={"accepted_status": 201}) as emulator:
        assert config_of(emulator)["switches"] == {}


def test_a_config_takes_precedence_over_a_profile(tmp_path: Path) -> None:
    with Emulator(switches={"list_order": "oldest", "accepted_status": 200}) as emulator:
        emulator.client().probe().save(tmp_path / "profile.json")
    config = {"switches": {"list_order": "newest"}}
    with Emulator(config=config, profile=tmp_path / "profile.json") as emulator:
        assert "list_order" not in config_of(emulator)["switches"]


def test_a_mapping_with_values_of_python(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")
    config = {
        "machines": ("a.example.test", {"name": "b.example.test"}),
        "limits": Limits(submit=[Rate(1, 60.0)]),
        "files": [
            {"path": "/a", "content": b"\xff"},
            {"path": "/b", "file": tmp_path / "a.txt"},
        ],
    }
    with Emulator(config=config) as emulator:
        saved = config_of(emulator)
    assert saved["files"] == [
        {"machine": "*", "path": "/a", "content_base64": "/w=="},
        {"machine": "*", "path": "/b", "file": str(tmp_path / "a.txt")},
    ]
    assert saved["limits"]["submit"] == [{"count": 1, "per": 60.0}]


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (5, TypeError, "config is 5; it must be a mapping or the path of a file"),
        ({5: 1}, TypeError, "a key of config is 5; it must be a str"),
        ({"nope": 1}, InvalidRequestError, 'config: config has no key "nope"'),
        (
            {"scripts": [{"name": "a", "stdout": print}]},
            TypeError,
            "config.scripts[0].stdout is <built-in function print>; a config has no callables",
        ),
        ({"speed": {1}}, TypeError, "config.speed is {1}, which JSON cannot represent"),
        ({"speed": float("nan")}, InvalidRequestError, "config.speed is nan"),
        (
            {"machines": [{"name": "a"}, {"name": "b", "onlin": True}]},
            InvalidRequestError,
            'config, machines[1]: machine has no key "onlin"; valid keys are name, online',
        ),
        (
            {"files": [{"path": "/a", "file": "/x/y"}]},
            InvalidRequestError,
            "config, files[0]: file",
        ),
        (
            {"files": [{"path": "/a", "machine": "x", "content": ""}]},
            InvalidRequestError,
            'config, files[0]: the emulator has no machine "x"',
        ),
    ],
)
def test_mistakes(config: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        Emulator(config=config)
    assert str(raised.value).startswith(message)


def test_a_mapping_that_contains_itself() -> None:
    config: dict[str, Any] = {}
    config["notes"] = config
    with pytest.raises(InvalidRequestError, match="50 levels at most"):
        Emulator(config=config)


def test_a_mistake_in_a_file_names_it(box: Path) -> None:
    box.write_text("machines: 3\nscripts:\n  - {name: a.ps1, exit: 1}\n", encoding="utf-8")
    with pytest.raises(InvalidRequestError) as raised:
        Emulator(config=box)
    expected = f'config {box}, line 3, scripts[0]: script has no key "exit"; valid keys are name'
    assert str(raised.value).startswith(expected)
    with pytest.raises(FileNotFoundError, match="could not read the config"):
        Emulator(config=box.parent / "none.yaml")


def test_the_command(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "mde_live_response", "emulator", "--config", str(box)]
    with subprocess.Popen([*command, "--seed", "9"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            shown = json.loads(server.stdout.readline())
            with DIRECT.open(f"{shown['url']}/__box/config", timeout=30) as response:
                config = json.load(response)
        finally:
            server.terminate()
    assert (config["seed"], config["speed"], len(config["machines"])) == (9, 50.0, 2)
    box.write_text("machines: many", encoding="utf-8")
    assert main(["emulator", "--config", str(box)]) == 2
    assert f"config {box}, line 1: machines must be" in capsys.readouterr().err


def test_the_defaults_are_the_documented_ones() -> None:
    import inspect

    parameters: Callable[[str], Any] = inspect.signature(Emulator).parameters.__getitem__
    defaults = [parameters(name).default for name in ("machines", "speed", "seed")]
    assert [str(default) for default in defaults] == ["3", "1.0", "0"]
