"""Exit handlers can read and cancel, also those that were registered before the import."""

from __future__ import annotations

import pytest
from runtime_helpers import requests_of, run_python

from mde_live_response.emulator import Emulator

# Handlers run in reverse order: all of these run after those of the library.
HANDLERS = {
    "atexit": "atexit.register(work)",
    "weakref.finalize": "owner = type('Owner', (), {})(); weakref.finalize(owner, work)",
    "a temporary directory": """
import tempfile
folder = tempfile.TemporaryDirectory()
folder._finalizer.detach()
folder._finalizer = weakref.finalize(folder, lambda: (work(), os.rmdir(folder.name)))
""",
}
EARLY = """
import asyncio, atexit, logging, os, sys, threading, time, weakref
WS = "ws-0001.example.test"
def work():
    EXIT_WORK
    print("worked", flush=True)
HANDLER
import mde_live_response as mde
def client(*given): return mde.LiveResponseClient(*given, state="memory:")
token = os.environ["TOKEN"]
async def later():
    await asyncio.sleep(0)
    return token
MAIN
sys.exit(7)
"""
WORK = {
    "a first call": "client().list_machines()",
    "another call": "assert len(kept.list_machines()) == 3",
    "an asyncio call": "asyncio.run(kept.list_machines_async())",
    "a cancel": "session.cancel('the process exits')",
    "a submit": "kept.submit('ws-0002.example.test', mde.Command.run_script('slow.ps1'), 'y')",
    "a credential": "client(lambda: token).list_machines()",
    "an awaitable credential": "awaiting.list_machines()",
    "a close": "kept.close()",
}
MAIN = """
kept, awaiting = client(), client(later)
kept.list_machines()
awaiting.list_machines()
session = kept.submit(WS, mde.Command.run_script("slow.ps1"), "why")
"""


def run_handler(handler: str, work: str, main: str, emulator: Emulator) -> tuple[int, str, str]:
    emulator.on_script("slow.ps1", duration=60.0)
    code = EARLY.replace("HANDLER", HANDLERS[handler])
    code = code.replace("EXIT_WORK", work).replace("MAIN", main)
    done = run_python(code, {**emulator.env, "TOKEN": emulator.token})
    return done.code, done.out, done.err


@pytest.mark.parametrize("work", WORK)
def test_a_handler_from_before_the_import_makes_calls(work: str, emulator: Emulator) -> None:
    main = "" if work == "a first call" else MAIN
    assert run_handler("atexit", WORK[work], main, emulator) == (7, "worked\n", "")
    if work == "a cancel":
        assert [r["status"] for r in requests_of(emulator, "cancel")] == [200]


@pytest.mark.parametrize("handler", HANDLERS)
def test_each_kind_of_handler_makes_calls(handler: str, emulator: Emulator) -> None:
    assert run_handler(handler, WORK["another call"], MAIN, emulator) == (7, "worked\n", "")


def test_records_of_a_handler_reach_logging(emulator: Emulator) -> None:
    emulator.fault("GET", "machines", "status", status=503, times=2)
    code, out, err = run_handler("atexit", "client().list_machines()", "", emulator)
    assert (code, out) == (7, "worked\n")
    assert err.count("trying again") == 2, err


def test_daemon_threads_make_calls_while_a_handler_waits_for_them(emulator: Emulator) -> None:
    main = """
def count():
    for _ in range(20): kept.list_machines()
kept = client()
thread = threading.Thread(target=count, daemon=True)
thread.start()
"""
    work = "thread.join(20); assert not thread.is_alive()"
    assert run_handler("atexit", work, main, emulator) == (7, "worked\n", "")


def test_a_call_after_all_handlers_raises_an_error_that_says_why(emulator: Emulator) -> None:
    code = """
import sys
import mde_live_response as mde
class Late:
    def __init__(self): self.client, self.error = mde.LiveResponseClient(), mde.LiveResponseError
    def __del__(self):
        try: self.client.list_machines()
        except self.error as error: print(error)
sys.modules["__main__"].late = Late()
late.client.list_machines()
"""
    done = run_python(code, emulator.env)
    assert (done.code, done.err) == (0, ""), done
    assert "the interpreter has run its exit handlers. Hint: make the call before" in done.out


@pytest.mark.parametrize("credential", ["lambda: token", "later"])
def test_a_first_credential_in_a_handler_works_or_says_why(
    credential: str, emulator: Emulator
) -> None:
    work = f"""
    try: client({credential}).list_machines()
    except mde.LiveResponseError as error: assert "interpreter is exiting" in str(error), error
"""
    assert run_handler("atexit", work.strip(), "", emulator) == (7, "worked\n", "")
