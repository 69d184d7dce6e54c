"""Reads the manifest of collected files, and checks the files against it.

Anybody may have written the manifest: nothing in it is believed, and no file outside the folder
is read.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

MANIFEST = "manifest.jsonl"
INITIAL_HASH = "0" * 64
CHUNK_SIZE = 1 << 20
Entries = dict[str, dict[str, object]]
"""The entries of a manifest by path."""

#: The longest line that is read as JSON. A longer one is only hashed.
MAX_LINE = 1 << 20


def check_folder(folder: Path) -> tuple[list[str], Entries, str]:
    """Return the problems, the manifest's entries by path, and the hash of its last line."""
    with (folder / MANIFEST).open("rb") as manifest:
        problems, entries, last = read_manifest(manifest)
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
    return problems, entries, last


def read_manifest(manifest: IO[bytes]) -> tuple[list[str], Entries, str]:
    """Return the problems of the lines, the entries by path, and the hash of the last line."""
    problems: list[str] = []
    entries: Entries = {}
    previous = INITIAL_HASH
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
            path = entry["path"]
            known = entries.setdefault(path, entry)
            # The client writes one line for each file. The first one counts.
            if (known["sha256"], known["size"]) != (entry["sha256"], entry["size"]):
                problems.append(f"line {number} has other content for {path!a} than a line before")
        # The chain goes on from an unreadable line, so that one bad line is one problem.
        previous = digest
    return problems, entries, previous


def _read_lines(manifest: IO[bytes]) -> Iterator[tuple[bytes, str | None]]:
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
        entry = json.loads(line, object_pairs_hook=_unique)
        has_strings = all(isinstance(entry[key], str) for key in ("path", "sha256", "previous"))
        has_size = type(entry["size"]) is int
        return entry if has_strings and has_size else None
    # Nested too deep, the parser runs out of stack.
    except (ValueError, KeyError, TypeError, RecursionError, MemoryError):
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. Of a key that is there twice, other programs may read the other value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


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
    digest, size = hash_file(file)
    if size != entry["size"]:
        yield f"{path!a} has {size} bytes instead of {entry['size']}"
    elif digest != entry["sha256"]:
        yield (f"{path!a} was changed: its SHA-256 is {digest} instead of {entry['sha256']!a}")


def hash_file(path: Path) -> tuple[str, int]:
    with path.open("rb") as stream:
        return hash_stream(stream)


def hash_stream(stream: Any) -> tuple[str, int]:
    """Return the SHA-256 and the size of what a stream contains."""
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(CHUNK_SIZE):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _list_files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if (path.is_symlink() or not path.is_dir()) and path != folder / MANIFEST:
            yield path.relative_to(folder).as_posix()
