"""A host of the proxy: a port on loopback that can refuse connections and come back."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Serve(Protocol):
    """Serves one connection of a host."""

    async def __call__(
        self, host: Host, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, /
    ) -> None: ...


class Loop:
    """The event loop of all proxies, in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


class Host:
    """Accepts connections, and serves each in a task. All but `port` belongs to the loop."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._listening: socket.socket | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.target = 0
        """The port of the emulator to which this host forwards."""
        # Bound and not listening: while the host is away, nobody else gets its port.
        self._kept = bound_socket(0)
        self.port: int = self._kept.getsockname()[1]

    async def listen(self) -> None:
        """Accept connections, if the host was away."""
        if self._listening is None:
            self._listening = bound_socket(self.port)
            self._listening.listen(128)
            self._listening.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def go_away(self) -> None:
        """Refuse connections, and reset those that are open."""
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        for writer in list(self._writers):
            reset(writer)

    async def close(self) -> None:
        self.go_away()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._kept.close()

    # `asyncio.Server` loses a connection that it accepts while it closes.
    def _accept(self) -> None:
        with suppress(OSError):
            assert self._listening is not None
            connection, _ = self._listening.accept()
            connection.setblocking(False)
            task = asyncio.get_running_loop().create_task(self._run(connection))
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._forget(done, connection))

    def _forget(self, task: asyncio.Task[None], connection: socket.socket) -> None:
        self._tasks.discard(task)
        # It was cancelled before it ran, so nothing else closes its connection.
        if task.cancelled():
            connection.close()

    async def _run(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        self._writers.add(writer)
        try:
            await self._serve(self, reader, writer)
        except asyncio.CancelledError:
            reset(writer)
        finally:
            self._writers.discard(writer)
            writer.close()


def bound_socket(port: int) -> socket.socket:
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.bind(("127.0.0.1", port))
    return own


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST, as a host does that lost the connection."""
    own: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
