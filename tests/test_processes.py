"""Unusual processes: the system refuses threads, greenlets, a fork while a handler writes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import pytest
from runtime_helpers import ProcessResult, pick_count, run_python, wait_until

from mde_live_response.emulator import Emulator

WITHOUT_THREADS = """
# Imported first: another user may not read the files of the interpreter.
import asyncio, datetime, encodings.idna, logging, os, resource, selectors, sys, threading, time
import traceback
import mde_live_response as mde
from mde_live_response import _credential, _log_delivery, errors
from mde_live_response.emulator import Emulator
token = os.environ["TOKEN"]
async def later(): return token
def client(credential=token, state="memory:"):
    return mde.LiveResponseClient(credential, state=state)
LIMIT = int(os.environ["LIMIT"])
resource.setrlimit(resource.RLIMIT_NPROC, (LIMIT, LIMIT))
if os.geteuid() == 0:  # the limit does not apply to root, and counts all threads of a user
    os.setresuid(*[100_000 + os.getpid()] * 3)
started_at = time.monotonic()
try:
    WORK
except OSError as error:
    assert "ulimit -u" in str(error), error
    print("refused", time.monotonic() - started_at)
else:
    print("done")
"""
CALLS = {
    "a blocking call": "client().list_machines()",
    "an asyncio call": "asyncio.run(client().list_machines_async())",
    "a credential": "client(lambda: token).list_machines()",
    "an awaitable credential": "client(later).list_machines()",
    "an emulator": "Emulator()",
    "a SQLite store": "client(state=os.environ['STORE']).list_machines()",
}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(speed=20.0) as emulator:
        yield emulator


def run_with_limit(work: str, limit: int, emulator: Emulator, folder: Path) -> ProcessResult:
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o777)
    env = {
        **emulator.env,
        "TOKEN": emulator.token,
        "LIMIT": str(limit),
        "STORE": f"sqlite:///{folder}/state-{limit}.db",
    }
    return run_python(WITHOUT_THREADS.replace("WORK", work), env, seconds=30.0)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
@pytest.mark.parametrize("call", CALLS)
def test_without_threads_a_call_fails_within_a_second(
    call: str, emulator: Emulator, tmp_path: Path
) -> None:
    done = run_with_limit(CALLS[call], 1, emulator, tmp_path)
    assert done.code == 0, done
    assert done.out.startswith("refused"), done
    assert float(done.out.split()[1]) < 1.0, done


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root has a spare user"
)
@pytest.mark.parametrize("call", CALLS)
def test_with_too_few_threads_a_call_fails_or_works(
    call: str, emulator: Emulator, tmp_path: Path
) -> None:
    refused = []
    for limit in [*range(2, 13, pick_count(3, 1)), 40]:
        done = run_with_limit(CALLS[call], limit, emulator, tmp_path)
        assert done.code == 0, (limit, done)
        refused.append(done.out.startswith("refused"))
        if refused[-1]:
            assert float(done.out.split()[1]) < 1.0, (limit, done)
    assert refused[0]
    assert not refused[-1]
    assert refused == sorted(refused, reverse=True)


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root has a spare user"
)
def test_without_a_thread_for_log_records_they_are_delivered_at_exit(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.fault("GET", "machines", "status", status=503, times=2)
    work = "client().list_machines()"
    done = run_with_limit(work, 8, emulator, tmp_path)
    assert done.out == "done\n", done
    assert done.err.count("refuses to start the thread mde-live-response-log") == 1, done
    assert done.err.count("trying again") == 2, done


@pytest.mark.skipif(sys.platform == "win32", reason="the shell is one of Unix")
@pytest.mark.parametrize("output", ["2>&-", ">&-", ">&- 2>&-", "| head -1", "2>&1 | true"])
def test_the_command_line_ends_the_session_whatever_its_output_is(
    output: str, emulator: Emulator
) -> None:
    emulator.on_script("a.ps1", stdout="line\n" * 10_000, duration=20)
    command = f"{sys.executable} -m mde_live_response run ws-0001.example.test --run-script a.ps1"
    before, after = (output, "") if output.startswith((">", "2>&-")) else ("", output)
    shell = f"{{ {command} --comment c {before}; echo code $? >&9; }} 9>$CODE {after}"
    code = Path(os.environ.get("TMPDIR", "/tmp")) / f"mde-code-{os.getpid()}"
    subprocess.run(
        ["bash", "-c", shell], env={**os.environ, **emulator.env, "CODE": str(code)}, timeout=60
    )
    assert code.read_text() == "code 0\n"
    code.unlink()
    assert [r["status"] for r in emulator.requests if r["route"] == "runliveresponse"] == [201]


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
    body = str(len(client.list_machines())).encode()
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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
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
        wait_until(lambda: fetch(address) == b"3", "an answer", 30.0)
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda _: fetch(address), range(12))) == {b"3"}
        started_at = time.monotonic()
        server.terminate()
        _, err = server.communicate(timeout=30)
        assert time.monotonic() - started_at < 10, err
        assert server.returncode == 0, err
        assert "Fatal" not in err, err
    finally:
        server.kill()


def fetch(address: str) -> bytes | None:
    try:
        with urlopen(f"http://{address}/", timeout=20) as response:
            body: bytes = response.read()
            return body
    except OSError:
        return None


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
@pytest.mark.parametrize("hangs", [False, True], ids=["slow", "hanging"])
def test_a_fork_waits_a_bounded_moment_for_a_log_handler(hangs: bool, emulator: Emulator) -> None:
    code = f"""
import logging, os, sys, threading, time
import mde_live_response as mde
lock, inside = threading.Lock(), threading.Event()
class Slow(logging.Handler):
    def createLock(self): self.lock = None
    def emit(self, record):
        with lock:
            inside.set()
            time.sleep(3600 if {hangs} else 0.1)
logging.getLogger("mde_live_response").addHandler(Slow())
logging.getLogger().setLevel(logging.DEBUG)
client = mde.LiveResponseClient()
threading.Thread(target=client.list_machines, daemon=True).start()
inside.wait()
started_at = time.monotonic()
pid = os.fork()
if not pid:
    got = lock.acquire(timeout=2)
    os._exit(0 if got or {hangs} else 1)
took = time.monotonic() - started_at
assert took < 1, took
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
started_at = time.monotonic()
pid = os.fork()
if not pid:
    os._exit(0)
assert not {hangs} or time.monotonic() - started_at < 0.2
os.waitpid(pid, 0)
if not {hangs}:
    inside.clear()
    client.list_machines()
    assert inside.wait(5)
print("done")
"""
    for _ in range(pick_count(3, 50)):
        done = run_python(code, emulator.env, seconds=60.0)
        assert (done.code, done.out) == (0, "done\n"), done
