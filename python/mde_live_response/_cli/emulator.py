"""The command `emulator`."""

from __future__ import annotations

import argparse
import contextlib
import json
import warnings

from mde_live_response._cli.emulator_calls import CallPrinter, summary
from mde_live_response._cli.emulator_environment import FORMATS, environment_text
from mde_live_response._cli.emulator_values import (
    existing_file,
    pair_with_code,
    pair_with_file,
    pair_with_seconds,
    port,
    proxy_port,
    switch,
)
from mde_live_response._cli.exit_codes import FAILED, OK
from mde_live_response._cli.options import decimal_number, whole_number
from mde_live_response._cli.output import print_note, print_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from typing import Any

    from mde_live_response.emulator import Emulator

DESCRIPTION = (
    "Serve the live response API, the token endpoint and the results on this machine until "
    "stopped. The command prints one line of JSON with the addresses and the credentials on "
    "stdout, and on stderr one line for each call and, at the end, which rules of the service "
    "were broken. Files and scripts are added to the library under their names."
)

EPILOG = """\
example:
  mde-live-response emulator --port 8080 \\
      --machine srv-01.example.test \\
      --offline ws-0900.example.test \\
      --script triage.ps1=triage.out --library helper.exe \\
      --file 'C:\\Temp\\triage.zip=triage.zip' \\
      --switch accepted_status=200 --switch windows=fixed

The switches:
  https://github.com/mde-live-response/mde-live-response/blob/main/docs/emulator.md"""


def add_emulator(commands: Any) -> None:
    """Add `emulator` to the command line."""
    emulator = commands.add_parser(
        "emulator",
        help="serve the live response API on this machine until stopped",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add_arguments(emulator)
    emulator.set_defaults(call=serve)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port",
        type=port,
        default=0,
        metavar="PORT",
        help="port to listen on (default: 0, a free port)",
    )
    parser.add_argument(
        "--machines",
        type=whole_number,
        metavar="N",
        help="number of machines, ws-0001.example.test and so on (default: 3)",
    )
    parser.add_argument(
        "--speed",
        type=decimal_number,
        metavar="X",
        help="speed of the clock: at 60, a minute takes a second",
    )
    parser.add_argument(
        "--seed", type=whole_number, metavar="N", help="seed of ids, durations and random faults"
    )
    parser.add_argument(
        "--tls", action="store_true", help="serve HTTPS, with a certificate of the emulator's own"
    )
    add_reach(parser)
    add_output(parser)

    add_content(parser)
    parser.add_argument(
        "--profile",
        type=existing_file,
        metavar="FILE",
        help="behave like the tenant of a saved profile (command probe); --switch takes precedence",
    )


def add_content(parser: argparse.ArgumentParser) -> None:
    """Add the options of machines, scripts, files and switches."""

    def add_repeatable(option: str, metavar: str, convert: Any, description: str) -> None:
        help_text = f"{description}; may be repeated"
        parser.add_argument(
            option, action="append", default=[], metavar=metavar, type=convert, help=help_text
        )

    add_repeatable("--machine", "NAME", str, "add an online machine")
    add_repeatable("--offline", "NAME", str, "add an offline machine, whose sessions stay queued")
    add_repeatable(
        "--script",
        "NAME=FILE",
        pair_with_file,
        "add a script to the library that prints the content of FILE",
    )
    add_repeatable("--exit-code", "NAME=N", pair_with_code, "the exit code of a script of --script")
    add_repeatable(
        "--duration",
        "NAME=SECONDS",
        pair_with_seconds,
        "how long a script of --script runs, by the emulator's clock",
    )
    add_repeatable("--library", "FILE", existing_file, "add a file to the library")
    add_repeatable(
        "--file", "PATH=FILE", pair_with_file, "put FILE at PATH on every machine, for GetFile"
    )
    add_repeatable("--switch", "NAME=VALUE", switch, "set a switch for undocumented behaviour")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options of what the command prints, and of its exit code."""
    parser.add_argument(
        "--env",
        choices=FORMATS,
        help="print the environment variables for a client, to paste into this shell, in place "
        "of the addresses",
    )
    parser.add_argument("--quiet", action="store_true", help="print no line for each call")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 if a client broke a rule of the service"
    )


def add_reach(parser: argparse.ArgumentParser) -> None:
    """Add the options of certificates, of the proxy and of the control."""
    parser.add_argument(
        "--tls-name",
        action="append",
        default=[],
        metavar="NAME",
        help="another name for the certificate and at the proxy; may be repeated",
    )
    parser.add_argument(
        "--cert", metavar="FILE", help="a certificate in PEM to serve HTTPS with, with --key"
    )
    parser.add_argument("--key", metavar="FILE", help="the private key of --cert, in PEM")
    parser.add_argument(
        "--ca-folder",
        metavar="DIR",
        help="keep the emulator's certificate authority in DIR (default: a new one for each run)",
    )
    parser.add_argument(
        "--proxy",
        nargs="?",
        type=proxy_port,
        const=True,
        default=False,
        metavar="PORT",
        help="also run a proxy for clients with built-in hosts (default: a free port)",
    )
    parser.add_argument(
        "--config",
        type=existing_file,
        metavar="FILE",
        help="read machines, scripts, files, faults and more from FILE, in YAML or JSON; "
        "the other options take precedence",
    )
    parser.add_argument(
        "--no-control",
        action="store_false",
        dest="control",
        help="without the control over HTTP under /__box/",
    )


def _configure(emulator: Emulator, options: argparse.Namespace) -> None:
    for name in options.machine:
        emulator.add_machine(name)
    for name in options.offline:
        emulator.add_machine(name, online=False)
    # Files come before scripts: a script that is in the library keeps its content.
    for path in options.library:
        emulator.add_library_file(path.name, path.read_bytes())
    codes, durations = dict(options.exit_code), dict(options.duration)
    for name, path in options.script:
        emulator.on_script(
            name,
            stdout=path.read_text(encoding="utf-8", errors="replace"),
            exit_code=codes.get(name, 0),
            duration=durations.get(name, 1.0),
        )
    for remote, path in options.file:
        emulator.put_remote_file("*", remote, path.resolve())


def serve(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    from mde_live_response.errors import InvalidRequestError

    if (options.cert is None) != (options.key is None):
        raise InvalidRequestError("--cert and --key belong together: give both")
    scripts = {name for name, _ in options.script}
    for option, pairs in (("--exit-code", options.exit_code), ("--duration", options.duration)):
        for name, _ in pairs:
            if name not in scripts:
                raise InvalidRequestError(f"{option} names {name}, which no --script has")
    with _stop_signal() as stop, _make_emulator(options) as emulator:
        _configure(emulator, options)
        report = CallPrinter(emulator._server, quiet=options.quiet)
        print_text(_introduction(emulator, options.env))
        # On Windows, Python handles no signal during a wait without a timeout.
        while not stop.wait(1.0):
            pass
        violations = emulator.violations
        report.close(summary(emulator.counters, violations))
    return FAILED if options.strict and any(violations.values()) else OK


def _introduction(emulator: Emulator, form: str | None) -> str:
    """Return what the command prints first: how a client reaches the emulator."""
    if form is not None:
        return environment_text(emulator.env, form)
    names = ["url", "login_url", "token", "tenant_id", "client_id", "client_secret"]
    shown = {name: getattr(emulator, name) for name in names}
    reach = {name: getattr(emulator, name) for name in ("ca_bundle", "proxy_url")}
    shown |= {name: value for name, value in reach.items() if value is not None}
    return json.dumps(shown)


@contextlib.contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """Set an event at SIGINT or SIGTERM. A program that calls `main` gets its own handlers back."""
    import signal
    import threading

    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _make_emulator(options: argparse.Namespace) -> Emulator:
    from mde_live_response.emulator import Emulator

    # What is not given is left to the config.
    replacing = [(name, getattr(options, name)) for name in ("machines", "speed", "seed")]
    with warnings.catch_warnings(record=True) as caught:
        emulator = Emulator(
            host=options.host,
            port=options.port,
            tls=options.tls,
            tls_names=options.tls_name,
            certificate=None if options.cert is None else (options.cert, options.key),
            ca_folder=options.ca_folder,
            proxy=options.proxy,
            switches=dict(options.switch),
            profile=options.profile,
            config=options.config,
            control=options.control,
            **{name: value for name, value in replacing if value is not None},
        )
    for warning in caught:
        print_note(f"warning: {warning.message}")
    return emulator
