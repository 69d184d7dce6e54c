"""Unusual processes: the system refuses threads, greenlets, a fork while a handler writes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtime_helpers import ProcessResult, pick_count, run_python

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
