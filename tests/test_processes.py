"""Unusual processes: the system refuses threads, no stderr, a fork while a handler writes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtime_helpers import ProcessResult, pick_count, run_python

from mde_live_response import InvalidRequestError, LiveResponseClient
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
if "CGROUP" in os.environ:
    with open(os.environ["CGROUP"] + "/cgroup.procs", "w") as members:
        members.write(str(os.getpid()))
else:
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


def run_with_limit(
    work: str, limit: int, emulator: Emulator, folder: Path, cgroup: Path | None = None
) -> ProcessResult:
    # Another user reads and writes there.
    for path in (folder, *folder.parents):
        if path.is_relative_to(tempfile.gettempdir()) and path != Path(tempfile.gettempdir()):
            path.chmod(0o777)
    env = {
        **emulator.env,
        "TOKEN": emulator.token,
        "LIMIT": str(limit),
        "STORE": f"sqlite:///{folder}/state-{limit}.db",
    }
    if cgroup is not None:
        (cgroup / "pids.max").write_text(str(limit))
        env["CGROUP"] = str(cgroup)
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


REFUSE_ONCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
static int calls;
int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x) {
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
        dlsym(RTLD_NEXT, "pthread_create");
    return __sync_add_and_fetch(&calls, 1) == atoi(getenv("REFUSED")) ? EAGAIN : real(t, a, f, x);
}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is one of Linux")
def test_a_thread_that_is_refused_once_does_not_block_a_call(
    emulator: Emulator, tmp_path: Path
) -> None:
    """The threads of another process may end at any moment, and those of a check end late."""
    (tmp_path / "refuse.c").write_text(REFUSE_ONCE)
    library = tmp_path / "refuse.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "refuse.c"), "-ldl"],
        check=True,
    )
    work = WITHOUT_THREADS.replace("WORK", CALLS["a blocking call"])
    answers = set()
    for nth in range(1, 20):
        env = {
            **emulator.env,
            "TOKEN": emulator.token,
            "LIMIT": "1000",
            "LD_PRELOAD": str(library),
            "REFUSED": str(nth),
        }
        done = run_python(work, env, seconds=30.0)
        assert done.code == 0, (nth, done)
        answers.add(done.out.split()[0])
        if done.out.startswith("refused"):
            assert float(done.out.split()[1]) < 1.0, (nth, done)
    assert answers == {"done", "refused"}


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup with the controller `pids`, as a container has it."""
    version_1 = Path("/sys/fs/cgroup/pids")
    root = version_1 if version_1.is_dir() else Path("/sys/fs/cgroup")
    folder = root / f"mde-live-response-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"this machine allows no cgroup: {error}")
    try:
        if not (folder / "pids.max").exists():
            pytest.skip("the parent cgroup does not pass on the controller pids")
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.parametrize("call", CALLS)
def test_in_a_container_with_too_few_pids_a_call_fails_or_works(
    call: str, cgroup: Path, emulator: Emulator, tmp_path: Path
) -> None:
    refused = []
    for limit in (1, 3, 6, 40):
        done = run_with_limit(CALLS[call], limit, emulator, tmp_path, cgroup)
        assert done.code == 0, (limit, done)
        refused.append(done.out.startswith("refused"))
        if refused[-1]:
            assert float(done.out.split()[1]) < 1.0, (limit, done)
    assert refused[0]
    assert refused == sorted(refused, reverse=True)
    assert not refused[-1]


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


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
@pytest.mark.parametrize("hangs", [False, True], ids=["slow", "hanging"])
def test_a_fork_waits_a_bounded_moment_for_a_log_handler(hangs: bool, emulator: Emulator) -> None:
    code = f"""
import logging, os, sys, threading, time
import mde_live_response as mde
lock, inside = threading.Lock(), threading.Event()
class Slow(logging.Handler):
    def createLock(self): self.lock = None
    def handle(self, record): self.emit(record)
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


def test_the_authorities_may_be_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Emulator(tls=True) as emulator:
        assert emulator.ca_bundle is not None
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
        (tmp_path / "crl.r0").write_text("not a certificate")
        (tmp_path / "folder").mkdir()
        with pytest.raises(InvalidRequestError, match="no file of the directory"):
            LiveResponseClient(emulator.token, endpoint=emulator.url)
        shutil.copy(emulator.ca_bundle, tmp_path / "5ed36f99.0")
        with LiveResponseClient(emulator.token, endpoint=emulator.url, state="memory:") as client:
            assert len(client.list_machines()) == 3


def test_an_argument_in_seconds_needs_no_module() -> None:
    """Without a free file handle, no module can be loaded."""
    code = """
import sys
import mde_live_response as mde
sys.modules["datetime"] = None
print(mde.Rate(10, 60.0).per)
try:
    mde.Rate(10, "a minute")
except ImportError as error:
    print("datetime" in str(error))
"""
    done = run_python(code)
    assert (done.code, done.out) == (0, "60.0\nTrue\n"), done


SUB_INTERPRETER = """
import os, sys
import _testcapi
code = '''
import sys
import tempfile
sys.path[:0] = PATH
import os
if BUSY:
    import _thread, time
    start = _thread.start_new_thread
    def slow(work, arguments):
        time.sleep(2)
        return work(*arguments)
    _thread.start_new_thread = lambda work, arguments: start(slow, (work, arguments))
try:
    import mde_live_response as mde
    print("machines", len(mde.LiveResponseClient().list_machines()), flush=True)
except ImportError as error:
    print("isolated" if "subinterpreters" in str(error) else error, flush=True)
'''.replace("PATH", repr(sys.path)).replace("BUSY", str(sys.argv[1:] == ["busy"]))
if sys.argv[1:] == ["main first"]:
    exec(code)
if sys.argv[1:] == ["isolated"]:
    name = "_xxsubinterpreters" if sys.version_info < (3, 13) else "_interpreters"
    interpreters = __import__(name)
    interpreters.run_string(interpreters.create(), code)
else:
    for _ in range(3):
        assert _testcapi.run_in_subinterp(code) == 0
exec(code)
"""


@pytest.mark.parametrize("kind", ["main first", "sub first", "isolated", "busy"])
def test_the_end_of_a_sub_interpreter_leaves_the_others_working(
    kind: str, emulator: Emulator
) -> None:
    pytest.importorskip("_testcapi", reason="only CPython's own build has it")
    done = subprocess.run(
        [sys.executable, "-c", SUB_INTERPRETER, kind],
        env={**os.environ, **emulator.env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    counts = {"main first": 5, "sub first": 4, "isolated": 1, "busy": 4}
    lines = ["isolated"] * (kind == "isolated") + ["machines 3"] * counts[kind]
    assert (done.returncode, done.stdout.splitlines()) == (0, lines), done
