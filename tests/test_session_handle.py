"""What a program that does not wait keeps of a session: its id or dict, and when to come back."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest
from model_helpers import dict_of_attributes
from runtime_helpers import MACHINE, requests_of, run_python

from mde_live_response import Command, LiveResponseClient, Session
from mde_live_response.emulator import Emulator

SCRIPT = Command.run_script("a.ps1")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        emulator.on_script("a.ps1", stdout="done", duration=60)
        yield emulator


def submit(client: LiveResponseClient) -> Session:
    return client.submit(MACHINE, SCRIPT, "why", correlation_id="case 42")


def test_the_dict_has_the_attributes(client: LiveResponseClient) -> None:
    session = submit(client)
    session.refresh()
    found = session.to_dict()
    assert found["action"]["status"] == "Pending"
    assert found == dict_of_attributes(session)
    assert list(found) == list(dict_of_attributes(session))


def test_a_dict_of_a_session_that_was_not_read(client: LiveResponseClient) -> None:
    session = client.session(submit(client).id)
    assert session.to_dict() == {
        "id": session.id,
        "machine_id": None,
        "correlation_id": None,
        "adopted": True,
        "action": None,
    }


def test_another_process_continues_with_the_dict(
    client: LiveResponseClient, emulator: Emulator
) -> None:
    handle = json.dumps(submit(client).to_dict())
    code = f"""
import json
from mde_live_response import LiveResponseClient
with LiveResponseClient() as client:
    session = client.session(json.loads({handle!r})["id"])
    print(session.refresh().done, session.next_poll_in > 2)
"""
    assert run_python(code, emulator.env).out == "False True\n"


def test_the_next_poll(client: LiveResponseClient, emulator: Emulator) -> None:
    session = submit(client)
    other = client.session(session.id)
    assert other.next_poll_in == 0.0
    assert 2 < session.next_poll_in <= 3
    assert not other.refresh().done
    assert 2 < other.next_poll_in <= 3
    before = other.next_poll_in
    time.sleep(0.05)
    assert other.next_poll_in <= before - 0.05
    emulator.advance(600)
    assert other.refresh().done
    assert other.next_poll_in == 0.0


# eventlet warns of each fork, once another test has imported it.
@pytest.mark.filterwarnings("ignore:Using fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_child_knows_no_status(client: LiveResponseClient) -> None:
    session = submit(client)
    session.refresh()
    pid = os.fork()
    if not pid:
        os._exit(int(session.next_poll_in != 0.0 or session.to_dict()["action"] is not None))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_many_programs_share_one_request(client: LiveResponseClient, emulator: Emulator) -> None:
    names = [f"ws-{number:04}.example.test" for number in range(1, 4)]
    ids = [client.submit(name, SCRIPT, "why").id for name in names]
    before = len(emulator.requests)
    for action_id in ids:
        assert client.session(action_id).refresh(max_age=5).status == "Pending"
    assert len(emulator.requests) == before + 1
    assert not requests_of(emulator, "machineaction")
