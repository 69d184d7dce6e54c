"""Runs the README's examples as a user would: from a file, credentials in the environment."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mde_live_response.emulator import Emulator

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def test_the_readme_has_examples() -> None:
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block{number}" for number in range(len(BLOCKS))])
def test_the_example_runs(block: str, emulator: Emulator, tmp_path: Path) -> None:
    machine = "ws-0001.example.test"
    emulator.add_library_file("triage.ps1", b"# collects what matters")
    emulator.on_script("triage.ps1", stdout="done\r\n")
    emulator.put_remote_file(machine, r"C:\Temp\triage.zip", b"what matters" * 100)
    (tmp_path / "triage.ps1").write_bytes(b"# collects what matters")
    script = tmp_path / "block.py"
    script.write_text(block, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env={**os.environ, **emulator.env},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not emulator.violations or not any(emulator.violations.values())


ROOT = README.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_source_files_exist(page: Path) -> None:
    folders = "src|python|tests|tools|benches|examples|docs|fuzz"
    named = re.findall(rf"`((?:{folders})/[\w./]+)`", page.read_text(encoding="utf-8"))
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_targets(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, heading = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in slugs, target
