"""A real proxy between a client and an emulator. It fails at one step, until it is cleared.

The emulator's own faults cannot be removed, cannot refuse a connection, and cannot tell a lookup
from a poll. So the faults of the matrix are made here, and the emulator judges.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from . import entities
from .faults import Fault, Way
from .listener import Host, Loop, reset
from .steps import Step, step_of
from .wire import Message, answer, read_body, read_head

if TYPE_CHECKING:
    from typing_extensions import Self

AWAY = 0.05
"""How long a host refuses connections if the fault passes, in seconds."""
LATE = 0.3
"""How late an answer is that still comes in time."""
FOREVER = 60.0
"""Longer than any client of the matrix waits."""
LINK = re.compile(rb"http://127\.0\.0\.1:(\d+)/([^\"\s]+[?&]sig=[^\"\s]+)")


class Front:
    """Forwards the requests to the API, the login host and the results' host of an emulator."""

    def __init__(self, loop: Loop, emulator_url: str, decoy: entities.Decoy) -> None:
        self._loop, self._decoy = loop, decoy
        self._api, self._blob = Host(self._serve), Host(self._serve)
        self._api.target = urlsplit(emulator_url).port or 0
        self.url = f"http://127.0.0.1:{self._api.port}"
        self._armed: tuple[Fault, Step, bool] | None = None
        self._hold: tuple[Step, asyncio.Event] | None = None
        self.is_holding = threading.Event()
        self.hits = 0
        """How many requests failed."""
        self.seen: set[Step] = set()
        self.secrets: set[str] = set()
        """The tokens, signatures and links that the client got."""
        self.failures: list[str] = []
        """Mistakes of this proxy itself."""
        self.redirected: list[str] = []
        """The Authorization header of each request that followed a redirect."""

    def __enter__(self) -> Self:
        self.clear()
        return self

    def __exit__(self, *_: object) -> None:
        for host in (self._api, self._blob):
            self._loop.run(host.close())

    def arm(self, fault: Fault, step: Step, once: bool) -> None:
        self._armed = (fault, step, once)

    def hold(self, step: Step) -> None:
        """Keep the next answer of a step until `release`. The service has acted then."""
        self._hold = (step, asyncio.Event())

    def release(self) -> None:
        if self._hold is not None:
            self._loop.loop.call_soon_threadsafe(self._hold[1].set)

    def clear(self) -> None:
        """Remove the fault: a host that was away comes back."""
        self._armed = None
        for host in (self._api, self._blob):
            self._loop.run(host.listen())

    async def _serve(
        self, host: Host, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        upstream = Upstream(host.target)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while await self._exchange(host, reader, writer, upstream):
                    pass
        except Exception as error:
            self.failures.append(f"{type(error).__name__}: {error}")
        finally:
            upstream.close()

    async def _exchange(
        self,
        host: Host,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        upstream: Upstream,
    ) -> bool:
        """Pass one request on. Returns whether the connection is still usable."""
        request = await read_head(reader)
        method, target, _ = request.start.split()
        if target.startswith("/signin"):
            self.redirected.append(request.header("authorization") or "")
            return False
        step = Step.BLOB if host is self._blob else step_of(method, target)
        self.seen.add(step)
        fault, once = self._take(step)
        if fault is None:
            await read_body(reader, request)
            response = await self._forward(request, upstream, step)
            await self._wait_if_held(step)
            await send(writer, response.encode())
            return True
        if fault.way is Way.REFUSE:
            await self._refuse(host, once)
            return False
        if fault.way is Way.RESET_UNREAD:
            reset(writer)
            return False
        await read_body(reader, request)
        return await self._fail(fault, step, request, upstream, writer)

    def _take(self, step: Step) -> tuple[Fault | None, bool]:
        if self._armed is None or self._armed[1] is not step:
            return None, False
        fault, _, once = self._armed
        self.hits += 1
        if once:
            self._armed = None
        return fault, once

    async def _wait_if_held(self, step: Step) -> None:
        if self._hold is not None and self._hold[0] is step and not self.is_holding.is_set():
            self.is_holding.set()
            await self._hold[1].wait()

    async def _refuse(self, host: Host, once: bool) -> None:
        host.go_away()
        if once:
            await asyncio.sleep(AWAY)
            await host.listen()

    async def _fail(
        self,
        fault: Fault,
        step: Step,
        request: Message,
        upstream: Upstream,
        writer: asyncio.StreamWriter,
    ) -> bool:
        response = await self._forward(request, upstream, step) if fault.acts else None
        if fault.way is Way.RESET:
            reset(writer)
            return False
        if fault.way is Way.SILENT:
            await asyncio.sleep(FOREVER)
            return False
        if fault.way is Way.ANSWER:
            response = answer(fault.status, dict(fault.headers), fault.body(step))
        assert response is not None
        if fault.way is Way.SLOW:
            await asyncio.sleep(LATE)
        elif fault.way is Way.CUT:
            await send(writer, response.encode(keep=len(response.body) // 2))
            return False
        elif fault.way is Way.GARBLE:
            response.body = garble(response.body)
        elif fault.way is Way.OTHER_ENTITY:
            response.body = entities.exchange(step, response.body, self._decoy)
        await send(writer, response.encode())
        return True

    async def _forward(self, request: Message, upstream: Upstream, step: Step) -> Message:
        response = await upstream.ask(request)
        if step is Step.TOKEN and response.status == 200:
            self.secrets.add(json.loads(response.body)["access_token"])
        if step is Step.LINK and response.status == 200:
            response.body = LINK.sub(self._own_link, response.body)
        return response

    def _own_link(self, link: re.Match[bytes]) -> bytes:
        """Let a result link lead here, and remember its secrets."""
        self._blob.target = int(link[1])
        rest = link[2].decode()
        self.secrets.update(parse_qs(urlsplit(rest).query)["sig"])
        self.secrets.add(rest)
        return f"http://127.0.0.1:{self._blob.port}/{rest}".encode()


class Upstream:
    """A connection to the emulator, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Message) -> Message:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        await send(writer, request.encode())
        response = await read_head(reader)
        await read_body(reader, response)
        return response

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def garble(body: bytes) -> bytes:
    """Make every fifth byte one that is in no text. Each decoder and each checksum sees it."""
    return bytes(0xFF if at % 5 == 0 else byte for at, byte in enumerate(body))
