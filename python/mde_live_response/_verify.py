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
    from typing import Any, BinaryIO

__all__ = ["add_command", "verify"]

MANIFEST = "manifest.jsonl"
INITIAL_HASH = "0" * 64
CHUNK_SIZE = 1 << 20
#: The longest line that is read as JSON. A longer one is only hashed.
MAX_LINE = 1 << 20


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
    if manifest.is_symlink() or not manifest.is_file():
        what = "is not a plain file" if _exists(manifest) else "does not exist"
        print(f"there is no {MANIFEST} in {str(options.folder)!a}: it {what}")
        return 1
    try:
        problems, files, last = verify(options.folder)
    except OSError as error:
        print(f"{str(manifest)!a} cannot be read: {error.strerror}")
        return 1
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
    previous = INITIAL_HASH
    with (folder / MANIFEST).open("rb") as manifest:
        for number, (line, digest) in enumerate(_read_lines(manifest), 1):
            if digest is None:
                problems.append(
                    "the last line is incomplete: its writer was stopped. "
                    "Resume the run to write it again"
                )
                break
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
            # The chain goes on from an unreadable line, so that one bad line is one problem.
            previous = digest
    for path, entry in entries.items():
        try:
            problems += _check_file(folder, path, entry)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            problems.append(f"{path!a} cannot be read: {reason}")
    try:
        listed = list(_list_files(folder))
    except OSError as error:
        problems.append(f"{str(folder)!a} cannot be listed: {error.strerror}")
        listed = []
    problems += [f"{path!a} is not in the manifest" for path in listed if path not in entries]
    return problems, len(entries), previous


def _read_lines(manifest: BinaryIO) -> Iterator[tuple[bytes, str | None]]:
    """Yield each line without its end and its hash, which is None for an incomplete last line."""
    while part := manifest.readline(MAX_LINE + 1):
        line, digest = part, hashlib.sha256()
        # A line that is too long is read in parts, and only its first part is kept.
        while not part.endswith(b"\n"):
            digest.update(part)
            part = manifest.readline(CHUNK_SIZE)
            if not part:
                yield line, None
                return
        digest.update(part[:-1])
        yield line.removesuffix(b"\n"), digest.hexdigest()


def _parse_entry(line: bytes) -> dict[str, Any] | None:
    if len(line) > MAX_LINE:
        return None
    try:
        entry = json.loads(line)
        has_strings = all(isinstance(entry[key], str) for key in ("path", "sha256", "previous"))
        has_size = type(entry["size"]) is int
        return entry if has_strings and has_size else None
    # Nested too deep, the parser runs out of stack.
    except (ValueError, KeyError, TypeError, RecursionError, MemoryError):
        return None


def _check_file(folder: Path, path: str, entry: dict[str, Any]) -> Iterator[str]:
    # The manifest may have been forged: never read a file outside the folder.
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or Path(path).is_absolute() or "\\" in path:
        yield f"{path!a} points outside the folder"
        return
    file = folder
    for part in parts:
        file /= part
        if file.is_symlink():
            yield f"{path!a} is missing: there is a link in its place"
            return
    if not file.is_file():
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


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _list_files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if (path.is_symlink() or not path.is_dir()) and path != folder / MANIFEST:
            yield path.relative_to(folder).as_posix()
