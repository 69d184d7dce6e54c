"""Read the sources of this project, their comments apart from their code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Source:
    """One source file, its comments apart from its code."""

    path: str
    text: str
    #: (line number, text) of doc comments and docstrings, and of plain comments.
    docs: list[tuple[int, str]] = field(default_factory=list)
    plain: list[tuple[int, str]] = field(default_factory=list)
    #: (line number, text) of what is neither a comment nor blank.
    code: list[tuple[int, str]] = field(default_factory=list)

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]


def read_sources(root: Path) -> list[Source]:
    folders = ("src", "python", "benches", "tests", "examples", "tools")
    paths = (path for folder in folders for path in sorted((root / folder).rglob("*")))
    kinds = {
        ".rs": split_rust,
        ".py": split_python,
        ".pyi": split_python,
        ".lua": split_lua,
        ".sql": split_lua,
    }
    sources = []
    for path in paths:
        split = kinds.get(path.suffix)
        if split and path.is_file() and "__pycache__" not in path.parts:
            source = Source(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
            split(source)
            sources.append(source)
    return sources


def split_rust(source: Source) -> None:
    for number, line in enumerate(source.text.splitlines(), 1):
        text = line.strip()
        if text.startswith(("///", "//!")):
            source.docs.append((number, text[3:]))
        elif text.startswith("//"):
            source.plain.append((number, text[2:]))
        elif text:
            source.code.append((number, line))


def split_lua(source: Source) -> None:
    for number, line in enumerate(source.text.splitlines(), 1):
        text = line.strip()
        if text.startswith("--"):
            source.plain.append((number, text[2:]))
        elif text:
            source.code.append((number, line))


def split_python(source: Source) -> None:
    in_docstring = False
    for number, line in enumerate(source.text.splitlines(), 1):
        text = line.strip()
        quotes = text.count('"""')
        if in_docstring or text.startswith(('"""', 'r"""')):
            source.docs.append((number, text.replace('"""', " ")))
            in_docstring = in_docstring != (quotes % 2 == 1)
        elif text.startswith("#"):
            source.plain.append((number, text.lstrip("#:")))
        elif text:
            source.code.append((number, line))
