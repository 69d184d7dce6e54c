"""What the emulator holds of its process: the sockets, which a forked child lets go of, and the certificate's file."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import stat
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._native import EmulatorServer

_listening: set[tuple[str, int]] = set()
"""Where this process's emulators listen."""


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def write_ca_bundle(pem: str | None) -> str | None:
    if pem is None:
        return None
    handle, path = tempfile.mkstemp(prefix="mde-emulator-", suffix=".pem")
    with open(handle, "w", encoding="ascii") as file:  # noqa: PTH123, a handle is not a path
        file.write(pem)
    return path


def register_server(server: EmulatorServer) -> None:
    _listening.update(server.addresses)


def stop(server: EmulatorServer, bundle: str | None, pid: int) -> None:
    if os.getpid() != pid:
        return  # a forked child's copy: its parent goes on serving
    server.close()
    _listening.difference_update(server.addresses)
    if bundle is not None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(bundle)  # noqa: PTH107, a string is all there is


def _descriptors() -> Iterator[int]:
    try:
        names = os.listdir("/dev/fd")  # noqa: PTH208, names are what is wanted
    except OSError:
        yield from range(3, min(os.sysconf("SC_OPEN_MAX"), 65536))
        return
    yield from map(int, names)


def _is_listening_address(own: object) -> bool:
    if not isinstance(own, tuple) or len(own) < 2:
        return False
    host, port = own[:2]
    anywhere = {("0.0.0.0", port), ("::", port)}  # noqa: S104, compared with
    return (host, port) in _listening or not _listening.isdisjoint(anywhere)


def _close_inherited_sockets() -> None:
    """In a forked child: close the parent's listening sockets and connections.

    Held open here, they would take in calls that nobody answers, and keep clients from hearing that the parent closed.
    They are known by their own address: nothing that a thread of the parent's may hold is asked.
    """
    if not _listening:
        return
    for descriptor in _descriptors():
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            found = socket.socket(fileno=descriptor)
            try:
                ours = _is_listening_address(found.getsockname())
            finally:
                found.detach()
            if ours:
                os.close(descriptor)
    _listening.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited_sockets)
