"""The `mde_live_response` logger: requests at DEBUG, sessions at INFO, problems at WARNING."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from runtime_helpers import MACHINE, requests_of

from mde_live_response import Command
from mde_live_response.emulator import Emulator

LOG = "mde_live_response"
LINE = re.compile(
    r"^(?P<method>GET|POST) (?P<path>\S+) (?P<status>\d{3}) in \d+\.\d{3} s, "
    r"attempt (?P<attempt>\d+)"
    r"(, request (?P<request>[\w-]+))?$"
)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(speed=50.0) as emulator:
        emulator.on_script("a.ps1", stdout="hello")
        emulator.put_remote_file("*", "C:\\a.txt", b"evidence")
        yield emulator


def messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def run(emulator: Emulator, folder: Path) -> str:
    commands = [Command.run_script("a.ps1", "-Secret s3cret"), Command.get_file("C:\\a.txt")]
    with emulator.client() as client:
        result = client.run(MACHINE, commands, "why", save_to=folder, correlation_id="case-7")
    assert result.ok
    return result.action.id


def test_each_request_is_one_line(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, LOG):
        run(emulator, tmp_path)
    lines = [
        LINE.match(message) for message in messages(caplog, logging.DEBUG) if " in " in message
    ]
    assert all(lines)
    assert len(lines) == len(emulator.requests)
    logged = [line for line in lines if line]
    assert [line["status"] for line in logged] == [
        str(request["status"]) for request in emulator.requests
    ]
    assert {line["attempt"] for line in logged} == {"1"}
    served = [line["path"] for line in logged if line["path"].startswith("/api/")]
    assert served == [
        request["path"] for request in emulator.requests if request["path"].startswith("/api/")
    ]
    assert any(line["request"] for line in logged), (
        "the request id is told where the service tells one"
    )
    assert "?" not in "".join(line["path"] for line in logged)
    assert "s3cret" not in caplog.text
    assert "sig=" not in caplog.text


def test_a_sessions_lifecycle_is_logged(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, LOG):
        action = run(emulator, tmp_path)
    logged = messages(caplog, logging.INFO)
    assert [message for message in logged if action in message] == logged
    assert len(logged) == len(set(logged))
    assert all(f"session {action} on machine" in message for message in logged)
    assert sum("started, correlation id case-7" in message for message in logged) == 1
    assert logged[-1].endswith("is Succeeded")
    assert messages(caplog, logging.DEBUG) == messages(caplog, logging.WARNING) == []


def test_one_line_for_each_machine_is_enough_to_follow_a_run(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.on_script("bad.ps1", stdout="no", exit_code=3)
    emulator.add_machine("off.example.test", online=False)
    good, bad = Command.run_script("a.ps1", "-Secret s3cret"), Command.run_script("bad.ps1")
    commands = {"ws-0001": good, "ws-0002": bad, "nobody": good, "off": good}
    with caplog.at_level(logging.INFO, LOG), emulator.client() as client:
        report = client.run_many(
            commands, commands, "why", run_id="case-7", cancel_pending_after=2
        ).report(60)
    lines = [m for m in messages(caplog, logging.INFO) if m.startswith("run case-7, machine ")]
    assert len(lines) == len(report)
    for outcome in report:
        (line,) = (m for m in lines if m.startswith(f"run case-7, machine {outcome.machine}: "))
        assert f": {outcome.reason}" in line
        assert outcome.ok or outcome.message in line
        assert outcome.action_id is None or line.endswith(f", session {outcome.action_id}")
    assert "s3cret" not in caplog.text


def test_each_attempt_is_logged_with_its_reason(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.fault("GET", "machines", "status", status=503, times=2)
    with caplog.at_level(logging.DEBUG, LOG), emulator.client() as client:
        client.get_machine(MACHINE)
    lines = [line for message in messages(caplog, logging.DEBUG) if (line := LINE.match(message))]
    machines = [(line["status"], line["attempt"]) for line in lines if "/machines" in line["path"]]
    assert machines[:3] == [("503", "1"), ("503", "2"), ("200", "3")]
    warnings = messages(caplog, logging.WARNING)
    assert len(warnings) == 2
    # A delay that rounds to zero is not named.
    again = re.compile(r"could not list machines: .* 503 .*; trying again( in [0-9.]+ s)?")
    assert all(again.fullmatch(message) for message in warnings)


def test_a_lost_connection_is_logged(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    emulator.fault("GET", "machines", "drop_before")
    with caplog.at_level(logging.DEBUG, LOG), emulator.client() as client:
        client.get_machine(MACHINE)
    assert any(
        message.startswith("GET /api/machines no answer in") and "attempt 1" in message
        for message in messages(caplog, logging.DEBUG)
    )


def test_a_changed_level_takes_effect(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(LOG)
    before = logger.level
    try:
        with emulator.client() as client:
            for level, wanted in (
                (logging.WARNING, False),
                (logging.DEBUG, True),
                (logging.INFO, False),
            ):
                logger.setLevel(level)
                caplog.clear()
                client.get_machine(MACHINE)
                client.list_machine_actions()
                assert bool(messages(caplog, logging.DEBUG)) is wanted
    finally:
        logger.setLevel(before)


def test_records_of_other_crates_are_not_logged(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(1), caplog.at_level(1, LOG):
        run(emulator, tmp_path)
    assert {record.name.split(".")[0] for record in caplog.records} == {LOG}
    assert len(requests_of(emulator, "blob")) == 2
