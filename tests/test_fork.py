"""A fork after use: each child works and exits, and the parent is not affected."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from runtime_helpers import ProcessResult, pick_count, run_python

from mde_live_response.emulator import Emulator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")

START = """
import asyncio, os, sys, threading, time, warnings
import mde_live_response as mde
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork with threads
limits = mde.Limits(read=[mde.Rate(1_000_000, 60.0)], submit=[mde.Rate(100_000, 60.0)])
client = mde.LiveResponseClient(limits=limits)
MACHINE = "ws-0001.example.test"

def wait_for(pid, seconds=30.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, 6)
    raise SystemExit(f"child {pid} hung")

def fork(work, leave=os._exit):
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        work()
        code = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    leave(code)

def used():
    assert len(client.list_machines()) == 3
"""


@pytest.fixture
def emulator() -> Emulator:
    from mde_live_response import Limits, Rate

    limits = Limits(read=[Rate(1_000_000, 60.0)], submit=[Rate(100_000, 60.0)])
    return Emulator(speed=20.0, limits=limits)


def script(emulator: Emulator, code: str, seconds: float = 150.0) -> ProcessResult:
    with emulator:
        done = run_python(START + code, emulator.env, seconds=seconds)
    assert done.code == 0, done
    assert not done.err, done
    return done


def test_a_child_works_and_so_does_its_child(emulator: Emulator) -> None:
    code = """
used()
def grandchild(): used(); asyncio.run(client.list_machines_async())
def child():
    used()
    assert wait_for(fork(grandchild)) == 0
    used()
assert wait_for(fork(child)) == 0
assert wait_for(fork(lambda: wait_for(fork(grandchild)))) == 0
used()
"""
    script(emulator, code)


def test_a_child_that_exits_normally(emulator: Emulator) -> None:
    code = """
used()
assert wait_for(fork(used, sys.exit)) == 0
assert wait_for(fork(lambda: None, sys.exit)) == 0
used()
"""
    script(emulator, code)


def test_a_client_used_in_the_child_only(emulator: Emulator) -> None:
    code = """
assert wait_for(fork(used)) == 0
assert wait_for(fork(lambda: asyncio.run(client.list_machines_async()))) == 0
used()
"""
    script(emulator, code)


def test_objects_of_the_client_work_in_the_child(emulator: Emulator) -> None:
    code = """
command = mde.Command.run_script("a.ps1")
client.library.upload(b"x", name="a.ps1")
library, session = client.library, client.submit(MACHINE, command, "why", correlation_id="case-1")
session.refresh()
def child():
    assert [file.file_name for file in library.list_files()] == ["a.ps1"]
    assert repr(session).startswith("<Session") and session.correlation_id == "case-1"
    assert session.result().ok and session.action.done
    assert asyncio.run(session.refresh_async()).done
assert wait_for(fork(child)) == 0
del client
def orphan():
    assert session.result().ok
    assert library.list_files()
assert wait_for(fork(orphan)) == 0
assert session.result().ok and library.list_files()
"""
    script(emulator, code)


def test_objects_dropped_in_the_child_stay_valid_in_the_parent(emulator: Emulator) -> None:
    code = """
import gc
used()
client.library.upload(b"x", name="a.ps1")
session = client.submit(MACHINE, mde.Command.run_script("a.ps1"), "why")
others = [mde.LiveResponseClient() for _ in range(5)]
for other in others: other.list_machines()
def child():
    global session
    others.pop().close()
    others.clear()
    session = None
    gc.collect()
    used()
for _ in range(5):
    assert wait_for(fork(child)) == 0
    for other in others: assert len(other.list_machines()) == 3
"""
    script(emulator, code)


def test_a_child_of_a_busy_process_works(emulator: Emulator) -> None:
    """Forks from two threads, with calls, a busy event loop and DEBUG logging in the background."""
    count = pick_count(200, 2000)
    code = f"""
import logging
class Quiet(logging.Handler):
    def emit(self, record): record.getMessage()
logging.getLogger().addHandler(Quiet())
logging.getLogger().setLevel(logging.DEBUG)
over, done = threading.Event(), []

def busy():
    while not over.is_set():
        used(); done.append(1)

async def busy_loop():
    while not over.is_set():
        calls = [client.get_machine_async(MACHINE) for _ in range(10)]
        await asyncio.gather(*calls, return_exceptions=True)
        done.append(1)

def child():
    used()
    assert client.get_machine(MACHINE).computer_dns_name == MACHINE
    asyncio.run(asyncio.wait_for(client.list_machines_async(), 20))

def forks(count):
    for _ in range(count // 10):
        for pid in [fork(child) for _ in range(10)]:
            codes.append(wait_for(pid))

codes = []
used()
threads = [threading.Thread(target=busy) for _ in range(4)]
threads.append(threading.Thread(target=lambda: asyncio.run(busy_loop())))
for thread in threads: thread.start()
forks({count // 2})
forker = threading.Thread(target=forks, args=({count // 2},))
forker.start(); forker.join()
before = len(done)
while len(done) < before + 5: time.sleep(0.002)
over.set()
for thread in threads: thread.join()
assert codes == [0] * {count}, codes
used()
"""
    script(emulator, code, seconds=60.0 + count / 2)


def test_pools_of_processes(emulator: Emulator) -> None:
    code = """
import multiprocessing
def work(number):
    return len(client.list_machines()) + number
if __name__ == "__main__":
    used()
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(work, range(20)) == [3 + number for number in range(20)]
    used()
"""
    script(emulator, code)


@pytest.mark.parametrize("method", ["forkserver", "spawn", "fork"])
def test_a_pool_whose_workers_create_clients(
    method: str, emulator: Emulator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("pool")
    (folder / "pool_worker.py").write_text(
        """
import os
import mde_live_response as mde
clients = {}
def work(number):
    client = clients.setdefault(os.getpid(), None) or mde.LiveResponseClient()
    clients[os.getpid()] = client
    return [machine.computer_dns_name for machine in client.list_machines()][0], number
""",
        encoding="utf-8",
    )
    (folder / "main.py").write_text(
        f"""
import multiprocessing, pickle
import mde_live_response as mde
import pool_worker
if __name__ == "__main__":
    client = mde.LiveResponseClient()
    client.list_machines()
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        expected = [("ws-0001.example.test", number) for number in range(10)]
        assert pool.map(pool_worker.work, range(10)) == expected
        try:
            pool.apply(pool_worker.work, (client,))
        except TypeError as error:
            assert "LiveResponseClient is not pickled" in str(error), error
        else:
            raise AssertionError("a client was pickled")
    client.list_machines()
""",
        encoding="utf-8",
    )
    with emulator:
        done = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "main.py"],
            cwd=folder,
            env={**os.environ, **emulator.env},
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_fork_that_python_did_not_make_is_an_error(emulator: Emulator) -> None:
    code = """
import ctypes
libc = ctypes.PyDLL(None)
used()
session = client.session("12345678-1234-1234-1234-123456789012")
pid = libc.fork()
if not pid:
    list_async = lambda: asyncio.run(client.list_machines_async())
    for call in (client.list_machines, session.refresh, client.library.list_files, list_async):
        try:
            call()
        except RuntimeError as error:
            assert "forked by something other than Python" in str(error), error
        else:
            raise SystemExit(7)
    sys.exit(0)
assert wait_for(pid) == 0
used()
"""
    script(emulator, code)


def test_a_fork_during_a_call(emulator: Emulator) -> None:
    code = """
client.library.upload(b"x", name="a.ps1")
parent, codes = os.getpid(), []
def on_update(action):
    if not codes:
        pid = os.fork()
        if pid:
            codes.append(wait_for(pid))
try:
    result = client.run(MACHINE, mde.Command.run_script("a.ps1"), "why", on_update=on_update)
except RuntimeError as error:
    assert os.getpid() != parent and "the process was forked" in str(error), error
    used()
    os._exit(0)
assert os.getpid() == parent and result.ok and codes == [0]

async def main():
    coroutine = client.list_machines_async()
    coroutine.send(None)
    made = client.list_machines_async()
    def child():
        coroutine.close()
        try:
            made.send(None)
        except RuntimeError:
            pass
        used()
    assert wait_for(fork(child)) == 0
    coroutine.close()
    assert len(await made) == 3
asyncio.run(main())
"""
    script(emulator, code)


def test_an_emulator_in_the_child_is_an_address(emulator: Emulator) -> None:
    code = """
from mde_live_response.emulator import Emulator
box = Emulator(tls=True)
mine = box.client()
assert len(mine.list_machines()) == 3
def child():
    assert len(mine.list_machines()) == 3
    assert len(box.client().list_machines()) == 3
    try:
        box.requests
    except RuntimeError as error:
        assert "belongs to the process" in str(error)
    box.close()
    with box: pass
assert wait_for(fork(child)) == 0
assert wait_for(fork(child, sys.exit)) == 0
def forget():
    global box
    box = None
assert wait_for(fork(forget, sys.exit)) == 0
assert len(mine.list_machines()) == 3
box.close()
"""
    script(emulator, code)


def test_credentials_in_the_child(emulator: Emulator) -> None:
    code = """
used()
token = os.environ["TOKEN"]
def plain(): return token
async def later(): return token
clients = [mde.LiveResponseClient(credential) for credential in (token, plain, later)]
def child():
    for client in clients: assert len(client.list_machines()) == 3
child()
for _ in range(5): assert wait_for(fork(child)) == 0
child()
"""
    emulator.env = {**emulator.env, "TOKEN": emulator.token}
    script(emulator, code)


def test_threads_of_a_child_may_all_make_its_first_call(emulator: Emulator) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
client = mde.LiveResponseClient(lambda: os.environ["MDE_LIVE_RESPONSE_TOKEN"], limits=limits)
def child():
    # A thread switch at nearly every step of Python.
    sys.setswitchinterval(1e-6)
    started = threading.Barrier(8)
    def first(_):
        started.wait()
        used()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(first, range(8)))
used()
for _ in range(10):
    assert wait_for(fork(child)) == 0
"""
    with emulator:
        env = {**emulator.env, "MDE_LIVE_RESPONSE_TOKEN": emulator.token}
        done = run_python(START + code, env, seconds=150.0)
    assert done.code == 0, done
