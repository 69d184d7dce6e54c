"""The options that say which live response commands to run."""

from __future__ import annotations

import argparse

import mde_live_response as mde

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["add_command_options", "read_commands"]

_ORDER = (
    "The service runs every --put-file and --put-local first, then every script in its order, "
    "then every --get-file. Local files and code are uploaded to the library first, with the "
    "permission Library.Manage."
)

_SCRIPTS = (
    ("run_script", "NAME", "a library script"),
    ("run_local", "PATH", "a script on this computer"),
    ("run_inline", "CODE", "code for --shell"),
)


class _AppendScript(argparse.Action):
    """Collects scripts in their order: the constructor's name, what to run, and its arguments."""

    def __call__(
        self, _: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *__: Any
    ) -> None:
        namespace.scripts = [*namespace.scripts, (self.const, values, None)]


class _SetScriptArgs(argparse.Action):
    """Gives `--args` to the script before it."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any
    ) -> None:
        scripts = namespace.scripts
        if not scripts or scripts[-1][2] is not None:
            parser.error("--args must follow a --run-script, and only once")
        scripts[-1] = (*scripts[-1][:2], values)


def add_command_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command's parser."""
    add = parser.add_argument_group("commands", _ORDER).add_argument
    add("--put-file", action="append", default=[], metavar="NAME", help="a library file")
    add("--put-local", action="append", default=[], metavar="PATH", help="a file on this computer")
    for name, metavar, what in _SCRIPTS:
        add(
            f"--{name.replace('_', '-')}",
            dest="scripts",
            const=name,
            action=_AppendScript,
            default=[],
            metavar=metavar,
            help=what,
        )
    add(
        "--args",
        action=_SetScriptArgs,
        metavar="TEXT",
        help="arguments of the script before it, in one text",
    )
    add(
        "--shell",
        choices=("powershell", "bash"),
        default="powershell",
        help="what runs the code of --run-inline (default: powershell)",
    )
    add("--get-file", action="append", default=[], metavar="PATH", help="a path on the device")
    parser.add_argument(
        "--comment", required=True, metavar="TEXT", help="the reason, stored with the action"
    )


def read_commands(options: argparse.Namespace) -> list[mde.Command]:
    """Return the commands that the options describe."""
    commands = [
        *map(mde.Command.put_file, options.put_file),
        *map(mde.Command.put_local, options.put_local),
        *(_read_script(kind, what, args, options.shell) for kind, what, args in options.scripts),
        *map(mde.Command.get_file, options.get_file),
    ]
    if not commands:
        raise mde.InvalidRequestError(
            "no commands were given",
            hint="give --run-script, --run-local, --run-inline, --put-file, --put-local or "
            "--get-file",
        )
    return commands


def _read_script(kind: str, what: str, args: str | None, shell: Any) -> mde.Command:
    if kind == "run_inline":
        return mde.Command.run_inline(what, args, shell=shell)
    if kind == "run_local":
        return mde.Command.run_local(what, args)
    return mde.Command.run_script(what, args)
