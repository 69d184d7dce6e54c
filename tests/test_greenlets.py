"""Processes with greenlets, and servers that fork workers: gevent, eventlet, gunicorn."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from runtime_helpers import free_port, pick_count, run_python, wait_until

from mde_live_response.emulator import Emulator

GREENLETS = """
import faulthandler, os, sys
faulthandler.dump_traceback_later(30, exit=True)
if os.environ["ORDER"] == "library first":
    import mde_live_response, mde_live_response._threads
if os.environ["KIND"] == "gevent":
    from gevent import monkey
    monkey.patch_all()
else:
    import warnings
    warnings.simplefilter("ignore")
    import eventlet
    eventlet.monkey_patch()
import asyncio, logging, socket, time
import mde_live_response as mde
logging.basicConfig(level=logging.DEBUG)
host, port = os.environ["MDE_LIVE_RESPONSE_ENDPOINT"].split("//")[1].split("/")[0].split(":")
def fetch():
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        connection.recv(10)
    time.sleep(0.01)
    return os.environ["TOKEN"]
async def fetch_later():
    await asyncio.sleep(0.01)
    return os.environ["TOKEN"]
for credential in (fetch, fetch_later):
    with mde.LiveResponseClient(credential) as client:
        assert len(client.list_machines()) == 3
fleet = client = None
with mde.LiveResponseClient(fetch) as client:
    client.run_many(["ws-0001"], mde.Command.run_script("a.ps1"), "c", progress=True).report()
print("done")
"""


@pytest.mark.parametrize("order", ["library first", "patch first"])
@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_monkey_patching_hangs_neither_calls_nor_the_exit(
    kind: str, order: str, emulator: Emulator
) -> None:
    pytest.importorskip(kind)
    emulator.add_library_file("a.ps1")
    for _ in range(pick_count(1, 20)):
        emulator.fault("GET", "machines", "status", status=503, times=1)
        env = {**emulator.env, "TOKEN": emulator.token, "KIND": kind, "ORDER": order}
        done = run_python(GREENLETS, env, seconds=60.0)
        assert (done.code, done.out) == (0, "done\n"), done
        assert "trying again" in done.err, done
        assert "Traceback" not in done.err, done
        assert done.seconds < 20.0, done


@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_ctrl_c_reaches_a_call_in_a_greenlet(kind: str, emulator: Emulator) -> None:
    pytest.importorskip(kind)
    emulator.fault("GET", "machines", "delay", seconds=60.0, times=100)
    spawn = "gevent.spawn(call).join()" if kind == "gevent" else "eventlet.spawn(call).wait()"
    patch = "gevent.monkey.patch_all()" if kind == "gevent" else "eventlet.monkey_patch()"
    code = f"""
import os, signal, _thread
start, sleep = _thread.start_new_thread, __import__("time").sleep
import {kind}
if {kind!r} == "gevent": import gevent.monkey
{patch}
import mde_live_response as mde
def interrupt():
    sleep(1)
    os.kill(os.getpid(), signal.SIGINT)
def call():
    mde.LiveResponseClient().list_machines()
start(interrupt, ())
{spawn}
"""
    done = run_python(code, emulator.env, seconds=40.0)
    assert "KeyboardInterrupt" in done.err, done
    assert done.seconds < 20.0, done


WSGI = """
import logging, os
logging.basicConfig(level=logging.DEBUG)
import mde_live_response as mde
client = mde.LiveResponseClient(lambda: os.environ["TOKEN"])
PRELOADED = os.environ["PRELOAD"] == "1" and len(client.list_machines())
def app(environ, start_response):
    ready = environ["PATH_INFO"] == "/ready"
    body = str(os.getpid() if ready else len(client.list_machines())).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="gunicorn is for Unix")
@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_gunicorn_serves_and_stops_at_once(
    worker: str, preload: bool, emulator: Emulator, tmp_path: Path
) -> None:
    pytest.importorskip("gunicorn")
    pytest.importorskip("gevent")
    (tmp_path / "service.py").write_text(WSGI)
    address = f"127.0.0.1:{free_port()}"
    options = ["-k", worker, "-w", "2", "--threads", "2", "-b", address, "--graceful-timeout", "20"]
    options += ["--preload"] if preload else []
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "service:app"],
        cwd=tmp_path,
        env={
            **os.environ,
            **emulator.env,
            "TOKEN": emulator.token,
            "PRELOAD": str(int(preload)),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        workers: set[bytes] = set()
        with ThreadPoolExecutor(4) as pool:
            # gunicorn loses the signal to end of a worker that is not ready yet.
            wait_until(lambda: len(add_worker(address, workers)) == 2, "both workers", 60.0)
            answers = pool.map(lambda _: fetch(address, "/"), range(12))
            assert set(answers) == {b"3"}
        started_at = time.monotonic()
        server.terminate()
        _, err = server.communicate(timeout=30)
        assert time.monotonic() - started_at < 10, err
        assert server.returncode == 0, err
        assert "Fatal" not in err, err
    finally:
        server.kill()


def fetch(address: str, path: str) -> bytes:
    with urlopen(f"http://{address}{path}", timeout=20) as response:
        body: bytes = response.read()
        return body


def add_worker(address: str, workers: set[bytes]) -> set[bytes]:
    """Add the worker that answers next to the set, if one does."""
    # A server that starts refuses connections.
    with suppress(OSError):
        workers.add(fetch(address, "/ready"))
    return workers
