"""Parses the arguments, runs the command, and turns its end into an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from io import TextIOWrapper

import mde_live_response as mde
from mde_live_response._cli import (
    completion,
    demo,
    emulator,
    evidence,
    inventory,
    library,
    probe,
    run,
    run_many,
    sessions,
    state,
)
from mde_live_response._cli.exit_codes import FAILED, INTERRUPTED, REFUSED, TERMINATED, USAGE
from mde_live_response._cli.output import lost_output, print_error, print_note
from mde_live_response._cli.parser import Parser
from mde_live_response._cli.termination import Terminated, raise_at_sigterm

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["build_parser", "main"]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="mde-live-response",
        description=mde.__doc__,
        epilog="example:\n  mde-live-response demo",
    )
    parser.add_argument(
        "--version", action="version", version=f"mde-live-response {mde.__version__}"
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", title="commands"
    )
    run.add_run(commands)
    run_many.add_run_many(commands)
    sessions.add_sessions(commands)
    library.add_library(commands)
    inventory.add_inventory(commands)
    probe.add_probe(commands)
    state.add_state(commands)
    evidence.add_evidence(commands)
    emulator.add_emulator(commands)
    demo.add_demo(commands)
    completion.add_completion(commands, build_parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    _open_missing_streams()
    options = build_parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        # A transcript may contain characters that the terminal's encoding lacks.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    _configure_logging(getattr(options, "verbose", 0))
    as_json = getattr(options, "json", False)
    try:
        with raise_at_sigterm():
            code: int = options.call(options)
    except KeyboardInterrupt as interrupt:
        if as_json:
            print_error(interrupt, as_json=True, **_ids(options))
        else:
            print_note("Interrupted.")
        return TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED
    # The others: the caller named a file of this computer that cannot be used.
    except (
        mde.InvalidRequestError,
        FileExistsError,
        FileNotFoundError,
        IsADirectoryError,
        NotADirectoryError,
    ) as error:
        print_error(error, as_json=as_json)
        return USAGE
    except (mde.LiveResponseError, OSError) as error:
        print_error(error, as_json=as_json, **_ids(options))
        return REFUSED
    if lost_output:
        print_note(f"error: the output could not be written: {lost_output[0].strerror}")
        return code or FAILED
    return code


def _ids(options: argparse.Namespace) -> dict[str, str]:
    """Return what a program needs to continue what the command began."""
    ids = {name: getattr(options, name, None) for name in ("correlation_id", "run_id")}
    return {name: value for name, value in ids.items() if value is not None}


def _open_missing_streams() -> None:
    # A missing descriptor (2>&-) would become that of the first file or connection.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _configure_logging(verbose: int) -> None:
    if verbose:
        import logging

        level = logging.INFO if verbose == 1 else logging.DEBUG
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        logging.getLogger("mde_live_response").setLevel(level)
