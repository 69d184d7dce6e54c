"""Collected files as evidence: checks a folder against its manifest, and packs it.

`run`, `run_many` and `Session.result` write the files and the manifest to the folder that is their
`save_to`. Nothing here calls the service.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from mde_live_response import _arguments as arguments
from mde_live_response._audit import compare, read_events
from mde_live_response._manifest import (
    CHUNK_SIZE,
    MANIFEST,
    check_folder,
    exists,
    hash_file,
    hash_stream,
    read_manifest,
)

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike
    from typing import Any

    from mde_live_response._manifest import Entries

__all__ = ["Packed", "Verification", "pack", "verify"]


class Verification:
    """What `verify` found.

    Attributes:
        ok: there are no problems.
        problems: one sentence for each problem. Names from the manifest are escaped.
        files: the number of files in the manifest.
        last: the SHA-256 of the manifest's last line; None if the manifest cannot be read.
        audit: what the audit log says of the collected files, as numbers: `events` of live
            response in the export; files whose SHA-256 is in it (`hash`), of which it has only the
            command (`command`), or nothing (`none`), and those of which it has only another
            SHA-256 (`contradicted`, which are problems too). None if no export was given.
    """

    __slots__ = ("audit", "files", "last", "problems")

    def __init__(
        self,
        problems: tuple[str, ...],
        files: int,
        last: str | None,
        audit: dict[str, int] | None = None,
    ) -> None:
        self.problems: tuple[str, ...] = problems
        self.files: int = files
        self.last: str | None = last
        self.audit: dict[str, int] | None = audit

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return {
            "ok": self.ok,
            "problems": list(self.problems),
            "files": self.files,
            "last": self.last,
            "audit": None if self.audit is None else dict(self.audit),
        }

    def __repr__(self) -> str:
        return f"<Verification: {self.files} files, {len(self.problems)} problems>"

    def _repr_html_(self) -> str:
        from mde_live_response.display.cards import to_html

        return to_html(self)


class Packed:
    """What `pack` wrote.

    Attributes:
        path: the zip; None if nothing was packed, because the folder has problems.
        size: the zip's size in bytes.
        sha256: the zip's SHA-256.
        verification: what was found in the folder and in the zip.
    """

    __slots__ = ("path", "sha256", "size", "verification")

    def __init__(
        self, verification: Verification, path: Path | None, size: int, sha256: str | None
    ) -> None:
        self.verification: Verification = verification
        self.path: Path | None = path
        self.size: int = size
        self.sha256: str | None = sha256

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        return {
            "path": None if self.path is None else str(self.path),
            "size": self.size,
            "sha256": self.sha256,
            "verification": self.verification.to_dict(),
        }

    def __repr__(self) -> str:
        return f"<Packed: {self.path}, SHA-256 {self.sha256}>"

    def _repr_html_(self) -> str:
        from mde_live_response.display.cards import to_html

        return to_html(self)


def verify(
    folder: str | PathLike[str],
    *,
    last: str | None = None,
    audit: str | PathLike[str] | None = None,
) -> Verification:
    """Check a folder of collected files against its manifest.

    Hashes every file that the manifest lists, and checks that no line of the manifest was
    changed, removed or moved. Files that the manifest does not list are problems too.

    Args:
        folder: the folder that was `save_to`.
        last: the SHA-256 of the manifest's last line, as noted when the run ended. Without it,
            lines removed from the end go unnoticed.
        audit: an export of the tenant's audit log (Purview), as CSV or JSON. Its events
            `LiveResponseGetFile` and `RunLiveResponseApi` are compared with the manifest. A file
            that the export does not have is no problem: an export has a span of time, and the log
            is late.

    Returns:
        The problems. It does not raise for what is in the folder or in the export.
    """
    return _inspect(*_checked_arguments(folder, last, audit))[0]


def pack(
    folder: str | PathLike[str],
    to: str | PathLike[str] | None = None,
    *,
    last: str | None = None,
    audit: str | PathLike[str] | None = None,
) -> Packed:
    """Put a folder of collected files into one zip, checked before and after.

    The zip contains the manifest and the files that it lists, and nothing else. Packing the same
    folder again gives the same bytes.

    Args:
        folder: the folder that was `save_to`.
        to: the zip to write; by default the folder's name with `.zip`, beside the folder.
        last: the SHA-256 of the manifest's last line, as noted when the run ended.
        audit: an export of the tenant's audit log, as `verify` compares it. It is not packed.

    Returns:
        The zip and its SHA-256. If the folder has problems, `path` is None: nothing is packed.

    Raises:
        InvalidRequestError: `to` is inside the folder.
        FileExistsError: `to` exists. It is not replaced.
        OSError: the zip cannot be written.
    """
    folder, last, log = _checked_arguments(folder, last, audit)
    to = arguments.path_or_none("to", to)
    target = (
        Path(to) if to is not None else folder.resolve().with_name(f"{folder.resolve().name}.zip")
    )
    _check_target(folder, target)
    verification, entries = _inspect(folder, last, log)
    if not verification.ok:
        return Packed(verification, None, 0, None)
    # A process that is killed leaves this name, never half a zip under the final one.
    descriptor, name = tempfile.mkstemp(".part", f".{target.name}.", target.parent)
    os.close(descriptor)
    partial = Path(name)
    try:
        problems = _write_zip(folder, entries, verification.last, partial)
        if problems:
            found = Verification(
                tuple(problems), verification.files, verification.last, verification.audit
            )
            return Packed(found, None, 0, None)
        digest, size = hash_file(partial)
        _rename_new(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return Packed(verification, target, size, digest)


def _check_target(folder: Path, target: Path) -> None:
    """Refuse what would fail after the files were read, or would make the folder fail `verify`."""
    if folder.resolve() in target.resolve().parents:
        from mde_live_response import InvalidRequestError

        raise InvalidRequestError(
            f"to is {str(target)!a}, inside the folder", hint="the manifest does not list the zip"
        )
    if exists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def _rename_new(partial: Path, target: Path) -> None:
    """Give a file its name, which must be new."""
    try:
        # A link refuses a name that exists, where a rename would replace it.
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        # Many sticks and network shares have no links.
        target.touch(exist_ok=False)
        partial.replace(target)


def _checked_arguments(
    folder: object, last: object, audit: object
) -> tuple[Path, str | None, Path | None]:
    log = arguments.path_or_none("audit", audit)
    return (
        Path(arguments.path("folder", folder)),
        arguments.text_or_none("last", last),
        None if log is None else Path(log),
    )


def _inspect(folder: Path, last: str | None, audit: Path | None) -> tuple[Verification, Entries]:
    """Return what is wrong with a folder, and the entries of its manifest by path."""
    manifest = folder / MANIFEST
    if manifest.is_symlink() or not manifest.is_file():
        problem = f"there is no {MANIFEST} in {str(folder)!a}"
        if not folder.is_dir():
            problem = f"{str(folder)!a} is not a folder"
        elif exists(manifest):
            problem += ": it is not a plain file"
        return Verification((problem,), 0, None), {}
    try:
        problems, entries, digest = check_folder(folder)
    except OSError as error:
        problem = f"{str(manifest)!a} cannot be read: {error.strerror}"
        return Verification((problem,), 0, None), {}
    if last is not None and last.strip().lower() != digest:
        problems.append(
            "the last line does not have the given hash: lines at the end were removed or added"
        )
    counts = None
    if audit is not None:
        try:
            contradictions, counts = compare(entries, read_events(audit))
            problems += contradictions
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            problems.append(f"the audit log {str(audit)!a} cannot be read: {str(reason)!a}")
    return Verification(tuple(problems), len(entries), digest, counts), entries


def _write_zip(folder: Path, entries: Entries, last: str | None, target: Path) -> list[str]:
    """Write the zip, read it back, and return the problems of what it contains."""
    import zipfile

    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in [MANIFEST, *sorted(entries)]:
            # A fixed time, so that the same content gives the same zip.
            item = zipfile.ZipInfo(path)
            item.compress_type = zipfile.ZIP_DEFLATED
            # The size is not told in advance: a file over 2 GiB needs the larger form.
            with (
                (folder / path).open("rb") as source,
                archive.open(item, "w", force_zip64=True) as packed,
            ):
                while chunk := source.read(CHUNK_SIZE):
                    packed.write(chunk)
    with target.open("rb+") as stream:
        os.fsync(stream.fileno())
    problems = []
    with zipfile.ZipFile(target) as archive:
        # A run that goes on adds lines, and files that are not in the zip.
        with archive.open(MANIFEST) as stream:
            if read_manifest(stream) != ([], entries, last):
                problems.append(f"{MANIFEST} changed while it was packed: pack it again")
        for path, entry in entries.items():
            with archive.open(path) as stream:
                digest, size = hash_stream(stream)
            if (digest, size) != (entry["sha256"], entry["size"]):
                problems.append(f"{path!a} changed while it was packed")
    return problems
