"""Helpers for tests of shared state stores: a Redis server, and clients in separate processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from runtime_helpers import free_port

from mde_live_response import StateError
from mde_live_response._native import show_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mde_live_response.emulator import Emulator


class Case(Protocol):
    """One case of a test with many."""

    title: str

    # Runs the case, and returns its figures.
    def run(self) -> Counter[str]: ...


WORKER = Path(__file__).with_name("state_worker.py")


def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis server on loopback, and yield its address."""
    server, port = start_redis(["--dir", str(folder)])
    with server:
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.kill()


@contextmanager
def shared_stores(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the address of a store of each kind that is available here."""
    stores = {"sqlite": f"sqlite:///{folder / 'state.db'}"}
    if find_redis() is None:
        yield stores
        return
    with contextmanager(redis_server)(folder) as address:
        yield {**stores, "redis": address}


def find_redis() -> str | None:
    """Return the path of redis-server. Fails in CI if there is none."""
    program = shutil.which("redis-server")
    assert program is not None or os.environ.get("CI") != "true", "redis-server is needed in CI"
    return program


def start_redis(
    options: Sequence[str], port: int | None = None
) -> tuple[subprocess.Popen[bytes], int]:
    """Start a Redis server on loopback, and return it with its port once it listens."""
    program = find_redis()
    if program is None:
        pytest.skip("there is no redis-server here")
    if port is None:
        port = free_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", *options]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not _is_listening(port):
        assert time.monotonic() < deadline, "redis-server does not answer"
        assert server.poll() is None, "redis-server ended"
        time.sleep(0.01)
    return server, port


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def start_worker(emulator: Emulator, job: Mapping[str, Any], **env: str) -> subprocess.Popen[str]:
    """Start tests/state_worker.py with `job`, as a client of this emulator."""
    return subprocess.Popen(
        [sys.executable, str(WORKER), json.dumps(job)],
        env={**os.environ, **emulator.env, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_ready(process: subprocess.Popen[str]) -> None:
    """Wait until a worker with `"wait": true` has opened the store."""
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise AssertionError(process.communicate())


def start_waiting(process: subprocess.Popen[str]) -> None:
    """Let a worker with `"wait": true` start its job."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "go\n"


class Calls:
    """The calls that an emulator receives from now on."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator, self._count = emulator, len(emulator.requests)

    def statuses(self, route: str) -> list[Any]:
        """Return the status of each call of the route. It is None before the answer."""
        calls = self._emulator.requests[self._count :]
        return [call["status"] for call in calls if call["route"] == route]

    def is_hanging(self, route: str, nth: int) -> bool:
        """Return whether the last call of the route is the nth one, and waits for its answer."""
        return self.statuses(route)[nth - 1 :] == [None]


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, with so long pauses that many tests at once can wait."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true"
        time.sleep(0.02)


def read_output(process: subprocess.Popen[str], seconds: float) -> Any:
    """Return the last line a worker printed. Fails if its exit code is not 0."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, f"exit code {process.returncode}\n{out}\n{err}"
    return json.loads(out.splitlines()[-1])


def describe(error: dict[str, Any], folder: Path) -> str:
    """Return the kind and the message of an error, without what differs from case to case."""
    text = error["message"].replace(str(folder), "").partition(" Hint:")[0]
    return re.sub(r"\w{40}|job-\d+|127\.0\.0\.1:\d+", "...", f"{error['kind']}: {text}")


def quotas(state: str, emulator: Emulator) -> list[Any]:
    """Return the store's entries of this emulator: by its application, since ports are reused."""
    deadline = time.monotonic() + 60
    while True:
        try:
            shown = show_state(state)
            return [quota for quota in shown if quota["application"] == emulator.client_id]
        except StateError as error:
            # Redis answers late while many processes start.
            if "timed out" not in str(error) or time.monotonic() > deadline:
                raise


def stage(state: str, emulator: Emulator, correlation_id: str) -> str | None:
    """Return the stage of the intent in the store."""
    for quota in quotas(state, emulator):
        for entry in quota["intents"]:
            if entry["key"]["correlation_id"] == correlation_id:
                intent = entry["intent"]
                started = "posted" if intent["posted"] else "intended"
                return "started" if intent["action_id"] else started
    return None


def story(emulator: Emulator) -> str:
    """Return the calls that an emulator received, for the message of a failed test."""
    return "".join(
        f"\n  {call['time']} {call['route']} {call['status']}" for call in emulator.requests
    )


def judge(emulator: Emulator, state: str, actions: set[str], step: str) -> Counter[str]:
    """Check that the service has these actions only, no rule was broken, and no slot is taken."""
    with emulator.client() as client:
        listed = {action.id for action in client.list_machine_actions()}
    posts = sum(call["route"] == "runliveresponse" for call in emulator.requests)
    figures = Counter(POSTs=posts, actions=len(listed), twice=len(listed - actions))
    figures.update(emulator.violations)
    assert listed == actions, f"{step}: {story(emulator)}"
    violations = {rule: count for rule, count in emulator.violations.items() if count}
    assert not violations, f"{step}: {violations}, {story(emulator)}"
    (quota,) = quotas(state, emulator)
    assert quota["slots"] == [], step
    known = {entry["intent"]["action_id"] for entry in quota["intents"]}
    assert known == actions, step
    return figures


def run_cases(cases: Mapping[str, Sequence[Case]], at_once: int) -> None:
    """Run the cases of all stores in parallel, print their figures, and raise the first error."""
    with ThreadPoolExecutor(at_once) as pool:
        # Of each store in turn, so that few cases of several stores wait at the same time.
        in_turn = [case for turn in zip(*cases.values(), strict=True) for case in turn]
        running = {case: pool.submit(case.run) for case in in_turn}
    errors = []
    for store, own in cases.items():
        failed = [case for case in own if running[case].exception()]
        figures: Counter[str] = Counter()
        for case in own:
            if case not in failed:
                figures.update(running[case].result())
        print(f"\n{store}: {len(failed)} of {len(own)} cases failed")
        for what, count in sorted(figures.items()):
            print(f"  {count:6} {what}")
        for case in failed:
            error = running[case].exception()
            assert error is not None
            print(f"  failed: {case.title}: {error}")
            errors.append(error)
    for error in errors:
        raise error
