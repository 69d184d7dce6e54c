"""The client: many threads, close with calls in flight, its arguments, and many clients."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from runtime_helpers import (
    MACHINE,
    is_pending,
    pick_count,
    requests_of,
    run_python,
    wait_until,
)

from mde_live_response import Command, InvalidRequestError, Limits, LiveResponseClient
from mde_live_response.emulator import Emulator


def test_fifty_threads_share_it(emulator: Emulator) -> None:
    from mde_live_response import Limits, Rate

    with Emulator(limits=Limits(read=[Rate(100_000, 60.0)])) as emulator:
        client = emulator.client()
        with ThreadPoolExecutor(50) as pool:
            found = list(
                pool.map(lambda _: len(client.list_machines()), range(pick_count(500, 20_000)))
            )
        assert set(found) == {3}
        assert len(requests_of(emulator, "token")) == 1
        assert emulator.violations["rate"] == 0


def test_a_call_lets_other_threads_run(emulator: Emulator, client: LiveResponseClient) -> None:
    emulator.fault("GET", "machines", "delay", seconds=0.5)
    counted, over = [0], threading.Event()

    def count() -> None:
        while not over.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    wait_until(lambda: counted[0], "the first count")
    before = counted[0]
    client.list_machines()
    during = counted[0] - before
    over.set()
    thread.join()
    assert during > 10_000


def test_calls_in_flight_outlive_a_close(emulator: Emulator) -> None:
    client = emulator.client()
    emulator.fault("GET", "machines", "delay", seconds=0.5)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(client.list_machines())))
    thread.start()
    wait_until(lambda: is_pending(emulator, "machines"), "the call")
    client.close()
    client.close()
    with pytest.raises(InvalidRequestError, match="closed"):
        client.list_machines()
    thread.join()
    assert found == [3]


def test_calls_in_flight_outlive_the_client(emulator: Emulator) -> None:
    emulator.fault("GET", "machines", "delay", seconds=0.5)
    clients = [emulator.client()]
    mark = weakref.ref(clients[0])
    found: list[int] = []

    def call(method: Any) -> None:
        found.append(len(method()))

    thread = threading.Thread(target=call, args=(clients[0].list_machines,))
    thread.start()
    wait_until(lambda: is_pending(emulator, "machines"), "the call")
    clients.clear()
    thread.join()
    assert found == [3]
    del thread
    wait_until(lambda: gc.collect() is not None and mark() is None, "the client's destruction")


def test_sessions_outlive_the_client(emulator: Emulator) -> None:
    emulator.on_script("a.ps1", duration=0.5)
    with emulator.client() as client:
        session = client.submit(MACHINE, Command.run_script("a.ps1"), "why")
        library = client.library
    del client
    gc.collect()
    assert session.result().ok
    assert [file.file_name for file in library.list_files()] == ["a.ps1"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it counts files in /proc")
def test_clients_that_are_dropped_leave_nothing_behind(emulator: Emulator) -> None:
    def threads_and_files() -> tuple[int, int]:
        return len(list(Path("/proc/self/task").iterdir())), len(
            list(Path("/proc/self/fd").iterdir())
        )

    async def later() -> str:
        return emulator.token

    def use(number: int) -> None:
        credential: Any = (emulator.token, lambda: emulator.token, later)[number % 3]
        client = emulator.client(credential=credential)
        if number % 10 == 0:
            client.list_machines(top=1)

    for number in range(30):
        use(number)
    gc.collect()
    before = threads_and_files()
    for number in range(pick_count(150, 5000)):
        use(number)
    gc.collect()
    wait_until(
        lambda: threads_and_files() <= (before[0] + 2, before[1] + 2),
        f"at most {before} threads and files",
    )


def test_a_handler_that_calls_the_client(
    emulator: Emulator, client: LiveResponseClient, caplog: pytest.LogCaptureFixture
) -> None:
    """It may also hold the lock that the handler of the same call's records needs."""
    caplog.set_level(logging.DEBUG, "mde_live_response")
    inside: list[int] = []

    class Calls(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not inside:
                inside.append(len(client.list_machines()))

    handler = Calls()
    logging.getLogger("test_client").addHandler(handler)
    logging.getLogger("mde_live_response").addHandler(handler)
    try:
        logging.getLogger("test_client").warning("begin")
    finally:
        logging.getLogger("test_client").removeHandler(handler)
        logging.getLogger("mde_live_response").removeHandler(handler)
    assert inside == [3]


def test_a_lock_that_caller_and_handler_share(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    lock, heard = threading.Lock(), threading.Event()

    class Locks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with lock:
                heard.set()

    logger = logging.getLogger("mde_live_response")
    handler = Locks()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with lock:
            for _ in range(5):
                assert len(client.list_machines()) == 3
            assert not heard.is_set()
        wait_until(heard.is_set, "the record")
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)


def test_a_handlers_exception_is_reported_only(
    emulator: Emulator, client: LiveResponseClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda info: raised.append(info.exc_type))

    class Raises(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise SystemExit(3)

    logger = logging.getLogger("mde_live_response")
    handler = Raises()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        assert len(client.list_machines()) == 3
        wait_until(lambda: raised, "the report")
        assert len(client.list_machines()) == 3
    finally:
        logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)
    assert set(raised) == {SystemExit}


def test_records_are_delivered_before_the_call_returns(
    emulator: Emulator, client: LiveResponseClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.list_machines()
    assert not caplog.records
    caplog.set_level(logging.DEBUG, "mde_live_response")
    for count in range(1, 10):
        client.list_machine_actions()
        lines = [
            record for record in caplog.records if "/machineactions 200" in record.getMessage()
        ]
        assert len(lines) == count
    assert {(record.name, record.levelname) for record in caplog.records} == {
        ("mde_live_response", "DEBUG")
    }
    assert all(record.pathname.endswith(".rs") and record.lineno for record in caplog.records)


def test_logs_of_other_crates_are_dropped(
    emulator: Emulator, client: LiveResponseClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1)
    client.list_machines()
    assert {record.name for record in caplog.records if record.pathname.endswith(".rs")} == {
        "mde_live_response"
    }


@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="there the mark of an asynchronous method is asyncio's own, and asyncio imports logging",
)
def test_logging_is_not_imported_for_it(emulator: Emulator) -> None:
    code = (
        "import sys, mde_live_response as mde; "
        "mde.LiveResponseClient().list_machines(); print('logging' in sys.modules)"
    )
    done = run_python(code, emulator.env)
    assert (done.out, done.err) == ("False\n", ""), done


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it counts files in /proc")
def test_a_connection_is_closed_with_its_client(emulator: Emulator) -> None:
    # A process of its own: clients with equal network settings share their connections.
    code = """
import contextlib, os, time
import mde_live_response as mde
def sockets():
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count
def use():
    with mde.LiveResponseClient() as client:
        client.list_machines()
        return sockets()
def wait_for_less(than):
    deadline = time.monotonic() + 20
    while sockets() >= than:
        assert time.monotonic() < deadline, (sockets(), than)
        time.sleep(0.01)
    return sockets()
closed = wait_for_less(use())  # the runtime has sockets too
assert use() > closed
wait_for_less(closed + 1)
print("closed")
"""
    done = run_python(code, emulator.env)
    assert done.out == "closed\n", done


def test_save_to_a_file_raises_before_anything_runs(emulator: Emulator, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_bytes(b"")
    with emulator.client() as client, pytest.raises(NotADirectoryError):
        client.run("ws-0001.example.test", Command.get_file(r"C:\a"), "case 42", save_to=taken)
    assert emulator.counters.get("runliveresponse", 0) == 0


def test_conflicting_limits_are_warned_about(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="mde_live_response")
    with emulator.client() as first, emulator.client(limits=Limits(sessions=1)) as second:
        first.list_machines()
        second.list_machines()
    assert "these limits are ignored" in caplog.text


def test_close_lets_calls_in_flight_sessions_and_runs_end(emulator: Emulator) -> None:
    emulator.on_script("slow.ps1", duration=20)
    emulator.fault("GET", "machines", "delay", seconds=1.0)
    client = emulator.client()
    command = Command.run_script("slow.ps1")
    session = client.submit("ws-0001.example.test", command, "c")
    fleet = client.run_many(["ws-0002.example.test"], command, "c")
    with ThreadPoolExecutor(1) as pool:
        in_flight = pool.submit(client.list_machines)
        wait_until(lambda: emulator.counters.get("machines"), "the call")
        client.close()
        with pytest.raises(InvalidRequestError, match="closed"):
            client.list_machines()
        assert len(in_flight.result(timeout=20)) == 3
    assert session.wait(timeout=60).status == "Succeeded"
    assert fleet.report(timeout=60).ok
    client.close()
