"""A process exits with calls in flight: exit code 0, and only Python's own messages on stderr."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from runtime_helpers import (
    ProcessResult,
    is_pending,
    pick_count,
    requests_of,
    run_python,
    wait_until,
)

from mde_live_response import Command, Limits, Rate
from mde_live_response.emulator import Emulator

BOUND = 15.0
START = """
import asyncio, atexit, logging, os, sys, threading, time
import mde_live_response as mde
limits = mde.Limits(read=[mde.Rate(1_000_000, 60.0)], submit=[mde.Rate(100_000, 60.0)])
client = mde.LiveResponseClient(limits=limits)
WS, COMMAND = "ws-0001.example.test", mde.Command.run_script("slow.ps1")
def daemon(work):
    def quietly():
        try:
            work()
        except (RuntimeError, mde.LiveResponseError):
            pass
    threading.Thread(target=quietly, daemon=True).start()
def again(work):
    def loop():
        while True: work()
    return loop
"""
ENDS = {
    "blocking calls in daemon threads": """
client.list_machines()
for _ in range(8): daemon(again(client.list_machines))
for _ in range(4): daemon(lambda: client.list_machine_actions())
time.sleep(0.05)
""",
    "calls that have just started": """
for _ in range(8): daemon(client.list_machines)
""",
    "calls that wait for the service": """
for _ in range(3): daemon(lambda: client.get_machine("slow.example.test"))
time.sleep(0.05)
""",
    "asyncio tasks in a daemon thread's loop": """
async def main():
    await asyncio.gather(*(client.list_machines_async() for _ in range(50)))
daemon(again(lambda: asyncio.run(main())))
time.sleep(0.1)
""",
    "tasks of a loop that nobody runs": """
loop = asyncio.new_event_loop()
tasks = [loop.create_task(client.list_machines_async()) for _ in range(10)]
loop.run_until_complete(asyncio.sleep(0.001))
""",
    "a coroutine that nobody awaited": """
coroutine = client.list_machines_async()
async def begun():
    global other
    other = client.list_machines_async()
    other.send(None)
asyncio.run(begun())
""",
    "a POST in flight": """
options = {"correlation_id": str(os.getpid()), "on_busy": "wait"}
daemon(lambda: client.submit("ws-0002.example.test", COMMAND, "why", **options))
time.sleep(0.05)
""",
    "a credential that blocks, and one that awaits": """
def credential():
    while True: time.sleep(0.001)
async def later():
    await asyncio.sleep(60)
for given in (credential, later):
    other = mde.LiveResponseClient(given)
    daemon(other.list_machines)
time.sleep(0.05)
""",
    "callbacks": """
def on_update(action):
    while True: time.sleep(0.001)
options = {"on_busy": "wait", "on_update": on_update}
daemon(lambda: client.run("ws-0003.example.test", COMMAND, "why", **options))
time.sleep(0.2)
""",
    "logging at DEBUG": """
logging.basicConfig(level=logging.DEBUG, filename=os.devnull)
for _ in range(8): daemon(again(client.list_machines))
time.sleep(0.05)
""",
    "a blocked log handler": """
class Stuck(logging.Handler):
    def emit(self, record):
        while True: time.sleep(0.001)
    def createLock(self): self.lock = None
    def handle(self, record): self.emit(record)
logging.getLogger("mde_live_response").addHandler(Stuck())
logging.getLogger().setLevel(logging.DEBUG)
client.list_machines()
daemon(again(client.list_machines))
time.sleep(0.05)
""",
    "a download into a blocked file object": """
class Stuck:
    def write(self, data):
        while True: time.sleep(0.001)
session = client.session(os.environ["SESSION"])
daemon(lambda: session.download(0, Stuck()))
time.sleep(0.2)
""",
    "an emulator in the same process": """
from mde_live_response.emulator import Emulator
logging.getLogger("mde_live_response").addHandler(logging.NullHandler())
box = Emulator()
mine = box.client()
for _ in range(4): daemon(again(mine.list_machines))
daemon(again(lambda: box.requests))
time.sleep(0.05)
""",
    "a blocked script of an emulator": """
from mde_live_response.emulator import Emulator
logging.getLogger("mde_live_response").addHandler(logging.NullHandler())
def stuck(machine, args):
    while True: time.sleep(0.001)
box = Emulator(speed=100)
box.on_script("stuck.ps1", stdout=stuck)
daemon(lambda: box.client().run(WS, mde.Command.run_script("stuck.ps1"), "why"))
time.sleep(1)
""",
    "sys.exit in a thread": """
def leave():
    client.list_machines()
    sys.exit(3)
thread = threading.Thread(target=leave)
thread.start()
daemon(again(client.list_machines))
""",
    "calls from atexit": """
atexit.register(client.close)
atexit.register(lambda: client.list_machines())
atexit.register(lambda: asyncio.run(client.list_machines_async()))
daemon(again(client.list_machines))
""",
    "a client in a cycle": """
class App:
    def __init__(self): self.client = mde.LiveResponseClient(self.token)
    def token(self): return os.environ["TOKEN"]
app = App()
app.client.list_machines()
daemon(again(app.client.list_machines))
time.sleep(0.02)
""",
}
PYTHONS_OWN = re.compile(
    r"Task was destroyed but it is pending!|task: <Task|never awaited|^Coroutine created|"
    r"^  |^Task exception|^$|"
    r"^sys:1: |^<sys>:0: |^Exception ignored in: <coroutine|^RuntimeWarning: Enable tracemalloc"
)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    limits = Limits(read=[Rate(1_000_000, 60.0)], submit=[Rate(100_000, 60.0)])
    with Emulator(speed=20.0, limits=limits) as emulator:
        emulator.on_script("slow.ps1", duration=5.0)
        emulator.put_remote_file("*", "/evidence", b"x" * 1_000_000)
        emulator.add_machine("slow.example.test")
        emulator.fault("GET", "/api/machines/slow", "delay", seconds=60.0, times=1000)
        emulator.fault("POST", "runliveresponse", "delay", seconds=0.5, times=1000)
        with emulator.client() as client:
            session = client.submit("ws-0001.example.test", Command.get_file("/evidence"), "why")
            session.wait()
        emulator.env = {**emulator.env, "TOKEN": emulator.token, "SESSION": session.id}
        yield emulator


@pytest.mark.parametrize("end", ENDS)
def test_exit_is_unaffected_by_calls_in_flight(end: str, emulator: Emulator) -> None:
    def one(_: int) -> ProcessResult:
        return run_python(START + ENDS[end], emulator.env, seconds=60.0)

    with ThreadPoolExecutor(3) as pool:
        for done in pool.map(one, range(pick_count(6, 100))):
            assert done.code == 0, done
            assert done.seconds < BOUND, done
            foreign = [line for line in done.err.splitlines() if not PYTHONS_OWN.search(line)]
            assert not foreign, done


@pytest.mark.parametrize("left", [False, True], ids=["waited for", "left by Ctrl-C"])
def test_a_post_in_flight_is_finished(left: bool) -> None:
    code = (
        START + 'client.submit(WS, mde.Command.run_script("a.ps1"), "why", correlation_id="exit-1")'
    )
    if not left:
        code = code.replace("client.submit", "daemon(lambda: client.submit") + "); time.sleep(0.2)"
    with Emulator() as emulator, emulator.client() as client:
        emulator.add_library_file("a.ps1")
        emulator.fault("POST", "runliveresponse", "delay", seconds=1.0)
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, **emulator.env},
            stderr=subprocess.PIPE,
            text=True,
        )
        if left:
            wait_until(lambda: is_pending(emulator, "runliveresponse"), "the POST")
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == (-signal.SIGINT if left else 0), err
        assert ("was cancelled by its caller, but session" in err) == left, err
        assert [post["status"] for post in requests_of(emulator, "runliveresponse")] == [201]
        assert client.find_session("ws-0001.example.test", "exit-1") is not None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("door", ["blocking", "asyncio"])
def test_a_signal_gives_the_usual_exit_code(number: signal.Signals, door: str) -> None:
    call = "client.get_machine('slow.example.test')"
    if door == "asyncio":
        call = "asyncio.run(client.get_machine_async('slow.example.test'))"
    with Emulator() as emulator:
        emulator.fault("GET", "machines", "delay", seconds=60.0)
        process = subprocess.Popen(
            [sys.executable, "-c", START + call],
            env={**os.environ, **emulator.env},
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(
            lambda: [True for call in requests_of(emulator, "machines") if call["status"] is None],
            "the call",
        )
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == -number
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)
    assert "Fatal" not in err


def test_a_thread_pool_finishes_its_calls_first(emulator: Emulator) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
pool = ThreadPoolExecutor(4)
futures = [pool.submit(client.list_machines) for _ in range(20)]
"""
    done = run_python(START + code, emulator.env)
    assert (done.code, done.err) == (0, ""), done
