"""Helpers for tests of the runtime: wait for a condition, run a script in a new process."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mde_live_response import LiveResponseClient
    from mde_live_response.emulator import Emulator

SOAK = bool(os.environ.get("MDE_LIVE_RESPONSE_SOAK"))
"""Set by `make soak`: run the long form of the stress tests."""

MACHINE = "ws-0001.example.test"


KEPT_PORTS: list[contextlib.ExitStack] = []


def pick_count(short: int, long: int) -> int:
    return long if SOAK else short


def wait_until(
    condition: Callable[[], object], what: str = "the condition", seconds: float = 20.0
) -> None:
    """Wait for a condition. Fails with a clear message if it does not become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(0.002)


def requests_of(emulator: Emulator, route: str) -> list[Mapping[str, Any]]:
    return [request for request in emulator.requests if request["route"] == route]


def is_pending(emulator: Emulator, route: str) -> bool:
    """Return whether a call of the route is waiting for its answer."""
    return any(request["status"] is None for request in requests_of(emulator, route))


def was_closed_by_client(emulator: Emulator, route: str) -> bool:
    """Return whether a client closed its connection before the answer."""
    return any(request["status"] == "closed" for request in requests_of(emulator, route))


def run_python(
    code: str, env: Mapping[str, str] | None = None, *options: str, seconds: float = 60.0
) -> ProcessResult:
    started = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-X", "faulthandler", *options, "-c", code],
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, **(env or {})},
    )
    return ProcessResult(
        process.returncode, process.stdout, process.stderr, time.monotonic() - started
    )


class ProcessResult:
    """The exit code and the output of a process."""

    def __init__(self, code: int, out: str, err: str, seconds: float) -> None:
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def __repr__(self) -> str:
        output = f"--- stdout\n{self.out}\n--- stderr\n{self.err}"
        return f"<exit code {self.code} after {self.seconds:.2f} s\n{output}>"


def free_port(consecutive: int = 1) -> int:
    """Return a port for a server that starts later or again, with the next ports if asked.

    Nothing else gets it while this process lives. The system gives none of these ports to a
    socket that asks for any, and a bound socket keeps each of them from other tests.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.ExitStack() as attempt, contextlib.suppress(OSError):
            for number in range(port, port + consecutive):
                attempt.enter_context(reserve_port(number))
            if sys.platform == "linux":
                KEPT_PORTS.append(attempt.pop_all())
            return port


def reserve_port(port: int) -> socket.socket:
    """Bind a port so that a server with SO_REUSEADDR can listen on it, and nothing else can.

    Linux allows that while the first socket does not listen; other systems may not.
    """
    reservation = socket.socket()
    try:
        reservation.bind(("", port))
    except OSError:
        reservation.close()
        raise
    # Only now: two reservations that both had the option would share the port.
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return reservation


def library_names(client: LiveResponseClient) -> list[str]:
    """Return the names of all library files."""
    return [file.file_name for file in client.library.list_files()]
