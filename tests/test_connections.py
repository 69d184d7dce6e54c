"""Clients of one process share connections; a forked child opens its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from mde_live_response import LiveResponseClient


@contextmanager
def counting_server() -> Iterator[tuple[str, list[Any], list[str | None]]]:
    """Serve empty lists. Yields the address, the connections, and the codings asked for."""
    connections: list[Any] = []
    codings: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            connections.append(self.client_address)
            super().setup()

        def do_GET(self) -> None:
            codings.append(self.headers["Accept-Encoding"])
            body = b'{"value": []}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", connections, codings
    finally:
        server.shutdown()
        server.server_close()


def test_clients_share_connections_if_their_network_settings_are_equal() -> None:
    with counting_server() as (url, connections, _):
        options: dict[str, Any] = {"endpoint": url, "proxy": False, "state": "memory:"}
        clients = [LiveResponseClient(f"token-{at}", **options) for at in range(3)]
        for client in clients:
            assert client.list_machines() == ()
        assert len(connections) == 1
        clients[0].close()
        assert clients[1].list_machines() == ()
        assert len(connections) == 1
        other = LiveResponseClient("token", user_agent="other/1", **options)
        assert other.list_machines() == ()
        assert len(connections) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
def test_a_forked_child_opens_a_connection_of_its_own() -> None:
    with counting_server() as (url, connections, _):
        client = LiveResponseClient("token", endpoint=url, proxy=False, state="memory:")
        assert client.list_machines() == ()
        child = os.fork()
        if not child:
            # A connection that the child took from its parent would mix up their answers.
            os._exit(0 if client.list_machines() == () else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(connections) == 2
        assert client.list_machines() == ()
        assert len(connections) == 2


def test_only_lists_are_asked_for_compressed() -> None:
    with counting_server() as (url, _, codings):
        client = LiveResponseClient("token", endpoint=url, proxy=False, state="memory:")
        client.list_machines()
        with pytest.raises(Exception, match="could not read the machine action"):
            client.get_machine_action("5382f7ea-7557-4ab7-9782-d50480024a4e")
        assert codings[0] == "gzip"
        assert set(codings[1:]) == {"identity"}
