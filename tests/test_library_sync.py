"""`library.sync`: which folders it refuses, what it reads from scripts, and what a kill leaves."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from runtime_helpers import library_names, requests_of, wait_until

import mde_live_response as mde
from mde_live_response import LiveResponseClient
from mde_live_response.__main__ import main
from mde_live_response.emulator import Emulator

PAGE = (Path(__file__).parents[1] / "docs/library.md").read_text(encoding="utf-8")


# -- descriptions


def test_descriptions_of_scripts_and_settings(client: LiveResponseClient, folder: Path) -> None:
    help_text = "<#\n.SYNOPSIS\nSammelt Spuren.\n.PARAMETER Depth\nHow deep.\n#>\n'x'\n"
    (folder / "b.ps1").write_text(help_text, encoding="utf-16")
    settings = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
    (folder / "mde-library.json").write_text(settings)
    (folder / "collector.exe").write_bytes(b"MZ")
    client.library.sync(folder)
    a, b, tool = client.library.list_files()
    for file, start in ((a, "Collects it."), (b, "Sammelt Spuren."), (tool, "collects triage")):
        assert file.sha256
        assert file.description
        assert file.description.startswith(start)
        assert file.description.endswith(f" [mlr:sync:responders:{file.sha256[:16]}]")
    assert [file.parameters_description for file in (a, b, tool)] == [
        None,
        "-Depth: How deep",
        "--out FILE",
    ]
    own = json.loads(settings)
    own["files"]["b.ps1"] = {"parameters_description": ""}
    (folder / "mde-library.json").write_text(json.dumps(own))
    assert client.library.sync(folder).describe == ("b.ps1",)
    assert client.library.list_files()[1].has_parameters is False


def test_the_page(
    client: LiveResponseClient,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # tests/test_readme.py runs the first.
    _, code = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(folder.parent)
    exec(code, {"client": client})
    assert capsys.readouterr().out == "('a.sh',) () () () ()\n"
    assert library_names(client) == ["a.sh"]


# -- others


def test_a_lost_mark_is_a_warning(
    emulator: Emulator,
    client: LiveResponseClient,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "mde_live_response"):
        assert client.library.sync(folder).add == ("a.sh",)
        assert not caplog.records
        (folder / "a.sh").write_text("id -a\n")
        # The last check, after the lists for the plan and for the change.
        emulator.fault("*", "libraryfiles", "delay", nth=3, seconds=5.0)
        lists = len(requests_of(emulator, "libraryfiles"))
        with ThreadPoolExecutor(1) as pool:
            syncing = pool.submit(client.library.sync, folder)
            wait_until(lambda: len(requests_of(emulator, "libraryfiles")) == lists + 3, "a list")
            with emulator.client() as other:
                other.library.upload(folder / "a.sh", description="mine now", overwrite=True)
            assert syncing.result().replace == ("a.sh",)
        wait_until(lambda: '"a.sh" has no mark of this sync' in caplog.text, "the warning")
    assert client.library.sync(folder).leave == ("a.sh",)


def test_a_conflict_is_a_warning_and_the_end_is_1(
    emulator: Emulator,
    client: LiveResponseClient,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulator.add_library_file("A.SH", b"theirs")
    emulator.add_library_file("other.sh", b"theirs")
    (folder / "b.sh").write_text("ls")
    with caplog.at_level(logging.WARNING, "mde_live_response"):
        plan = asyncio.run(client.library.sync_async(str(folder), delete=True))
        wait_until(lambda: '"A.SH" is not synced' in caplog.text, "the warning")
    assert (plan.add, plan.others, plan.conflicts) == (("b.sh",), ("A.SH", "other.sh"), ("A.SH",))
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    assert main(["library", "sync", str(folder)]) == 1
    assert "A.SH: not synced" in capsys.readouterr().out
    listed = {file.file_name: file.sha256 for file in client.library.list_files()}
    assert listed["A.SH"] == hashlib.sha256(b"theirs").hexdigest()


def test_the_command(
    emulator: Emulator,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    sync = ["library", "sync", str(folder)]
    assert main([*sync, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a.sh: would be added",
        "1 file would be changed; unchanged: 0",
    ]
    assert main(sync) == 0
    assert capsys.readouterr().out.startswith("a.sh: added\n")
    (folder / "mde-library.json").write_text("{}")
    (folder / "a.sh").unlink()
    assert main([*sync, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["leave"] == ["a.sh"]
    assert main([*sync, "--delete", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["delete"] == ["a.sh"]
    (folder / "a b").touch()
    assert main([*sync, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "InvalidRequestError"
    assert main(["library", "sync", str(folder / "missing"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "FileNotFoundError"


def test_ensure_updates_a_description(
    emulator: Emulator, client: LiveResponseClient, folder: Path
) -> None:
    path = folder / "a.sh"
    ensure = client.library.ensure
    assert ensure(path, description="one", parameters_description="-d N").changed
    assert ensure(path).changed is False
    emulator.fault("POST", "upload", "drop_after")
    changed = ensure(path, description="two")
    assert (changed.changed, changed.description) == (True, "two")
    assert changed.parameters_description == "-d N"
    assert ensure(path, description="two", parameters_description="-d N").changed is False
    assert ensure(path, parameters_description="-x").description == "two"
    emulator.fault("POST", "upload", "status", status=503)
    with pytest.raises(mde.ServiceError):
        ensure(path, description="three")


# -- a killed process

SYNC = """
import sys
from mde_live_response import LiveResponseClient

with LiveResponseClient() as client:
    client.library.sync(sys.argv[1], delete=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("acts", [False, True], ids=["before it arrives", "after it arrived"])
def test_a_killed_sync_is_continued(acts: bool, emulator: Emulator, folder: Path) -> None:
    for name in ("b.sh", "c.sh"):
        (folder / name).write_text("id")
    emulator.fault("*", "upload", "delay", nth=2, seconds=600.0, acts=acts)
    env = {**os.environ, **emulator.env}
    process = subprocess.Popen([sys.executable, "-c", SYNC, str(folder)], env=env)
    try:
        wait_until(lambda: len(requests_of(emulator, "upload")) == 2, "the second upload")
    finally:
        process.kill()
        process.wait()
    with emulator.client() as client:
        done = ("a.sh", "b.sh") if acts else ("a.sh",)
        wait_until(lambda: library_names(client) == list(done), "what was uploaded")
        plan = client.library.sync(folder, delete=True)
        assert plan.leave == done
        assert plan.add == ("a.sh", "b.sh", "c.sh")[len(done) :]
        assert library_names(client) == ["a.sh", "b.sh", "c.sh"]
