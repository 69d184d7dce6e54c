"""The command `python -m mde_live_response verify`: checks collected files against a manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from typing import Any

__all__ = ["add_command", "verify"]

MANIFEST = "manifest.jsonl"
INITIAL_HASH = "0" * 64
CHUNK_SIZE = 1 << 20


def add_command(commands: Any) -> None:
    """Add `verify` to the command line."""
    parser = commands.add_parser(
        "verify",
        allow_abbrev=False,
        help="check a folder of collected files against its manifest",
        description="Hash every file that a run's manifest lists, and check that no line of the "
        "manifest was changed, removed or moved. Prints each problem, and the hash of the last "
        "line. Exit code 0: no problems.",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder that was save_to")
    parser.add_argument(
        "--last", metavar="SHA256", help="the hash of the last line, as stored when the run ended"
    )
    parser.set_defaults(call=_run)


def _run(options: argparse.Namespace) -> int:
    manifest = options.folder / MANIFEST
    if not manifest.is_file():
        print(f"there is no {MANIFEST} in {str(options.folder)!a}")
        return 1
    problems, files, last = verify(options.folder)
    if options.last is not None and options.last.lower() != last:
        problems.append(
            "the last line does not have the hash given by --last: "
            "lines at the end were removed or added"
        )
    for problem in problems:
        print(problem)
    print(f"{files} files, {len(problems) or 'nothing'} wrong; the last line's SHA-256: {last}")
    return 1 if problems else 0


def verify(folder: Path) -> tuple[list[str], int, str]:
    """Return the problems, the number of files in the manifest, and the hash of its last line."""
    problems: list[str] = []
    entries: dict[str, dict[str, Any]] = {}
    content = (folder / MANIFEST).read_bytes()
    lines = content.split(b"\n")
    if lines.pop():
        problems.append(
            "the last line is incomplete: its writer was stopped. Resume the run to write it again"
        )
    previous = INITIAL_HASH
    for number, line in enumerate(lines, 1):
        entry = _parse_entry(line)
        if entry is None:
            problems.append(f"line {number} is not a manifest entry")
        else:
            if entry["previous"] != previous:
                problems.append(
                    f"line {number} does not follow line {number - 1}: "
                    "a line was changed, removed or moved"
                )
            entries[entry["path"]] = entry
        # The chain continues after an unreadable line, so that one bad line is one problem.
        previous = hashlib.sha256(line).hexdigest()
    for path, entry in entries.items():
        problems += _check_file(folder, path, entry)
    problems += [
        f"{path!a} is not in the manifest" for path in _list_files(folder) if path not in entries
    ]
    return problems, len(entries), previous


def _parse_entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
        has_strings = all(isinstance(entry[key], str) for key in ("path", "sha256", "previous"))
        return entry if has_strings and isinstance(entry["size"], int) else None
    except (ValueError, KeyError, TypeError):
        return None


def _check_file(folder: Path, path: str, entry: dict[str, Any]) -> Iterator[str]:
    # The manifest may have been forged: never read a file outside the folder.
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or Path(path).is_absolute() or "\\" in path:
        yield f"{path!a} points outside the folder"
        return
    file = folder.joinpath(*parts)
    if file.is_symlink() or not file.is_file():
        yield f"{path!a} is missing"
        return
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_SIZE):
            digest.update(chunk)
            size += len(chunk)
    if size != entry["size"]:
        yield f"{path!a} has {size} bytes instead of {entry['size']}"
    elif digest.hexdigest() != entry["sha256"]:
        yield (
            f"{path!a} was changed: its SHA-256 is {digest.hexdigest()} "
            f"instead of {entry['sha256']!a}"
        )


def _list_files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if (path.is_symlink() or not path.is_dir()) and path != folder / MANIFEST:
            yield path.relative_to(folder).as_posix()
