"""`to_dict` returns what the attributes return, whatever the service sent."""

from __future__ import annotations

import json
import random
from importlib import import_module
from typing import Any

import pytest
from model_helpers import dict_of_attributes

from mde_live_response import MachineAction

TEXTS = [None, "", "a", "grün \u2028\U0001f600", 'a"\\\n\0', "x" * 300]
TIMES = [None, "2026-03-10T14:36:51.8759119Z", "2024-02-29T23:59:59Z", "9999-12-31T23:59:59.9Z"]
TIMES += ["0001-01-01T00:00:00Z", "0000-03-01T00:00:00.5Z", "2026-03-10T14:36:51+09:30"]
STATUSES = ["Created", "Completed", "Failed", "", "New"]
NUMBERS = [None, 0, -1, 2**63 - 1, -(2**63)]


def random_command(chosen: random.Random, index: int) -> dict[str, Any]:
    params = [
        {"key": f"k{at}", "value": chosen.choice(TEXTS) or ""} for at in range(chosen.randrange(3))
    ]
    return {
        "index": index,
        "startTime": chosen.choice(TIMES),
        "endTime": chosen.choice(TIMES),
        "commandStatus": chosen.choice(STATUSES),
        "errors": [text for text in chosen.choices(TEXTS, k=2) if text is not None],
        "command": {"type": chosen.choice(["GetFile", "New"]), "params": params},
    }


def random_action(chosen: random.Random) -> MachineAction:
    times = ["creationDateTimeUtc", "lastUpdateDateTimeUtc", "cancellationDateTimeUtc"]
    texts = ["type", "status", "machineId", "computerDnsName", "requestor", "requestorComment"]
    texts += ["cancellationRequestor", "cancellationComment", "externalId", "requestSource"]
    record: dict[str, Any] = {
        "id": "a-1",
        "errorHResult": chosen.choice(NUMBERS),
        "commands": [random_command(chosen, index) for index in range(chosen.randrange(4))],
        **{name: chosen.choice(TIMES) for name in times},
        **{name: chosen.choice(TEXTS) for name in texts},
    }
    native: Any = import_module("mde_live_response._native")
    restored: MachineAction = native._restore("MachineAction", json.dumps(record).encode())
    return restored


@pytest.mark.parametrize("seed", range(50))
def test_a_random_action(seed: int) -> None:
    action = random_action(random.Random(seed))
    found = action.to_dict()
    assert found == dict_of_attributes(action)
    assert list(found) == list(dict_of_attributes(action))
    assert json.loads(json.dumps(found)) == found
    for command in action.commands:
        assert command.to_dict() == dict_of_attributes(command)


def test_a_dict_is_the_callers_own() -> None:
    action = random_action(random.Random(1))
    found = action.to_dict()
    found["id"], found["new"] = "changed", []
    found["commands"].clear()
    assert action.to_dict() == dict_of_attributes(action)
