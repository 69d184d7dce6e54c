"""Reads and writes messages of HTTP/1.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


@dataclass
class Message:
    """A request or a response. `headers` has each line without its end."""

    start: str
    headers: list[str]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        for line in self.headers:
            key, _, value = line.partition(":")
            if key.strip().lower() == name:
                return value.strip()
        return None

    @property
    def status(self) -> int:
        return int(self.start.split()[1])

    def encode(self, keep: int | None = None) -> bytes:
        """Return the bytes of the message, with all of its body or its first `keep` bytes."""
        own = ("content-length", "transfer-encoding")
        lines = [line for line in self.headers if line.partition(":")[0].lower() not in own]
        if self.body or not self.start.startswith("GET"):
            lines.append(f"content-length: {len(self.body)}")
        head = "\r\n".join([self.start, *lines, "", ""]).encode("latin-1")
        return head + (self.body if keep is None else self.body[:keep])


async def read_head(reader: asyncio.StreamReader) -> Message:
    head = await reader.readuntil(b"\r\n\r\n")
    start, *headers = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    return Message(start, headers)


async def read_body(reader: asyncio.StreamReader, message: Message) -> None:
    """Read the body that belongs to a head."""
    if (message.header("transfer-encoding") or "").lower() == "chunked":
        parts = []
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        message.body = b"".join(parts)
    elif length := message.header("content-length"):
        message.body = await reader.readexactly(int(length))


def answer(status: int, headers: dict[str, str], body: bytes) -> Message:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return Message(f"HTTP/1.1 {status} x", lines, body)
