"""State stores that a test can put back to an earlier copy."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, ClassVar, Protocol

from state_helpers import start_redis

if TYPE_CHECKING:
    from pathlib import Path


class RewindableStore(Protocol):
    """A store with at most one copy of its data."""

    WAYS: ClassVar[tuple[str, ...]]
    address: str

    def __init__(self, folder: Path) -> None: ...

    def copy(self) -> None:
        """Keep a consistent copy of what is stored now."""

    def rewind(self, how: str) -> None:
        """Put the copy back, in one of `WAYS`."""

    def repair(self) -> None:
        """Do what the error of a way says, once no process uses the store."""

    def stop(self) -> None:
        """Stop its server."""


class SqliteFile:
    """A store in a SQLite file."""

    WAYS: ClassVar[tuple[str, ...]] = (
        "replaced",
        "restored through SQLite",
        "overwritten",
        "replaced but for its -wal file",
    )

    def __init__(self, folder: Path) -> None:
        self.path, self._copy = folder / "state.db", folder / "copy.db"
        self.address = f"sqlite:///{self.path}"

    def copy(self) -> None:
        # A reader that cannot write changes nothing when it closes the file.
        source = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        with closing(source), closing(sqlite3.connect(self._copy)) as copy:
            source.backup(copy)

    def rewind(self, how: str) -> None:
        if how == "restored through SQLite":
            copy, target = sqlite3.connect(self._copy), sqlite3.connect(self.path, timeout=30)
            with closing(copy), closing(target):
                copy.backup(target)
            return
        if how == "overwritten":
            self.remove_companions()
            content = self._copy.read_bytes()
            with self.path.open("r+b") as file:
                file.truncate(len(content))
                file.write(content)
            return
        new = self.path.with_suffix(".new")
        shutil.copyfile(self._copy, new)
        if how == "replaced":
            self.remove_companions()
        new.replace(self.path)

    def repair(self) -> None:
        self.remove_companions()

    def stop(self) -> None:
        pass

    def remove_companions(self) -> None:
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


class RedisServer:
    """A store in a Redis server of its own."""

    WAYS: ClassVar[tuple[str, ...]] = ("restarted", "reloaded")

    def __init__(self, folder: Path) -> None:
        self._dump, self._copy = folder / "dump.rdb", folder / "copy.rdb"
        self._options = ["--dir", str(folder), "--enable-debug-command", "local"]
        self._server, self._port = start_redis(self._options)
        self.address = f"redis://127.0.0.1:{self._port}/0"

    def copy(self) -> None:
        self._command("SAVE")
        shutil.copyfile(self._dump, self._copy)

    def rewind(self, how: str) -> None:
        if how == "reloaded":
            shutil.copyfile(self._copy, self._dump)
            self._command("DEBUG RELOAD NOSAVE")
            return
        self.stop()
        shutil.copyfile(self._copy, self._dump)
        self._server, _ = start_redis(self._options, self._port)

    def repair(self) -> None:
        pass

    def stop(self) -> None:
        self._server.kill()
        self._server.wait()

    def _command(self, command: str) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=30) as connection:
            connection.sendall(f"{command}\r\n".encode())
            reply = connection.recv(1000)
            assert reply == b"+OK\r\n", reply
