"""The progress display of a run: tqdm, a plain line, a notebook. It never outlives the run."""

from __future__ import annotations

import io
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from runtime_helpers import wait_until

from mde_live_response import Command, LiveResponseClient
from mde_live_response.emulator import Emulator

ECHO = Command.run_script("echo.ps1")
NAMES = [f"ws-{number:04}" for number in range(1, 6)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def client() -> Iterator[LiveResponseClient]:
    with Emulator(machines=5, speed=200) as emulator, emulator.client() as client:
        emulator.on_script("echo.ps1", stdout="done", exit_code=0, duration=100)
        yield client


def progress_threads() -> list[str]:
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.name == "mde-live-response-progress"
    ]


def test_tqdm_shows_progress(
    client: LiveResponseClient, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = client.run_many([*NAMES, "nobody"], ECHO, "c", run_id="a run", progress=True)
    assert not fleet.done
    assert len(list(fleet)) == 6
    assert fleet.done
    shown = capsys.readouterr().err
    assert "run a run: 100%" in shown
    assert "6/6" in shown
    assert "failed=1" in shown
    wait_until(lambda: not progress_threads(), "the end of the thread")
    client.resume("a run", progress=True).report()
    assert "6/6" in capsys.readouterr().err


def test_without_tqdm_a_terminal_shows_a_line(
    client: LiveResponseClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.autonotebook", None)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    client.run_many(NAMES, ECHO, "c", run_id="r\x1b[31m", progress=True).report()
    shown = terminal.getvalue()
    assert "5 of 5 machines, 0 pending, 0 running, 0 failed, run r[31m" in shown
    assert shown.endswith("\n")
    assert "\x1b[31m" not in shown


def test_without_a_terminal_nothing_is_written(
    client: LiveResponseClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.autonotebook", None)
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    client.run_many(NAMES, ECHO, "c", progress=True).report()
    assert written.getvalue() == ""
    assert not progress_threads()


def test_progress_ends_with_a_detached_or_dropped_run(client: LiveResponseClient) -> None:
    fleet = client.run_many(NAMES, ECHO, "c", progress=True)
    assert progress_threads()
    fleet.close()
    wait_until(lambda: not progress_threads(), "the end of the thread")
    fleet = client.run_many(NAMES[:1], Command.run_script("echo.ps1", "2"), "c", progress=True)
    assert progress_threads()
    del fleet
    wait_until(lambda: not progress_threads(), "the end of the thread")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_report_rows_fit_a_data_frame(client: LiveResponseClient, library: str) -> None:
    report = client.run_many([*NAMES, "nobody"], ECHO, "c").report()
    table: Any = import_module(library).DataFrame(report.to_dicts())
    assert table.shape == (6, 18)
    assert list(table["machine"]) == [*NAMES, "nobody"]
    assert list(table["ok"]) == [True] * 5 + [False]


class Broken(io.StringIO):
    """A terminal that has gone away."""

    def isatty(self) -> bool:
        return True

    def write(self, _: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def broken_tqdm(**_: object) -> None:
    raise ValueError("no file to write to")


@pytest.mark.parametrize(
    ("display", "with_tqdm"),
    [
        *itertools.product(["no stderr", "a broken pipe", "a closed file"], [True, False]),
        ("tqdm fails", True),
    ],
)
def test_a_failed_display_is_dropped_and_the_run_continues(
    display: str,
    with_tqdm: bool,
    client: LiveResponseClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed = Terminal()
    closed.close()
    streams = {"no stderr": None, "a broken pipe": Broken(), "a closed file": closed}
    if not with_tqdm:
        monkeypatch.setitem(sys.modules, "tqdm", None)
        monkeypatch.setitem(sys.modules, "tqdm.autonotebook", None)
    if display == "tqdm fails":
        monkeypatch.setattr("tqdm.autonotebook.tqdm", broken_tqdm)
    else:
        monkeypatch.setattr(sys, "stderr", streams[display])
    for run_id in ("first", "second"):
        fleet = client.run_many(NAMES, ECHO, "c", run_id=f"{display} {run_id}", progress=True)
        assert fleet.run_id == f"{display} {run_id}"
        assert fleet.report(timeout=30).ok
    dropped = [r for r in caplog.messages if "is no longer shown" in r]
    assert len(dropped) <= 2, dropped
    wait_until(lambda: not progress_threads(), "the end of the thread")


def test_a_display_that_blocks_delays_a_report_by_a_second(
    client: LiveResponseClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    class Stuck(Terminal):
        def flush(self) -> None:
            released.wait()

    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.autonotebook", None)
    monkeypatch.setattr(sys, "stderr", Stuck())
    try:
        started_at = time.monotonic()
        assert client.run_many(NAMES, ECHO, "c", progress=True).report(timeout=30).ok
        assert time.monotonic() - started_at < 10
    finally:
        released.set()
