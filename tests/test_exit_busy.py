"""A process exits while daemon threads are in calls and other threads compute.

CPython before 3.14 ends a daemon thread in the middle of Python code, wherever it lost the GIL.
Threads that compute take the GIL away as often as possible.

A thousand exits take long, so they share what they import: a process forks once for each exit. The
child imports the library, makes its threads, and ends as any interpreter does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from runtime_helpers import pick_count, run_python

from mde_live_response import Limits, Rate
from mde_live_response.emulator import Emulator

EXIT_CODE = 7
FORK = """
import asyncio, collections, logging, os, random, signal, sys, threading, time
IMPORTS
codes = collections.Counter()
for exit in range(COUNT):
    child = os.fork()
    if not child:
        random.seed(exit)
        break
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGABRT))
    signal.alarm(60)
    codes[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1
    signal.alarm(0)
else:
    print(dict(codes))
    sys.exit()
"""
BUSY = """
import mde_live_response as mde
WS = "ws-0001.example.test"
rates = [mde.Rate(1_000_000, 60.0)]
limits = mde.Limits(read=rates, submit=rates, upload_size=100)
options = {"limits": limits, "state": "memory:"}
client = mde.LiveResponseClient(**options)
COMMAND = mde.Command.run_script("quick.ps1")
def compute(rounds=1 << 62):
    number = 0
    for _ in range(rounds):
        number = number * 31 + 7 & 0xFFFF
def daemon(work):
    def loop():
        while True:
            try:
                work()
            except (RuntimeError, mde.LiveResponseError):
                pass
    threading.Thread(target=loop, daemon=True).start()
client.list_machines()
go = threading.Event()
for _ in range(4):
    threading.Thread(target=lambda: go.wait() and compute(), daemon=True).start()
"""
WAYS = {
    "log level": """
for _ in range(3): daemon(client.list_machines)
""",
    "log handler": """
class Busy(logging.Handler):
    def emit(self, record): compute(1000)
logging.getLogger("mde_live_response").addHandler(Busy())
logging.getLogger().setLevel(logging.DEBUG)
for _ in range(3): daemon(client.list_machines)
""",
    "tracing": """
trace.set_tracer_provider(TracerProvider())
for _ in range(3): daemon(client.list_machines)
""",
    "errors": """
for _ in range(3): daemon(lambda: client.get_machine("nobody.example.test"))
""",
    "credential": """
def credential():
    compute(1000)
    return os.environ["TOKEN"]
for _ in range(3): daemon(lambda: mde.LiveResponseClient(credential, **options).list_machines())
""",
    "awaitable credential": """
async def credential():
    await asyncio.sleep(0)
    compute(1000)
    return os.environ["TOKEN"]
for _ in range(3): daemon(lambda: mde.LiveResponseClient(credential, **options).list_machines())
""",
    "read of a file object": """
class Busy:
    def read(self, size):
        compute(1000)
        return b"x"
upload = {"name": "a.ps1", "overwrite": True}
for _ in range(3): daemon(lambda: client.library.upload(Busy(), **upload))
""",
    "write to a file object": """
class Busy:
    def write(self, data): compute(1000)
session = client.session(os.environ["SESSION"])
for _ in range(3): daemon(lambda: session.download(0, Busy()))
""",
    "path of a file": """
class Busy:
    def __fspath__(self):
        compute(1000)
        return "/no/such/file"
def upload():
    try: client.library.upload(Busy())
    except OSError: pass
for _ in range(3): daemon(upload)
""",
    "callback": """
def on_update(action): compute(1000)
for i in range(3):
    daemon(lambda ws=f"ws-000{i + 1}.example.test": client.run(
        ws, COMMAND, "why", on_busy="wait", on_update=on_update))
""",
    "asyncio": """
def on_update(action): compute(1000)
async def calls():
    await asyncio.gather(*(client.list_machines_async() for _ in range(10)))
    await client.run_async(WS, COMMAND, "why", on_busy="wait", on_update=on_update)
async def lists():
    await asyncio.gather(*(client.list_machines_async() for _ in range(10)))
daemon(lambda: asyncio.run(calls()))
for _ in range(2): daemon(lambda: asyncio.run(lists()))
""",
    "stream": """
session = client.session(os.environ["SESSION"])
def read():
    for piece in session.stream(0): compute(1000)
for _ in range(3): daemon(read)
""",
    "new clients and values": """
class Callback:
    def __del__(self): compute(1000)
    def __call__(self): return os.environ["TOKEN"]
def make():
    other = mde.LiveResponseClient(Callback(), **options)
    other.list_machines()[0].to_dict()
    other.close()
for _ in range(3): daemon(make)
""",
    "emulator": """
from mde_live_response.emulator import Emulator
logging.getLogger("mde_live_response").addHandler(logging.NullHandler())
box = Emulator(speed=1000)
def script(machine, args):
    compute(1000)
    return "done"
box.on_script("busy.ps1", stdout=script)
mine = box.client()
options = {"on_busy": "wait"}
daemon(lambda: mine.run(WS, mde.Command.run_script("busy.ps1"), "why", **options))
daemon(lambda: box.requests)
""",
}
TRACING = """
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
"""
END = """
sys.setswitchinterval(0.001)
go.set()
time.sleep(random.uniform(0, 0.05))
sys.exit(7)
"""


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    rates = [Rate(1_000_000, 60.0)]
    with Emulator(machines=4, speed=1000.0, limits=Limits(read=rates, submit=rates)) as emulator:
        emulator.on_script("quick.ps1", duration=1.0)
        emulator.put_remote_file("*", "/evidence", os.urandom(1_000_000))
        with emulator.client() as client:
            from mde_live_response import Command

            session = client.submit("ws-0004.example.test", Command.get_file("/evidence"), "why")
            session.wait()
        emulator.env = {**emulator.env, "TOKEN": emulator.token, "SESSION": session.id}
        yield emulator


@pytest.mark.parametrize("way", WAYS)
def test_exit_keeps_its_code_while_daemon_threads_are_in_calls(
    way: str, emulator: Emulator
) -> None:
    count = pick_count(1, 1000)
    imports = TRACING if way == "tracing" else ""
    fork = FORK.replace("COUNT", str(count)).replace("IMPORTS", imports)

    done = run_python(fork + BUSY + WAYS[way] + END, emulator.env, seconds=60 + 10 * count)

    assert done.out == f"{{{EXIT_CODE}: {count}}}\n", done
    assert not done.err, done
