"""Runs the examples of the README and of pages as a user would: from a file, credentials in the
environment. Checks the links of all pages."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mde_live_response.emulator import Emulator

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
REPOSITORY = "https://github.com/mde-live-response/mde-live-response"
# Other tests run the examples of the other pages, and those that need a client of their own.
PAGE_NAMES = ("access", "commands", "fleet", "library", "sessions")
RUN = [README, *(ROOT / "docs" / f"{name}.md" for name in PAGE_NAMES)]


def blocks_of(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for block in blocks if "LiveResponseClient(" in block]


BLOCKS = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in RUN
    for number, block in enumerate(blocks_of(page))
]


def test_the_pages_have_examples() -> None:
    assert [len(blocks_of(page)) for page in RUN] == [1, 1, 1, 2, 1, 3]


@pytest.mark.parametrize("block", BLOCKS)
def test_the_example_runs(block: str, emulator: Emulator, tmp_path: Path) -> None:
    emulator.add_machine("srv-01.example.test", machineTags=["servers"])
    emulator.add_library_file("triage.ps1", b"# collects what matters")
    emulator.on_script("triage.ps1", stdout="done\r\n")
    emulator.put_remote_file("*", r"C:\Temp\triage.zip", b"what matters" * 100)
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


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 80


PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_source_files_exist(page: Path) -> None:
    folders = "src|python|tests|tools|benches|examples|docs|fuzz"
    named = re.findall(rf"`((?:{folders})/[\w./]+)`", page.read_text(encoding="utf-8"))
    assert not [path for path in named if not (ROOT / path).exists()]


def links_of(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_have_targets(page: Path) -> None:
    for link in links_of(page):
        path, _, heading = link.partition("#")
        own = re.fullmatch(rf"{REPOSITORY}/(?:blob|tree)/main/(.+)", path)
        if own is None and re.match("https?://", link):
            continue
        linked = ROOT / own[1] if own else page.parent / path if path else page
        assert linked.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in slugs, link


def test_the_links_of_the_readme_hold_on_the_package_index() -> None:
    assert [link for link in links_of(README) if not link.startswith("https://")] == []


# Comments that no user sees. Doc comments of the binding are the docstrings of the package.
COMMENT = {".rs": r"\s*//", ".py": r"\s*#", ".pyi": r"\s*#"}
BINDING_COMMENT = r"\s*//(?!/)"
PRIVATE = ROOT / "python/mde_live_response/_audit.py"


def pages_cited_to_users() -> list[tuple[str, str]]:
    """Return each file whose messages or docstrings cite a page, and the words before its name."""
    places = []
    for path in sorted({*ROOT.glob("src/**/*"), *ROOT.glob("python/**/*")} - {PRIVATE}):
        comment = COMMENT.get(path.suffix)
        if comment is None:
            continue
        if "python" in path.relative_to(ROOT).parts and path.suffix == ".rs":
            comment = BINDING_COMMENT
        lines = path.read_text(encoding="utf-8").splitlines()
        shown = [line for line in lines if not re.match(comment, line)]
        cited = [re.search(r"(\S*docs/[\w-]+\.md)", line) for line in shown]
        places += [(str(path.relative_to(ROOT)), found[1]) for found in cited if found]
    return places


def test_pages_cited_to_users_can_be_reached() -> None:
    """An installed package has no folder docs/: a message or a docstring gives the address."""
    places = pages_cited_to_users()
    assert len(places) >= 7
    for path, cited in places:
        assert cited.startswith(f"{REPOSITORY}/blob/main/docs/"), path
        assert (ROOT / "docs" / cited.rpartition("/")[2]).exists(), path
