"""A port of `free_port` is one test's: a server can start on it again, and nothing else gets it."""

from __future__ import annotations

import socket
import sys
from contextlib import closing

import pytest
from runtime_helpers import free_port, reserve_port

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux lets a server listen on a port that is bound"
)


def test_a_server_can_start_again_on_its_port() -> None:
    port = free_port()
    for _ in range(3):
        with closing(socket.create_server(("127.0.0.1", port))) as server:
            socket.create_connection(("127.0.0.1", port)).close()
            server.accept()[0].close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_nothing_else_gets_a_port_between_two_starts() -> None:
    port = free_port(2)
    for taken in (port, port + 1):
        with pytest.raises(OSError, match="in use"):
            reserve_port(taken)
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind(("127.0.0.1", taken))
