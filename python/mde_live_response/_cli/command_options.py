"""The options that say which live response commands to run."""

from __future__ import annotations

import argparse

import mde_live_response as mde

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["add_command_options", "read_commands"]

ORDER = "The service runs every --put-file first, then every --run-script, then every --get-file."


class _AppendScript(argparse.Action):
    """Collects `--run-script` options as pairs of a script and its arguments."""

    def __call__(
        self, _: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *__: Any
    ) -> None:
        namespace.run_script = [*namespace.run_script, (values, None)]


class _SetScriptArgs(argparse.Action):
    """Gives `--args` to the `--run-script` before it."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any
    ) -> None:
        scripts = namespace.run_script
        if not scripts or scripts[-1][1] is not None:
            parser.error("--args must follow a --run-script, and only once")
        scripts[-1] = (scripts[-1][0], values)


def add_command_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command's parser."""
    add = parser.add_argument_group("commands", ORDER).add_argument
    add("--put-file", action="append", default=[], metavar="NAME", help="a library file")
    add("--run-script", action=_AppendScript, default=[], metavar="NAME", help="a library script")
    add(
        "--args",
        action=_SetScriptArgs,
        help="arguments of the script before it; write --args=-x if they start with a dash",
    )
    add("--get-file", action="append", default=[], metavar="PATH", help="a path on the device")
    parser.add_argument(
        "--comment", required=True, metavar="TEXT", help="the reason, stored with the action"
    )


def read_commands(options: argparse.Namespace) -> list[mde.Command]:
    """Return the commands that the options describe."""
    commands = [
        *map(mde.Command.put_file, options.put_file),
        *(mde.Command.run_script(name, args) for name, args in options.run_script),
        *map(mde.Command.get_file, options.get_file),
    ]
    if not commands:
        raise mde.InvalidRequestError(
            "no commands were given", hint="give --put-file, --run-script or --get-file"
        )
    return commands
