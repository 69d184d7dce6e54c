"""The command `emulator`."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from typing import Any

    from mde_live_response.emulator import Emulator

DESCRIPTION = (
    "Serve the live response API, the token endpoint and the results on this machine until "
    "stopped. The command prints one line of JSON with the addresses and the credentials. Files "
    "and scripts are added to the library under their names."
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


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give 0 to 65535")
    return int(text)


def _proxy_port(text: str) -> int:
    port = _port(text)
    if port == 0:
        raise argparse.ArgumentTypeError("'0' is not a port of a proxy: give 1 to 65535")
    return port


def _pair(text: str) -> tuple[str, str]:
    """Parse `NAME=VALUE`."""
    # NAME may be a remote path with `=` in it, so the last `=` separates.
    name, separator, value = text.rpartition("=")
    if not (separator and name and value):
        raise argparse.ArgumentTypeError(f"{text!r} must have the form NAME=VALUE")
    return name, value


def _pair_with_file(text: str) -> tuple[str, Path]:
    name, value = _pair(text)
    return name, _file(value)


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"file {text!r} does not exist")
    return path


def _switch(text: str) -> tuple[str, Any]:
    """Parse `NAME=VALUE`. A value that is not JSON is a string."""
    name, separator, value = text.partition("=")
    if not (separator and name):
        raise argparse.ArgumentTypeError(f"{text!r} must have the form NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


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
        type=_port,
        default=0,
        metavar="PORT",
        help="port to listen on (default: 0, a free port)",
    )
    parser.add_argument(
        "--machines",
        type=int,
        default=3,
        metavar="N",
        help="number of machines, ws-0001.example.test and so on (default: %(default)s)",
    )
    parser.add_argument(
        "--speed",
        type=float,
        default=1.0,
        metavar="X",
        help="speed of the clock: at 60, a minute takes a second",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of ids, durations and random faults"
    )
    parser.add_argument(
        "--tls", action="store_true", help="serve HTTPS, with a certificate of the emulator's own"
    )
    add_reach(parser)

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
        _pair_with_file,
        "add a script to the library that prints the content of FILE",
    )
    add_repeatable("--library", "FILE", _file, "add a file to the library")
    add_repeatable(
        "--file", "PATH=FILE", _pair_with_file, "put FILE at PATH on every machine, for GetFile"
    )
    add_repeatable("--switch", "NAME=VALUE", _switch, "set a switch for undocumented behaviour")
    parser.add_argument(
        "--profile",
        type=_file,
        metavar="FILE",
        help="behave like the tenant of a saved profile (command probe); --switch takes precedence",
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
        type=_proxy_port,
        const=True,
        default=False,
        metavar="PORT",
        help="also run a proxy for clients with built-in hosts (default: a free port)",
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
    for name, path in options.script:
        emulator.on_script(name, stdout=path.read_text(encoding="utf-8", errors="replace"))
    for remote, path in options.file:
        emulator.put_remote_file("*", remote, path.resolve())


def serve(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    from mde_live_response.errors import InvalidRequestError

    if (options.cert is None) != (options.key is None):
        raise InvalidRequestError("--cert and --key belong together: give both")
    with _stop_signal() as stop, _make_emulator(options) as emulator:
        _configure(emulator, options)
        names = ["url", "login_url", "token", "tenant_id", "client_id", "client_secret"]
        shown = {name: getattr(emulator, name) for name in names}
        reach = {name: getattr(emulator, name) for name in ("ca_bundle", "proxy_url")}
        shown |= {name: value for name, value in reach.items() if value is not None}
        print(json.dumps(shown), flush=True)
        # On Windows, Python handles no signal during a wait without a timeout.
        while not stop.wait(1.0):
            pass
    return 0


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

    return Emulator(
        host=options.host,
        port=options.port,
        machines=options.machines,
        speed=options.speed,
        seed=options.seed,
        tls=options.tls,
        tls_names=options.tls_name,
        certificate=None if options.cert is None else (options.cert, options.key),
        ca_folder=options.ca_folder,
        proxy=options.proxy,
        switches=dict(options.switch),
        profile=options.profile,
        control=options.control,
    )
