"""The resources that an emulator holds in its process: listening sockets and the CA file.

A forked child closes its copies of the sockets.
"""

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
"""The addresses on which the emulators of this process listen."""


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def ca_bundle(pem: str | None, ca_folder: str | None) -> tuple[str | None, bool]:
    """Return the path of the CA's certificate, and whether the file is only for this run."""
    if pem is None:
        return None, False
    if ca_folder is not None:
        return os.path.join(os.path.abspath(ca_folder), "ca.pem"), False  # noqa: PTH100, PTH118
    return _write_ca_bundle(pem), True


def _write_ca_bundle(pem: str) -> str:
    """Write the CA certificate to a temporary file and return its path."""
    handle, path = tempfile.mkstemp(prefix="mde-emulator-", suffix=".pem")
    with open(handle, "w", encoding="ascii") as file:  # noqa: PTH123, mkstemp returns a descriptor
        file.write(pem)
    return path


def register_server(server: EmulatorServer) -> None:
    """Remember the addresses of an emulator, for a forked child."""
    _listening.update(server.addresses)


def stop(server: EmulatorServer, temporary: str | None, pid: int) -> None:
    """Stop an emulator and remove the CA file of its run."""
    # A forked child has a copy of the emulator, which the parent still serves.
    if os.getpid() != pid:
        return
    server.close()
    _listening.difference_update(server.addresses)
    if temporary is not None:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)  # noqa: PTH107, the path is a str


def _descriptors() -> Iterator[int]:
    """Yield the open file descriptors of this process, or all possible ones."""
    try:
        names = os.listdir("/dev/fd")  # noqa: PTH208, only the names are needed
    except OSError:
        yield from range(3, min(os.sysconf("SC_OPEN_MAX"), 65536))
        return
    yield from map(int, names)


def _is_listening_address(address: object) -> bool:
    """Return whether an emulator of this process listens on a socket's own address."""
    if not isinstance(address, tuple) or len(address) < 2:
        return False
    host, port = address[:2]
    # A connection to an emulator on every interface has the address that the client used.
    anywhere = {("0.0.0.0", port), ("::", port)}  # noqa: S104, only compared
    return (host, port) in _listening or not _listening.isdisjoint(anywhere)


def _close_inherited_sockets() -> None:
    """Close the parent's listening sockets and connections in a forked child."""
    # If the child kept them open, the kernel would accept connections that no thread serves, and
    # clients would not see the parent close its connections. The sockets are found by their
    # address, because a thread of the parent may have held any lock at the fork.
    if not _listening:
        return
    for descriptor in _descriptors():
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            found = socket.socket(fileno=descriptor)
            try:
                is_ours = _is_listening_address(found.getsockname())
            finally:
                # Without this, the garbage collector would close a descriptor that is not ours.
                found.detach()
            if is_ours:
                os.close(descriptor)
    _listening.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited_sockets)
