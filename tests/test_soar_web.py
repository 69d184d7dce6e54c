"""The FastAPI example, behind a real server that is killed between two requests."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from runtime_helpers import free_port, wait_until
from soar_helpers import MACHINE, assert_ran_once, environment, script_output

from mde_live_response.emulator import Emulator

SCRIPT = {"machine": MACHINE, "name": "triage.ps1", "comment": "case 42", "args": ["-Depth", "2"]}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(machines=1) as emulator:
        emulator.on_script("triage.ps1", stdout="found it", duration=40)
        yield emulator


class Answer:
    """The status, the headers and the JSON of a response."""

    def __init__(self, response: Any) -> None:
        self.status, self.headers = response.status, response.headers
        self.content: Any = json.load(response)


class Server:
    """The example's process."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def request(self, path: str, content: Any = None, **headers: str) -> Answer:
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json", **headers}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as response:
                return Answer(response)
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error)

    def start(self, key: str = "case-42", **changes: Any) -> Answer:
        return self.request("/scripts", {**SCRIPT, **changes}, **{"Idempotency-Key": key})

    def answers(self) -> bool:
        try:
            return bool(self.request("/openapi.json").status == 200)
        except OSError:
            return False


@contextmanager
def serve(emulator: Emulator) -> Iterator[Server]:
    """Run the server, and kill it at the end."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "fastapi_step:app", "--port", str(port)]
    process = subprocess.Popen(
        command, env=environment(emulator), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    server = Server(port)
    try:
        wait_until(lambda: process.poll() is not None or server.answers(), "the server", 60)
        assert process.poll() is None, "the server ended"
        yield server
    finally:
        process.kill()
        process.wait()


def test_the_result_comes_from_a_later_request(emulator: Emulator) -> None:
    with serve(emulator) as server:
        started = server.start()
        assert started.status == 202
        assert started.headers["Location"] == f"/scripts/{started.content['id']}"
        assert int(started.headers["Retry-After"]) == 3
        waiting = server.request(started.headers["Location"])
        assert (waiting.status, waiting.content["id"]) == (202, started.content["id"])
    with serve(emulator) as server:
        emulator.advance(600)
        answer = server.request(started.headers["Location"])
        assert answer.status == 200
        assert script_output(answer.content) == "found it"
    (action,) = emulator.client().list_machine_actions()
    assert action.commands[0].command.params["Args"] == "-Depth 2"
    assert_ran_once(emulator)


def test_a_repeated_request_finds_the_session(emulator: Emulator) -> None:
    with serve(emulator) as server:
        lost = server.start()
    with serve(emulator) as server:
        assert server.start().content["id"] == lost.content["id"]
    assert_ran_once(emulator)


def test_a_bad_request_is_explained(emulator: Emulator) -> None:
    with serve(emulator) as server:
        unknown = server.start(machine="nowhere")
        assert unknown.status == 422
        assert "nowhere" in unknown.content["message"]
        assert server.request("/scripts", SCRIPT).status == 422, "no key"
        assert server.request("/scripts/not-an-id").status == 422
        emulator.add_foreign_session(MACHINE, 600)
        busy = server.start()
        assert (busy.status, busy.content["retryable"]) == (503, True)


def test_callers_that_ask_often_use_one_read(emulator: Emulator) -> None:
    with serve(emulator) as server:
        location = server.start().headers["Location"]
        before = len(emulator.requests)
        for _ in range(20):
            assert server.request(location).status == 202
        assert len(emulator.requests) <= before + 2
