"""What the sources and pages cite exists: sections of docs/service.md, files, and modules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("src", "python", "tests", "tools", "examples", "benches", "fuzz/fuzz_targets", "docs")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SERVICE = ROOT / "docs/service.md"

NUMBERS = r"\d+(?:\.\d+)?(?:(?:, | and | or )\d+(?:\.\d+)?)*"
CITATION = re.compile(
    rf"(?:docs/)?service\.md[`)]*,? sections? ({NUMBERS})(?:, rows? (\d+))?"
    rf"|sections? ({NUMBERS}) of `?(?:docs/)?service\.md"
)
# Comments are wrapped, so a citation may continue behind the next line's comment sign.
COMMENT_SIGN = re.compile(r"\n\s*(?://[/!]?|#:?|--)?\s*")


def cited(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield the section and, if there is one, the row of each citation."""
    for match in CITATION.finditer(COMMENT_SIGN.sub(" ", text)):
        for section in re.findall(r"\d+(?:\.\d+)?", match.group(1) or match.group(3)):
            yield section, match.group(2)


def sections(page: str) -> dict[str, str]:
    """Return the text of each numbered section, by its number."""
    parts = re.split(r"^#{2,3} (\d+(?:\.\d+)?)\.? .*$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            kinds = (".rs", ".py", ".pyi", ".lua", ".sql", ".txt", ".md")
            if path.suffix in kinds and path.name != Path(__file__).name:
                yield path
    yield from ROOT.glob("*.md")


def test_every_cited_section_of_the_page_about_the_service_exists() -> None:
    known = sections(SERVICE.read_text(encoding="utf-8"))
    count, wrong = 0, []
    for path in sources():
        for section, row in cited(path.read_text(encoding="utf-8")):
            count += 1
            has_row = row is None or f"\n| {row} |" in known.get(section, "")
            if section not in known or not has_row:
                wrong.append(f"{path.relative_to(ROOT)}: section {section}, row {row}")
    assert not wrong
    assert count > 50, "the citations are written in a form that this test does not find"


def test_citations_are_found_across_lines() -> None:
    text = "//! Text (docs/service.md,\n//! sections 6.1 and 6.4).\n"
    assert list(cited(text)) == [("6.1", None), ("6.4", None)]
    assert list(cited("# docs/service.md, section 15, row\n# 30")) == [("15", "30")]
    assert list(cited("the rows of section 5.1 of `docs/service.md`")) == [("5.1", None)]
    assert sections("# a\n## 1. One\nx\n### 1.2 Two\n| 3 | y |\n") == {
        "1": "\nx\n",
        "1.2": "\n| 3 | y |\n",
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:src|tests|tools|python|docs|benches|examples|fuzz)/[\w./-]+)`", text)
    links = re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text)
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_the_modules_that_the_design_names_exist() -> None:
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    modules, rest = text.split("## Inside the larger modules")
    found = 0
    for line in modules.splitlines():
        for name in re.findall(r"`(\w+)`", line.split("|")[1] if line.startswith("| `") else ""):
            found += 1
            assert exists(f"src/{name}"), name
    for line in rest.split("\n## ")[0].splitlines():
        if line.startswith("| `"):
            folder, *names = re.findall(r"`(\w+)`", line)
            for name in names:
                found += 1
                # Types and traits are in the file or folder that the row names before them.
                assert name[0].isupper() or exists(f"src/{folder}/{name}"), f"{folder}/{name}"
    assert found > 50


def exists(module: str) -> bool:
    return (ROOT / module).is_dir() or (ROOT / f"{module}.rs").is_file()


def test_an_operation_is_named_in_two_files_of_the_core() -> None:
    """With the binding and the stub, these are the four places of CONTRIBUTING.md."""
    named = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "src").rglob("*.rs"))
        if "emulator" not in path.parts
        and "tests" not in path.stem
        and "DeleteLibraryFile" in path.read_text(encoding="utf-8")
    ]
    assert named == ["src/client.rs", "src/operation.rs"]


def test_the_promises_name_tests_that_exist() -> None:
    page = (ROOT / "docs" / "exactly-once.md").read_text(encoding="utf-8")
    named = {
        row.rstrip(" |").rpartition("`")[0].rpartition("`")[2]
        for row in page.splitlines()
        if row.startswith("| ") and row.rstrip(" |").endswith("`")
    }
    sources = [*ROOT.glob("tests/**/*.rs"), *ROOT.glob("src/**/*.rs")]
    rust = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    missing = [name for name in named if f"fn {name}(" not in rust and not (ROOT / name).is_file()]
    assert len(named) >= 12
    assert not missing
