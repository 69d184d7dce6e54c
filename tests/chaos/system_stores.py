"""Faults of a state store as a system has them: away, full, read-only, put back, replaced."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import ClassVar, Protocol

from rewind_helpers import SqliteFile
from state_helpers import start_redis

TRUSTED = 2.6
"""A copy that is younger is trusted, if the file or the server is the same (docs/state.md)."""


class FaultyStore(Protocol):
    """A store that a case can take away, fill, lock, put back and empty."""

    WAYS: ClassVar[tuple[str, ...]]

    @property
    def address(self) -> str: ...

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def go_away(self) -> None: ...
    def come_back(self) -> None: ...
    def fill(self) -> None: ...
    def make_room(self) -> None: ...
    def lock(self) -> None: ...
    def unlock(self) -> None: ...
    def copy(self) -> None: ...
    def put_back(self, how: str) -> None: ...
    def empty(self) -> None: ...
    def repair(self) -> None: ...


class SqliteStore:
    """A SQLite file on a file system of its own, if this user may mount one."""

    WAYS: ClassVar[tuple[str, ...]] = SqliteFile.WAYS

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "disk"
        self.folder.mkdir(parents=True)
        self._file = SqliteFile(self.folder)

    @property
    def address(self) -> str:
        return self._file.address

    def start(self) -> None:
        mount(self.folder, "4m")
        self.folder.chmod(0o777)

    def stop(self) -> None:
        unmount(self.folder)

    def go_away(self) -> None:
        # Within the file system, as an administrator moves it. The process keeps the old file.
        self._file.path.rename(self.folder / "away.db")

    def come_back(self) -> None:
        away = self.folder / "away.db"
        if away.exists():
            self._file.path.unlink(missing_ok=True)
            away.rename(self._file.path)

    def fill(self) -> None:
        fill(self.folder)

    def make_room(self) -> None:
        (self.folder / "filler").unlink(missing_ok=True)

    def lock(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)

    def unlock(self) -> None:
        subprocess.run(["mount", "-o", "remount,rw", str(self.folder)], check=True)

    def copy(self) -> None:
        self._file.copy()
        time.sleep(TRUSTED)

    def put_back(self, how: str) -> None:
        self._file.rewind(how)

    def empty(self) -> None:
        self._file.path.unlink()
        self._file.remove_companions()

    def repair(self) -> None:
        self._file.repair()


class RedisStore:
    """A Redis server of its own, which writes every change to its disk."""

    WAYS: ClassVar[tuple[str, ...]] = ("restarted",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "redis"
        self._folder.mkdir(parents=True)
        self._copy = folder / "copy"
        self._options = ["--dir", str(self._folder), "--appendonly", "yes"]
        self._server: subprocess.Popen[bytes] | None = None
        self._port: int | None = None

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        self._server, self._port = start_redis(self._options, self._port)

    def stop(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def go_away(self) -> None:
        self.stop()

    def come_back(self) -> None:
        if self._server is None:
            self.start()

    def fill(self) -> None:
        self._command("CONFIG SET maxmemory 1")

    def make_room(self) -> None:
        self._command("CONFIG SET maxmemory 0")

    def lock(self) -> None:
        self._command("REPLICAOF 127.0.0.1 1")

    def unlock(self) -> None:
        self._command("REPLICAOF NO ONE")

    def copy(self) -> None:
        time.sleep(1.1)  # Redis writes its log to the disk once a second.
        shutil.copytree(self._folder, self._copy)
        time.sleep(TRUSTED)

    def put_back(self, how: str) -> None:
        self.stop()
        shutil.rmtree(self._folder)
        shutil.copytree(self._copy, self._folder)
        self.start()

    def empty(self) -> None:
        self._command("FLUSHALL")

    def repair(self) -> None:
        pass

    def _command(self, command: str) -> None:
        assert self._port is not None
        with socket.create_connection(("127.0.0.1", self._port), timeout=30) as connection:
            connection.sendall(f"{command}\r\n".encode())
            reply = connection.recv(1000)
            assert reply == b"+OK\r\n", reply


def can_mount() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mount") is not None


def mount(folder: Path, size: str) -> None:
    """Mount a small file system."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(command, check=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Fill the file system of a folder to the last byte."""
    with (folder / "filler").open("wb", buffering=0) as file:
        size = 1 << 16
        while size:
            try:
                written = file.write(bytes(size))
            except OSError:
                written = 0
            if written < size:
                size //= 2
