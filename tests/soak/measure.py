"""What a process holds. A worker measures itself when none of its calls run."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import socket
import sys
from pathlib import Path

from mde_live_response._native import runtime_tasks


class _MallInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    )


def _malloc() -> dict[str, int]:
    """Return the bytes that malloc has handed out, and those that it keeps for later.

    Empty without glibc 2.33.
    """
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return {}
    mallinfo2.restype = _MallInfo
    info = mallinfo2()
    return {"native": int(info.uordblks + info.hblkhd), "kept": int(info.fordblks)}


def _smaps() -> dict[str, int]:
    """Return the sums of this process's mappings, in bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    return {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines}


def process(count_objects: bool) -> dict[str, int]:
    """Measure this process. To count objects takes a collection, which is slow."""
    smaps = _smaps()
    sample = {
        "rss": smaps["Rss"],
        "dirty": smaps["Private_Dirty"],
        "handles": len(os.listdir("/proc/self/fd")) - 1,  # noqa: PTH208, only the number
        "threads": len(os.listdir("/proc/self/task")),  # noqa: PTH208, only the number
        "tasks": len(asyncio.all_tasks()),
        "runtime_tasks": runtime_tasks(),
    }
    sample |= _malloc()
    if "kept" in sample:
        sample["rss_in_use"] = sample["rss"] - sample["kept"]
    if count_objects:
        gc.collect()
        sample |= {"objects": len(gc.get_objects()), "blocks": sys.getallocatedblocks()}
    return sample


def store(address: str) -> dict[str, int]:
    """Measure a state store from outside."""
    if address.startswith("sqlite:///"):
        path = Path(address.removeprefix("sqlite:///"))
        wal = path.with_name(path.name + "-wal")
        return {"store": path.stat().st_size, "wal": wal.stat().st_size if wal.exists() else 0}
    if address.startswith("redis://"):
        port = int(address.rpartition(":")[2].partition("/")[0])
        info = dict(line.split(":", 1) for line in _ask_redis(port, "INFO").split() if ":" in line)
        return {"store": int(info["used_memory"]), "keys": int(_ask_redis(port, "DBSIZE")[1:])}
    return {}


def _ask_redis(port: int, command: str) -> str:
    """Send a command without arguments, and return the reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"{command}\r\nQUIT\r\n".encode())
        with connection.makefile("rb") as reply:
            return reply.read().decode().removesuffix("+OK\r\n").strip()
