"""Helpers for tests of shared state stores: a Redis server, and clients in separate processes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mde_live_response.emulator import Emulator

WORKER = Path(__file__).with_name("state_worker.py")


def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis server on loopback, and yield its address."""
    program = shutil.which("redis-server")
    if program is None:
        assert os.environ.get("CI") != "true", "redis-server is needed in CI"
        pytest.skip("there is no redis-server here")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        program,
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + 10
            while not _is_listening(port):
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.01)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.kill()


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def start_worker(emulator: Emulator, job: Mapping[str, Any]) -> subprocess.Popen[str]:
    """Start tests/state_worker.py with `job`, as a client of this emulator."""
    return subprocess.Popen(
        [sys.executable, str(WORKER), json.dumps(job)],
        env={**os.environ, **emulator.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_output(process: subprocess.Popen[str], seconds: float) -> Any:
    """Return the last line a worker printed. Fails if its exit code is not 0."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, f"exit code {process.returncode}\n{out}\n{err}"
    return json.loads(out.splitlines()[-1])
