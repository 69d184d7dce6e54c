"""The end of an emulator: close, garbage collection, exit of the process, and disconnects."""

import gc
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator_helpers import DIRECT, call

from mde_live_response.emulator import Emulator


@pytest.fixture
def box() -> Iterator[Emulator]:
    with Emulator(speed=50) as emulator:
        yield emulator


def test_a_closed_emulator_does_not_listen(box: Emulator) -> None:
    box.close()
    box.close()
    with pytest.raises(urllib.error.URLError):
        call(box, "GET", "/api/machines")


def test_an_emulator_stops_at_garbage_collection() -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir())) if sys.platform == "linux" else 0

    before = threads()
    box = Emulator()
    url = box.url
    del box
    gc.collect()
    with pytest.raises(urllib.error.URLError):
        DIRECT.open(f"{url}/api/machines", timeout=30)
    for _ in range(100):
        if threads() <= before:
            return
        time.sleep(0.02)
    raise AssertionError(threads())


def test_a_script_that_references_its_emulator_is_collected() -> None:
    import weakref

    class Holder:
        pass

    def use(holder: Holder) -> weakref.ref[Holder]:
        with Emulator() as box:
            box.on_script("a.ps1", stdout=lambda *_: f"{box} {holder}")
        return weakref.ref(holder)

    reference = use(Holder())
    gc.collect()
    assert reference() is None


def test_the_log_shows_that_a_client_disconnected(box: Emulator) -> None:
    import socket

    box.fault("GET", "machines", "delay", seconds=30)
    host, port = box.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        headers = f"Host: x\r\nAuthorization: Bearer {box.token}\r\n"
        connection.sendall(f"GET /api/machines HTTP/1.1\r\n{headers}\r\n".encode())
        while not box.requests:
            time.sleep(0.01)
        assert box.requests[0]["status"] is None
    for _ in range(200):
        if box.requests[0]["status"] == "closed":
            return
        time.sleep(0.01)
    raise AssertionError(box.requests)


def test_a_process_can_exit_without_closing_it() -> None:
    code = """
import threading, urllib.request
from mde_live_response.emulator import Emulator
box = Emulator()
box.fault("GET", "machines", "delay", seconds=60)
headers = {"Authorization": "Bearer " + box.token}
request = urllib.request.Request(box.url + "/api/machines", headers=headers)
threading.Thread(target=urllib.request.urlopen, args=[request], daemon=True).start()
while not box.requests: pass
"""
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr


def test_close_and_exit_while_a_script_runs() -> None:
    """A script that never returns blocks neither `close` nor the exit of the process."""
    code = """
import threading, time, sys
sys.path.insert(0, sys.argv[1])
from emulator_helpers import *
from mde_live_response.emulator import Emulator
import threading
box = Emulator(speed=50)
box.on_script("a.ps1", stdout=lambda *_: time.sleep(1000))
action = run(box, script("a.ps1"))
threading.Thread(target=finished, args=[box, action["id"]], daemon=True).start()
time.sleep(0.5)
start = time.monotonic()
box.close()
assert time.monotonic() - start < 5
print("closed", flush=True)
"""
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr
