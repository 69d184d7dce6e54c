"""Which machines: conditions of `list_machines`, and Machines as keys and names of a run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from runtime_helpers import requests_of

from mde_live_response import Command, InvalidRequestError, LiveResponseClient, Machine
from mde_live_response.emulator import Emulator

SCRIPT = Command.run_script("a.ps1")


@pytest.fixture
def client(emulator: Emulator) -> Iterator[LiveResponseClient]:
    emulator.on_script("a.ps1", stdout="done")
    emulator.add_machine("srv-1.example.test", machineTags=["it's", "red"], rbacGroupName="Servers")
    emulator.add_machine(
        "srv-2.example.test",
        machineTags=["red"],
        rbacGroupName="Servers",
        osPlatform="Linux",
        lastIpAddress="192.0.2.7",
        healthStatus="Inactive",
        lastSeen="2020-01-01T00:00:00Z",
    )
    with emulator.client() as client:
        yield client


def names(machines: tuple[Machine, ...]) -> list[str]:
    return [str(machine.computer_dns_name).partition(".")[0] for machine in machines]


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ({"tag": "red"}, ["srv-1", "srv-2"]),
        ({"tag": "it's"}, ["srv-1"]),
        ({"tag": "re"}, []),
        ({"group": "servers"}, ["srv-1", "srv-2"]),
        ({"group": "servers", "top": 1}, ["srv-1"]),
        ({"os": "Linux"}, ["srv-2"]),
        ({"ip": "192.0.2.7", "tag": "red"}, ["srv-2"]),
        ({"health": "Inactive"}, ["srv-2"]),
        ({"tag": "red", "seen_within": timedelta(days=30)}, ["srv-1"]),
        ({"tag": "red", "filter": "osPlatform eq 'Linux' or osPlatform eq 'macOS'"}, ["srv-2"]),
        ({"group": "none"}, []),
    ],
    ids=str,
)
def test_conditions_combine(
    client: LiveResponseClient, conditions: dict[str, Any], found: list[str]
) -> None:
    assert sorted(names(client.list_machines(**conditions))) == found


def test_an_empty_condition_costs_no_request(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    with pytest.raises(InvalidRequestError, match="tag is empty"):
        client.list_machines(tag="")
    assert not emulator.requests


def test_an_empty_selection_is_refused(emulator: Emulator, client: LiveResponseClient) -> None:
    with pytest.raises(InvalidRequestError, match="there are no machines"):
        client.run_many(client.list_machines(tag="blue"), SCRIPT, "why")
    assert not requests_of(emulator, "runliveresponse")


def test_outcomes_of_machines_have_their_names(client: LiveResponseClient) -> None:
    machines = client.list_machines(tag="red")
    report = client.run_many(machines, SCRIPT, "why").report(60)
    assert [outcome.machine for outcome in report] == [it.computer_dns_name for it in machines]
    assert [outcome.machine_id for outcome in report] == [it.id for it in machines]
    assert [row["machine"] for row in report.to_dicts()] == [
        it.computer_dns_name for it in machines
    ]


def test_machines_are_keys_of_commands(client: LiveResponseClient) -> None:
    one, two = client.list_machines(tag="red")
    commands = {one: SCRIPT, two: Command.run_script("a.ps1", "-x")}
    report = client.run_many([two, one], commands, "why").report(60)
    assert report.ok
    results = [outcome.load_result() for outcome in report]
    assert [result.commands[0].command.params.get("Args") for result in results if result] == [
        "-x",
        None,
    ]
    # Ids as text are the same machines.
    again = client.run_many([one.id], {one: SCRIPT}, "why").report(60)
    assert again.ok


def test_a_run_that_is_given_again_may_name_its_machines_either_way(
    client: LiveResponseClient,
) -> None:
    machines = client.list_machines(tag="red")
    first = client.run_many(machines, SCRIPT, "why", run_id="case 42").report(60)
    ids = [machine.id for machine in machines]
    again = client.run_many(ids, SCRIPT, "why", run_id="case 42").report(60)
    assert [it.action_id for it in again] == [it.action_id for it in first]
