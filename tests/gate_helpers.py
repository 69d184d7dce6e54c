"""A gate between a client and an emulator: it can keep new connections waiting."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from mde_live_response.emulator import Emulator


class Gate:
    """Forwards connections to an emulator. While it is closed, new ones get no answer.

    With TLS, a client sends its request only after an answer. So a closed gate holds a client that
    is about to send one.
    """

    def __init__(self, emulator: Emulator) -> None:
        url = urlsplit(emulator.url)
        assert url.scheme == "https"
        assert url.hostname is not None
        assert url.port is not None
        self._target = (url.hostname, url.port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._forwarded: list[socket.socket] = []
        self._held: list[socket.socket] = []
        self._is_open = True
        self._lock = threading.Lock()
        self.url = f"https://127.0.0.1:{self._server.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self.close()
        for connection in self._held:
            connection.close()
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Close every connection, so that the next request needs a new one, and hold that one."""
        with self._lock:
            self._is_open = False
            for connection in self._forwarded:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._forwarded.clear()

    def open(self) -> None:
        """Forward new connections. Those that are held stay so."""
        with self._lock:
            self._is_open = True

    def release(self) -> None:
        """Forward the connections that are held."""
        with self._lock:
            held, self._held = self._held, []
        for connection in held:
            self._forward(connection)

    @property
    def is_holding(self) -> bool:
        return bool(self._held)

    def _start(self, body: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=body, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with self._server, suppress(OSError):
            while True:
                client, _ = self._server.accept()
                with self._lock:
                    if not self._is_open:
                        self._held.append(client)
                        continue
                self._forward(client)

    def _forward(self, client: socket.socket) -> None:
        target = socket.create_connection(self._target)
        with self._lock:
            self._forwarded += [client, target]
        self._start(forward, client, target)


def forward(client: socket.socket, target: socket.socket) -> None:
    """Copy both directions until both are closed."""
    with client, target:
        back = threading.Thread(target=copy, args=[target, client])
        back.start()
        copy(client, target)
        back.join()


def copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
