"""The examples of the job, and the same work as it is written by hand today, on the emulator."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runtime_helpers import requests_of

from mde_live_response import Command, LiveResponseClient
from mde_live_response.emulator import Emulator

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
BY_HAND = EXAMPLES / "as_written_today"
SPEED = 200.0
NAMES = [f"case-{number:02}.example.test" for number in range(10)]
OUTPUT = b"PK\x03\x04 what the tool wrote"


def load(path: Path) -> Any:
    """Import an example by its path."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(machines=2, speed=SPEED) as emulator:
        for name in NAMES:
            emulator.add_machine(name, machineTags=["case-42"])
        yield emulator


@pytest.fixture
def by_hand(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a script by hand reach the emulator, and sleep on its clock."""
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds / SPEED))


def processes(machine_id: str, args: str | None) -> str:
    """Print what triage.ps1 prints: one line of JSON for each process."""
    started = "Transcript started, output file is C:\\ProgramData\\x.txt\r\n"
    found = [{"name": "a", "pid": 7, "path": f"C:\\Users\\{machine_id[:4]}\\a.exe"}] * 2
    return started + "".join(json.dumps(record) + "\r\n" for record in found)


def set_local_script(emulator: Emulator, client: LiveResponseClient, command: Command) -> None:
    """Set what a local script prints. It is not in the library yet."""
    name = command.params["ScriptName"]
    emulator.on_script(name, stdout=processes)
    client.library.delete(name)


# -- triage


def test_triage_to_a_dataframe(emulator: Emulator) -> None:
    example = load(EXAMPLES / "triage_to_dataframe.py")
    with emulator.client() as client:
        set_local_script(emulator, client, Command.run_local(example.SCRIPT))
        found, rows = example.triage(client)
    assert sorted(found["machine"]) == sorted(NAMES * 2)
    assert found.columns == ["machine", "machine_id", "name", "pid", "path"]
    assert sorted(rows["computer_dns_name"]) == NAMES
    assert set(rows["reason"]) == {"ok"}
    assert len(requests_of(emulator, "upload")) == 1
    assert not any(emulator.violations.values())


@pytest.mark.usefixtures("by_hand")
def test_triage_by_hand(emulator: Emulator) -> None:
    emulator.on_script("triage.ps1", stdout=processes)
    found = load(BY_HAND / "triage_to_dataframe.py").main()
    assert sorted(found["machine"]) == sorted(NAMES * 2)
    assert list(found.columns) == ["machine", "name", "pid", "path"]


@pytest.mark.usefixtures("by_hand")
def test_what_triage_by_hand_gets_wrong(
    emulator: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator.on_script("triage.ps1", stdout=processes)
    emulator.add_library_file("triage.ps1", b"# a colleague's script")
    emulator.set_online(NAMES[1], False)
    # The first submit is accepted, and its answer is lost.
    emulator.fault("POST", "runliveresponse", "drop_after")
    # The last machine's status cannot be read once.
    emulator.fault("GET", "resultlink", "status", nth=8, status=503)
    found = load(BY_HAND / "triage_to_dataframe.py").main()
    assert emulator.violations["duplicate_submit"] == 1, "it ran twice on one machine"
    printed = capsys.readouterr().out
    assert f"{NAMES[1]}: no answer" in printed
    assert found["machine"].nunique() == 8, "one was off, and of one the result was not fetched"
    (file,) = [
        file for file in emulator.client().library.list_files() if "triage" in file.file_name
    ]
    content = (EXAMPLES / "triage.ps1").read_bytes()
    assert file.sha256 == hashlib.sha256(content).hexdigest(), "the colleague's script is gone"


def test_triage_with_the_same_failures(emulator: Emulator) -> None:
    example = load(EXAMPLES / "triage_to_dataframe.py")
    with emulator.client() as client:
        set_local_script(emulator, client, Command.run_local(example.SCRIPT))
        emulator.add_library_file("triage.ps1", b"# a colleague's script")
        emulator.fault("POST", "runliveresponse", "drop_after")
        emulator.fault("GET", "resultlink", "status", nth=8, status=503)
        found, rows = example.triage(client)
        assert set(rows["reason"]) == {"ok"}
        assert sorted(found["machine"]) == sorted(NAMES * 2)
        assert len(client.library.list_files()) == 2
    assert not any(emulator.violations.values())


# -- a tool


@pytest.fixture
def tool(tmp_path: Path, emulator: Emulator) -> Path:
    path = tmp_path / "collector.exe"
    path.write_bytes(b"MZ a tool")
    emulator.put_remote_file("*", r"C:\Windows\Temp\collected.zip", OUTPUT)
    return path


def test_push_a_tool(emulator: Emulator, tool: Path, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    # A proxy's page comes in place of the first result.
    emulator.fault("GET", "blob", "page", nth=2, body="<html>blocked</html>")
    with emulator.client() as client:
        result = load(EXAMPLES / "push_tool.py").collect(client, NAMES[0], tool, folder)
    (file,) = result.files
    assert file.path.read_bytes() == OUTPUT
    saved = sorted(path.name for path in file.path.parent.iterdir())
    assert saved[1] == "2_collected.zip"
    assert saved[0].startswith("1_inline-")
    assert saved[0].endswith(".ps1.transcript.json")
    assert not any(emulator.violations.values())


@pytest.mark.usefixtures("by_hand")
def test_push_a_tool_by_hand(emulator: Emulator, tool: Path, tmp_path: Path) -> None:
    example = load(BY_HAND / "push_tool.py")
    assert example.main(NAMES[0], tool, tmp_path / "evidence").read_bytes() == OUTPUT


@pytest.mark.usefixtures("by_hand")
def test_what_a_tool_by_hand_gets_wrong(emulator: Emulator, tool: Path, tmp_path: Path) -> None:
    example = load(BY_HAND / "push_tool.py")
    emulator.fault("GET", "blob", "page", body="<html>blocked</html>")
    target = example.main(NAMES[0], tool, tmp_path / "evidence")
    assert target.read_bytes() == b"<html>blocked</html>", "a proxy's page became evidence"
    example.main(NAMES[0], tool, tmp_path / "evidence")
    assert target.read_bytes() == OUTPUT, "the second result replaced the first"


# -- the page


def test_the_page_has_the_line_counts() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/example_lines.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('"""Doc."""\n\nimport os\n\n\n# why\ndef f():\n    """Doc.\n\n    More.\n    """\n', 2),
        ('x = """\na\n"""  # three\n', 3),
        ("", 0),
    ],
)
def test_lines_are_counted(text: str, count: int) -> None:
    assert load(ROOT / "tools/example_lines.py").count_lines(text) == count
