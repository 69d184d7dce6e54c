"""Read which files of `src` name each other, and find the groups whose imports go in a circle."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sources import Source


def module_of(path: str) -> tuple[str, ...]:
    parts = path.removeprefix("src/").removesuffix(".rs").split("/")
    if parts[-1] in ("mod", "lib"):
        parts.pop()
    return tuple(parts)


def expand(tree: str) -> Iterator[str]:
    """`a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace < 0:
        yield tree.split(" as ")[0].strip()
        return
    prefix, inner, depth, start = tree[:brace], tree[brace + 1 : tree.rfind("}")], 0, 0
    for index, letter in enumerate(inner + ","):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            if item := inner[start:index].strip():
                for path in expand(item):
                    yield prefix + path
            start = index + 1


def imports(sources: Iterable[Source]) -> dict[str, dict[str, int]]:
    """For each file of `src`, the files that it names, and the line where it does so first."""
    rust = [
        source
        for source in sources
        if source.path.startswith("src/") and source.path.endswith(".rs")
    ]
    files = {module_of(source.path): source.path for source in rust}
    arrows: dict[str, dict[str, int]] = {}
    for source in rust:
        found: dict[str, int] = {}
        text = "\n".join(without_comment(line) for line in source.text.splitlines())
        text = re.split(r"^#\[cfg\(test\)\]\nmod tests", text, flags=re.MULTILINE)[0]
        if is_test_module(source.path):
            continue
        for target, line in paths_in(text, module_of(source.path)):
            parts = list(target)
            while parts and tuple(parts) not in files:
                parts.pop()
            path = files.get(tuple(parts))
            if path and path != source.path:
                found.setdefault(path, line)
        arrows[source.path] = found
    return arrows


def is_test_module(path: str) -> bool:
    return bool(re.search(r"(^|/)(tests|\w+_tests)(\.rs|/)", path))


def without_comment(line: str) -> str:
    return "" if line.lstrip().startswith("//") else line


def paths_in(text: str, module: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    for match in re.finditer(r"\b(?:pub(?:\([^)]*\))? )?use ([^;]+);", text):
        line = text.count("\n", 0, match.start()) + 1
        for path in expand(re.sub(r"\s+", " ", match.group(1))):
            if resolved := resolve(path, module):
                yield resolved, line
    for match in re.finditer(r"(?<![\w:])((?:crate|super)(?:::\w+)+)", text):
        if resolved := resolve(match.group(1), module):
            yield resolved, text.count("\n", 0, match.start()) + 1


def resolve(path: str, module: tuple[str, ...]) -> tuple[str, ...] | None:
    parts = [part.strip() for part in path.split("::")]
    if parts[0] == "crate":
        return tuple(parts[1:])
    base = list(module)
    if parts[0] == "self":
        return (*base, *parts[1:])
    if parts[0] != "super":
        return None
    while parts and parts[0] == "super":
        parts.pop(0)
        base = base[:-1]
    return (*base, *parts)


def is_parent(a: str, b: str) -> bool:
    first, second = module_of(a), module_of(b)
    return first[: len(second)] == second or second[: len(first)] == first


def components(graph: dict[str, list[str]]) -> list[list[str]]:
    """Strongly connected components, by Tarjan's algorithm without recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    for root in graph:
        if root in index:
            continue
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in graph:
                    continue
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    work.append((target, iter(graph[target])))
                    break
                if target in stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == index[node]:
                    group = stack[stack.index(node) :]
                    del stack[stack.index(node) :]
                    found.append(group)
    return found
