"""The pytest fixture, and the examples of docs/emulator.md."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from emulator_helpers import call

from mde_live_response.emulator import Emulator

PLUGIN = "mde_live_response.pytest_plugin"


@pytest.mark.mde_emulator(machines=5, speed=60)
def test_the_fixture(mde_emulator: Emulator) -> None:
    assert len(call(mde_emulator, "GET", "/api/machines")[1]["value"]) == 5


PAGE = (Path(__file__).parents[1] / "docs" / "emulator.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_pages_script(tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(BLOCKS[0], encoding="utf-8")
    command = [sys.executable, "-W", "error", "block.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    saved = {
        path.name: path.read_bytes()
        for path in (tmp_path / "evidence").rglob("*")
        if path.is_file()
    }
    manifest = [json.loads(line) for line in saved.pop("manifest.jsonl").splitlines()]
    assert saved == {"1_triage.zip": b"evidence"}
    assert [Path(line["path"]).name for line in manifest] == ["1_triage.zip"]


def test_the_pages_test(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "test_block.py").write_text(BLOCKS[1], encoding="utf-8")
    plugin = [] if request.config.pluginmanager.has_plugin("mde_live_response") else ["-p", PLUGIN]
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", *plugin, "test_block.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_a_positional_argument_of_the_mark_is_rejected(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    code = (
        "import pytest\n\n@pytest.mark.mde_emulator(5)\n"
        "def test_it(mde_emulator):\n    raise SystemExit\n"
    )
    (tmp_path / "test_mark.py").write_text(code, encoding="utf-8")
    plugin = [] if request.config.pluginmanager.has_plugin("mde_live_response") else ["-p", PLUGIN]
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "test_mark.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stdout
    assert (
        "mde_emulator(5): pass the arguments of Emulator by name, such as machines=5" in done.stdout
    )
