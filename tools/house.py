"""Measure how easy the sources are to read, and check that imports follow the map in `src/lib.rs`.

`python tools/house.py` prints one row for each measure beside its goal, and ends with 1 when a goal
is missed. `--details` lists what each row counted.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rust_imports import components, imports, is_parent, module_of
from sources import Source, read_sources

ROOT = Path(__file__).resolve().parent.parent
UNUSUAL_WORDS = ROOT / "tools" / "unusual_words.txt"

FILE_LINES = 300
FUNCTION_LINES = 60
CODE_COLUMNS = 100

WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")


@dataclass
class Measure:
    """One row: a figure, its goal, and what was counted."""

    name: str
    figure: str
    goal: str
    met: bool
    details: list[str] = field(default_factory=list)


# ------------------------------------------------------------------------------------------ prose


def unusual_words(sources: Iterable[Source]) -> Iterator[Measure]:
    """Count words of `unusual_words.txt` in 1,000 words of comment, in the folder that has most."""
    lines = UNUSUAL_WORDS.read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    unusual = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in patterns), re.IGNORECASE)
    words: Counter[str] = Counter()
    found: Counter[str] = Counter()
    details = []
    for source in sources:
        for number, text in source.docs + source.plain:
            prose = re.sub(r"`[^`]*`", " ", text)
            words[source.folder] += len(WORD.findall(prose))
            for match in unusual.finditer(prose):
                found[source.folder] += 1
                details.append(f"{source.path}:{number}: {match.group()}")
    rates = {
        folder: 1000 * found[folder] / count for folder, count in words.items() if count >= 100
    }
    worst = max(rates, key=lambda folder: rates[folder], default="")
    rate = rates.get(worst, 0.0)
    everywhere = 1000 * sum(found.values()) / max(1, sum(words.values()))
    figure = f"{rate:.1f} in {worst}, {everywhere:.2f} overall"
    yield Measure(
        "unusual words per 1,000 comment words", figure, "under 1 everywhere", rate < 1, details
    )


def reasons(sources: Iterable[Source]) -> Iterator[Measure]:
    """Plain comments say why: doc comments say what."""
    ours = [source for source in sources if source.path.startswith(("src/", "python/"))]
    ours = [source for source in ours if not source.path.endswith(".pyi")]
    comments = sum(len(source.plain) for source in ours)
    share = 100 * comments / max(1, sum(len(source.code) for source in ours))
    yield Measure(
        "comment lines that say why, of code lines", f"{share:.1f} %", "2-4 %", 2 <= share <= 4
    )


# ------------------------------------------------------------------------------------------ sizes


def sizes(sources: Iterable[Source]) -> Iterator[Measure]:
    ours = [source for source in sources if not source.path.endswith(".pyi")]
    shipped = [source for source in ours if source.path.startswith(("src/", "python/"))]
    long = [(source.path, source.text.count("\n")) for source in shipped]
    long = [(path, lines) for path, lines in long if lines > FILE_LINES]
    details = [f"{path}: {lines} lines" for path, lines in long]
    yield Measure(f"files over {FILE_LINES} lines", str(len(long)), "0", not long, details)
    functions = [found for source in shipped for found in long_functions(source)]
    yield Measure(
        f"functions over {FUNCTION_LINES} lines", str(len(functions)), "0", not functions, functions
    )
    lines = [(source.path, number, len(line)) for source in ours for number, line in source.code]
    wide = [f"{path}:{number}: {width}" for path, number, width in lines if width > CODE_COLUMNS]
    share = 100 * len(wide) / max(1, len(lines))
    yield Measure(
        f"code lines over {CODE_COLUMNS} columns", f"{share:.2f} %", "under 1 %", share < 1, wide
    )


def long_functions(source: Source) -> Iterator[str]:
    """Functions whose lines, from the first of the body to the last, are too many for a screen."""
    starts = r"\s*(?:pub(?:\([^)]*\))? )?(?:async |const |unsafe )*fn (\w+)"
    if not source.path.endswith(".rs"):
        starts = r"\s*(?:async )?def (\w+)"
    lines = source.text.splitlines()
    for number, line in enumerate(lines):
        match = re.match(starts, line)
        if not match:
            continue
        indent = len(line) - len(line.lstrip())
        end = number + 1
        while end < len(lines):
            after = lines[end]
            if (
                after.strip()
                and len(after) - len(after.lstrip()) <= indent
                and after.strip()[0] not in ")]>"
            ):
                break
            end += 1
        if end - number > FUNCTION_LINES:
            yield f"{source.path}:{number + 1}: {match.group(1)}, {end - number} lines"


# ------------------------------------------------------------------------------------------ names

TYPE = re.compile(
    r"^\s*(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|union|type) (\w+)", re.MULTILINE
)


def double_names(sources: Iterable[Source]) -> Iterator[Measure]:
    """Count names of types with several definitions, of which none wraps or converts another."""
    places: dict[str, list[str]] = defaultdict(list)
    texts = {}
    for source in sources:
        if source.path.startswith("src/") and source.path.endswith(".rs"):
            text = re.split(r"^#\[cfg\(test\)\]", source.text, flags=re.MULTILINE)[0]
            texts[source.path] = text
            for name in set(TYPE.findall(outside_impl(text))):
                places[name].append(source.path)
    double = {name: found for name, found in places.items() if len(found) > 1}
    details = []
    for name, found in sorted(double.items()):
        roots = [path for path in found if not wraps(name, texts[path])]
        if len(roots) > 1:
            details.append(f"{name}: {', '.join(found)}")
    figure = f"{len(details)} of {len(places)}"
    yield Measure("type names with two meanings", figure, "at most 10", len(details) <= 10, details)


def outside_impl(text: str) -> str:
    """Associated types belong to their trait."""
    return "\n".join(line for line in text.splitlines() if not re.match(r"\s+type ", line))


def wraps(name: str, text: str) -> bool:
    """The file names another type of this name by its path, or imports it under another name."""
    return bool(re.search(rf"\b\w+::{name}\b|\b{name} as \w+", text))


# ---------------------------------------------------------------------------------------- imports


def circles(sources: Iterable[Source]) -> Iterator[Measure]:
    arrows = imports(sources)
    graph = {
        path: [to for to in found if not is_parent(path, to)] for path, found in arrows.items()
    }
    found = [group for group in components(graph) if len(group) > 1]
    details = [" <-> ".join(sorted(group)) for group in found]
    yield Measure("circles of imports between files", str(len(found)), "0", not found, details)


def map_of(text: str) -> list[set[str]]:
    """The layers of the `text` block that begins with `python`, top first."""
    block = re.search(r"```text\n(?:[/! ]*)python\n(.*?)```", text, re.DOTALL)
    if not block:
        return []
    lines = ["python", *block.group(1).splitlines()]
    layers = [set(re.findall(r"\w+", line)) for line in lines]
    return [layer for layer in layers if layer]


def upward(sources: Iterable[Source]) -> Iterator[Measure]:
    """Count imports that do not go down the map of `src/lib.rs`, and mistakes in the maps."""
    layers = map_of((ROOT / "src/lib.rs").read_text(encoding="utf-8"))
    drawn = map_of((ROOT / "docs/design.md").read_text(encoding="utf-8"))
    height = {module: number for number, layer in enumerate(layers) for module in layer}
    details = []
    if layers != drawn:
        details.append("the maps in src/lib.rs and docs/design.md differ")
    arrows = imports(sources)
    modules = {module_of(path)[:1] for path in arrows}
    details += [f"{name} is on the map only" for name in sorted(height) if (name,) not in modules]
    for path, found in arrows.items():
        for to, line in found.items():
            above, below = module_of(path)[:1], module_of(to)[:1]
            if not above or not below or above == below:
                continue
            missing = [name for name in (*above, *below) if name not in height]
            if missing:
                details.append(f"{path}:{line}: {', '.join(missing)} is not on the map")
            elif height[above[0]] >= height[below[0]]:
                details.append(f"{path}:{line}: {above[0]} uses {below[0]}, which is not below it")
    yield Measure("imports that go up the map", str(len(details)), "0", not details, details)


MEASURES: tuple[Callable[[list[Source]], Iterator[Measure]], ...] = (
    unusual_words,
    double_names,
    circles,
    upward,
    sizes,
    reasons,
)


def measure(root: Path = ROOT) -> list[Measure]:
    sources = read_sources(root)
    return [row for rows in MEASURES for row in rows(sources)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--details", action="store_true", help="list what each row counted")
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout to measure")
    options = parser.parse_args()
    rows = measure(options.root)
    for row in rows:
        print(f"{'ok  ' if row.met else 'MISS'} {row.name:45} {row.figure:45} goal: {row.goal}")
        for detail in row.details if options.details else ():
            print(f"       {detail}")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
