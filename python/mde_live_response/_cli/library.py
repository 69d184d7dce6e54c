"""The commands for the tenant's library: `library list`, `upload`, `sync` and the others."""

from __future__ import annotations

from pathlib import Path

import mde_live_response as mde
from mde_live_response._cli.exit_codes import FAILED, OK
from mde_live_response._cli.options import (
    add_command,
    connection_options,
    make_client,
    seconds,
)
from mde_live_response._cli.output import print_document, print_list, print_text
from mde_live_response._cli.words import count

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any


__all__ = ["add_library"]


def add_library(commands: Any) -> None:
    """Add `library` to the command line."""
    library = commands.add_parser("library", help="list, upload and delete library files")
    actions = library.add_subparsers(
        dest="action", required=True, metavar="list|upload|ensure|delete|sync|prune"
    )
    service = (connection_options(),)
    add_command(
        actions,
        "list",
        _list,
        help="list the library's files",
        example="mde-live-response library list",
        parents=service,
    )
    for name, call, what in (
        ("upload", _upload, "upload a file"),
        ("ensure", _ensure, "upload a file unless the library has the same content"),
    ):
        example = f"mde-live-response library {name} triage.ps1 --description 'case 42'"
        parser = add_command(actions, name, call, help=what, example=example, parents=service)
        _add_upload_options(parser)
    delete = add_command(
        actions,
        "delete",
        _delete,
        help="delete a file",
        example="mde-live-response library delete triage.ps1",
        parents=service,
    )
    delete.add_argument("name", metavar="NAME", help="the file's name in the library")
    _add_sync(actions, service)
    prune = add_command(
        actions,
        "prune",
        _prune,
        help="delete files that --put-local, --run-local and --run-inline uploaded",
        description="Delete files that --put-local, --run-local and --run-inline uploaded, unless "
        "an open or unresolved submit or a run may still need them.",
        example="mde-live-response library prune --older-than 86400 --dry-run",
        parents=service,
    )
    prune.add_argument(
        "--older-than",
        type=seconds,
        required=True,
        metavar="S",
        help="only files that were uploaded more than S seconds ago",
    )
    prune.add_argument("--dry-run", action="store_true", help="say what would be deleted")


def _add_sync(actions: Any, service: tuple[argparse.ArgumentParser, ...]) -> None:
    sync = add_command(
        actions,
        "sync",
        _sync,
        help="bring the library in step with a folder",
        description="Upload the files of a folder that the library does not have or has with other "
        "content, and update their descriptions. Files of others are never touched. Ends with 1 if "
        "one of them has the name of a file of the folder, and other content.",
        example="mde-live-response library sync scripts --delete --dry-run",
        parents=service,
    )
    # Not a `Path`: that of an empty text is the current folder.
    sync.add_argument("folder", metavar="DIR", help="the folder")
    sync.add_argument(
        "--delete",
        action="store_true",
        help="delete files that an earlier sync uploaded and DIR no longer has",
    )
    sync.add_argument("--dry-run", action="store_true", help="say what would be changed")


def _add_upload_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="the file to upload")
    add("--name", metavar="NAME", help="its name in the library (default: the file's)")
    add("--description", default="", metavar="TEXT", help="what it is for")
    add("--parameters-description", metavar="TEXT", help="the parameters of the script")
    add("--overwrite", action="store_true", help="replace a file of that name")


def _print_file(file: mde.LibraryFile, options: argparse.Namespace) -> None:
    if options.json:
        print_document(file.to_dict())
        return
    unchanged = "the library has it already" if file.changed is False else "uploaded"
    print_text(f"{file.file_name}: {unchanged}, SHA-256 {file.sha256}")


def _list(options: argparse.Namespace) -> int:
    with make_client(options) as client:
        files = client.library.list_files()
    heads = ("NAME", "UPDATED", "CREATED BY", "SHA-256", "DESCRIPTION")
    print_list(
        files,
        mde.LibraryFile.to_dict,
        heads,
        _file_row,
        empty="the library is empty",
        as_json=options.json,
    )
    return OK


def _file_row(file: mde.LibraryFile) -> tuple[object, ...]:
    return (
        file.file_name,
        file.last_updated_time and file.last_updated_time.strftime("%Y-%m-%d %H:%M"),
        file.created_by,
        file.sha256 and file.sha256[:12],
        file.description,
    )


def _upload_arguments(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "name": options.name,
        "description": options.description,
        "parameters_description": options.parameters_description,
        "overwrite": options.overwrite,
    }


def _upload(options: argparse.Namespace) -> int:
    with make_client(options) as client:
        _print_file(client.library.upload(options.file, **_upload_arguments(options)), options)
    return OK


def _ensure(options: argparse.Namespace) -> int:
    with make_client(options) as client:
        _print_file(client.library.ensure(options.file, **_upload_arguments(options)), options)
    return OK


def _delete(options: argparse.Namespace) -> int:
    with make_client(options) as client:
        client.library.delete(options.name)
    if options.json:
        print_document({"deleted": options.name})
    else:
        print_text(f"{options.name}: deleted")
    return OK


def _prune(options: argparse.Namespace) -> int:
    with make_client(options) as client:
        plan = client.library.prune(older_than=options.older_than, dry_run=options.dry_run)
    if options.json:
        print_document(plan.to_dict())
        return OK
    what = "would be deleted" if options.dry_run else "deleted"
    for name in plan.delete:
        print_text(f"{name}: {what}")
    deleted = count(len(plan.delete), "file")
    print_text(f"{deleted} {what}; still needed or too new: {len(plan.leave)}")
    return OK


def _sync(options: argparse.Namespace) -> int:
    with make_client(options) as client:
        plan = client.library.sync(options.folder, delete=options.delete, dry_run=options.dry_run)
    if options.json:
        print_document(plan.to_dict())
    else:
        _print_plan(plan, dry_run=options.dry_run)
    return FAILED if plan.conflicts else OK


def _print_plan(plan: mde.LibraryPlan, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    changes = {
        "added": plan.add,
        "replaced": plan.replace,
        "described": plan.describe,
        "deleted": plan.delete,
    }
    for what, names in changes.items():
        for name in names:
            print_text(f"{name}: {would}{what}")
    for name in plan.conflicts:
        print_text(f"{name}: not synced, the library has other content of someone else")
    changed = count(sum(map(len, changes.values())), "file")
    print_text(f"{changed} {would}changed; unchanged: {len(plan.leave)}")
