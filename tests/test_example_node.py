"""The example of a test suite in Node: config, control and violations, over HTTP only."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "node_playbook"
NODE = shutil.which("node") or ""
pytestmark = pytest.mark.skipif(not NODE, reason="Node is not installed")


def run_tests(folder: Path) -> subprocess.CompletedProcess[str]:
    # The command of this package, as an installation has it.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return subprocess.run(
        [NODE, "--test", "--test-reporter=tap"],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_suite_passes() -> None:
    done = run_tests(EXAMPLE)
    assert done.returncode == 0, done.stdout + done.stderr
    named = re.findall(r"^ *ok \d+ - (.*)$", done.stdout, re.MULTILINE)
    declared = re.findall(r'^test\("(.*?)"', (EXAMPLE / "playbook.test.mjs").read_text(), re.M)
    assert len(declared) == 7
    assert set(declared) <= set(named)


@pytest.mark.parametrize(
    ("right", "wrong", "failed"),
    [
        # Submits again after a lost answer.
        (
            "if (!(error instanceof TypeError)) throw error; // The service answered.",
            "return this.submit(machine, comment);",
            "a lost answer does not run the script twice",
        ),
        # Takes a session for its own that it did not start.
        (
            "(action) => action.requestorComment === comment",
            "() => false",
            "a lost answer does not run the script twice",
        ),
        # Keeps a token that has expired.
        ("response.status === 401", "false", "a machine that stays offline ends as TimeOut"),
        # Does not wait.
        ("response.status === 429", "false", "it waits when the service says so"),
    ],
)
def test_the_suite_finds_a_mistake(right: str, wrong: str, failed: str, tmp_path: Path) -> None:
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder)
    playbook = folder / "playbook.mjs"
    code = playbook.read_text(encoding="utf-8")
    assert right in code
    playbook.write_text(code.replace(right, wrong), encoding="utf-8")
    done = run_tests(folder)
    assert done.returncode == 1, done.stdout
    assert re.search(rf"^ *not ok \d+ - {re.escape(failed)}$", done.stdout, re.MULTILINE)
