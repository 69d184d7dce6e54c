"""The sweep over machines of which a third is off for two days, with this package and by hand."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runtime_helpers import wait_until
from test_examples import BY_HAND, EXAMPLES, load

from mde_live_response import Command
from mde_live_response.emulator import Emulator

SPEED = 5_000.0
DAY = 86_400.0
NAMES = [f"case-{number}.example.test" for number in range(9)]
OFF = NAMES[::3]


@pytest.fixture
def ran() -> Counter[str]:
    """Counts how often the script ran, by machine id."""
    return Counter()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(machines=0) as emulator:
        add_machines(emulator)
        yield emulator


def add_machines(emulator: Emulator) -> None:
    for name in NAMES:
        emulator.add_machine(name, online=name not in OFF, machineTags=["case-42"])


def set_script(emulator: Emulator, name: str, ran: Counter[str]) -> None:
    def look(machine_id: str, args: str | None) -> str:
        ran[machine_id] += 1
        return json.dumps({"path": "C:\\\\a", "found": False})

    emulator.on_script(name, stdout=look)


def switch_on(emulator: Emulator) -> None:
    for name in OFF:
        emulator.set_online(name, True)


@pytest.fixture
def by_hand(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return the script by hand. When it sleeps, the emulator's clock moves forward."""
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    slept = [0.0]

    def advance(seconds: float) -> None:
        emulator.advance(seconds)
        before = slept[0]
        slept[0] += seconds
        if before < 2 * DAY <= slept[0]:
            switch_on(emulator)

    monkeypatch.setattr(time, "sleep", advance)
    return load(BY_HAND / "sweep.py")


def test_the_sweep_by_hand(emulator: Emulator, by_hand: Any, ran: Counter[str]) -> None:
    set_script(emulator, "sweep.ps1", ran)
    assert sorted(by_hand.main(days=3)) == NAMES
    assert set(ran.values()) == {1}


def test_what_the_sweep_by_hand_gets_wrong(
    emulator: Emulator, by_hand: Any, ran: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    set_script(emulator, "sweep.ps1", ran)
    switch_on(emulator)
    # The service fails once, while a status is read.
    emulator.fault("GET", "machineaction", "status", status=503)
    by_hand.main(days=1)
    assert "503" in capsys.readouterr().out
    assert sorted(ran.values()) == [1] * 8 + [2], "it ran twice on one machine"


def test_the_sweep(ran: Counter[str]) -> None:
    example = load(EXAMPLES / "sweep.py")
    until = 3 * DAY / SPEED
    name = Command.run_local(example.SCRIPT).params["ScriptName"]
    with Emulator(machines=0, speed=SPEED) as emulator, emulator.client() as client:
        add_machines(emulator)
        set_script(emulator, name, ran)
        client.library.delete(name)
        timer = threading.Timer(2 * DAY / SPEED, switch_on, [emulator])
        timer.start()
        with example.start(client, until) as fleet:
            wait_until(lambda: fleet.counts["succeeded"] >= len(NAMES) - len(OFF), "a first part")
        report = example.find_again(client, until).report(120)
        timer.join()
        assert not any(emulator.violations.values())
    assert [outcome.machine for outcome in report] == NAMES
    assert report.ok
    assert sorted(record["machine"] for record in report.records()) == NAMES
    assert set(ran.values()) == {1}
