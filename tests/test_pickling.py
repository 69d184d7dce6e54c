"""Models and errors survive pickling and copying. Objects that hold a client refuse both."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from model_helpers import dict_of_attributes
from runtime_helpers import MACHINE

import mde_live_response as mde
from mde_live_response import Command
from mde_live_response.emulator import Emulator


def pickled(protocol: int) -> Callable[[Any], Any]:
    return lambda value: pickle.loads(pickle.dumps(value, protocol))


WAYS: dict[str, Callable[[Any], Any]] = {
    **{f"pickle {protocol}": pickled(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
each_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(speed=50.0, machines=8) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def models(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    emulator.on_script("a.ps1", stdout="grün \u2028", stderr="oh", exit_code=3)
    emulator.put_remote_file("*", r"C:\evidence.txt", b"evidence")
    client = emulator.client()
    folder: Path = tmp_path_factory.mktemp("collected")
    commands = [Command.run_script("a.ps1", "-x 1"), Command.get_file(r"C:\evidence.txt")]
    result = client.run(MACHINE, commands, "why", save_to=folder)
    check = client.check("nobody.example.test", commands)
    report = client.run_many(
        ["ws-0002.example.test", "nobody.example.test"], commands[0], "why"
    ).report(60.0)
    return {
        "Command": commands[0],
        "Rate": mde.Rate(3, 7.5),
        "Limits": mde.Limits(sessions=7, submit=[mde.Rate(3, 7.5)]),
        "SessionResult": result,
        "MachineAction": result.action,
        "CommandResult": result.commands[1],
        "ScriptOutput": result.scripts[0],
        "CollectedFile": result.files[0],
        "Machine": client.list_machines()[0],
        "LibraryFile": client.library.ensure(b"x", name="b.ps1"),
        "LibraryPlan": client.library.prune(older_than=0),
        "Run": client.list_runs()[0],
        "Check": check,
        "Finding": check.findings[0],
        "Profile": client.probe(),
        "FleetReport": report,
        "Outcome": report.outcomes[0],
    }


MODELS = [
    "Command",
    "Rate",
    "Limits",
    "SessionResult",
    "MachineAction",
    "CommandResult",
    "ScriptOutput",
    "CollectedFile",
    "Machine",
    "LibraryFile",
    "LibraryPlan",
    "Run",
    "Check",
    "Finding",
    "Profile",
    "FleetReport",
    "Outcome",
]


def attributes(model: Any) -> dict[str, Any]:
    names = [name for name in dir(type(model)) if not name.startswith("_")]
    return {name: value for name in names if not callable(value := getattr(model, name))}


@each_way
@pytest.mark.parametrize("name", MODELS)
def test_a_model(name: str, way: str, models: dict[str, Any]) -> None:
    model = models[name]
    assert type(model).__name__ == name
    again = WAYS[way](model)
    assert type(again) is type(model)
    assert attributes(again) == attributes(model)
    assert repr(again) == repr(model)
    if hasattr(model, "to_dict"):
        assert again.to_dict() == model.to_dict() == dict_of_attributes(model)
        json.dumps(again.to_dict())
    assert again == model


def test_all_models_are_here() -> None:
    holds_a_client = {"LiveResponseClient", "Session", "Library", "Fleet", "FileStream"}
    classes = {
        name
        for name in mde.__all__
        if isinstance(found := getattr(mde, name), type)
        and found.__module__.startswith("mde_live_response")
        and not issubclass(found, BaseException)
        and not getattr(found, "_is_protocol", False)
    }
    credentials = {
        name for name in classes if name.endswith("Credential")
    }  # tests/test_credential_secrets.py
    assert classes - holds_a_client - credentials == set(MODELS)


def raised(call: Callable[[], Any]) -> mde.LiveResponseError:
    with pytest.raises(mde.LiveResponseError) as caught:
        call()
    return caught.value


def refused(status: int, code: str = "") -> mde.LiveResponseError:
    body = {"error": {"code": code, "message": "no", "target": "request-1"}}
    with Emulator(speed=20.0) as emulator, emulator.client(max_wait=0.3) as client:
        emulator.fault("GET", "machines", "status", status=status, body=body, times=100)
        return raised(client.list_machines)


@pytest.fixture(scope="module")
def errors(models: dict[str, Any]) -> Iterator[dict[str, mde.LiveResponseError]]:
    fast = mde.Limits(read=[mde.Rate(1000, 1.0)], settle_time=0.5)
    with Emulator(speed=20.0) as emulator:
        client = emulator.client(max_wait=0.3, limits=fast)
        emulator.add_machine("twin.example.test")
        emulator.add_machine("twin.example.test")
        emulator.on_script("a.ps1", exit_code=3, duration=0.5)
        emulator.add_foreign_session("ws-0002.example.test", 1e6)
        script = Command.run_script("a.ps1")
        session = client.submit("ws-0003.example.test", script, "why")
        failed = session.result()
        emulator.on_script("slow.ps1", duration=1e6)
        client.library.upload(b"x", name="b.ps1")
        found = {
            "NotFoundError": raised(lambda: client.get_machine("nobody.example.test")),
            "InvalidRequestError": raised(lambda: client.list_machines("no filter at all")),
            "AmbiguousMachineError": raised(lambda: client.get_machine("twin.example.test")),
            "AlreadyExistsError": raised(lambda: client.library.upload(b"y", name="b.ps1")),
            "MachineBusyError": raised(
                lambda: client.submit("ws-0002.example.test", script, "why")
            ),
            "SessionFailedError": raised(failed.raise_for_status),
            "WaitTimeoutError": raised(
                lambda: client.run(
                    MACHINE,
                    Command.run_script("slow.ps1"),
                    "why",
                    timeout=1.0,
                    correlation_id="case-1",
                )
            ),
            "ConnectionFailedError": raised(
                lambda: emulator.client(endpoint="http://127.0.0.1:9").list_machines()
            ),
            "AuthenticationError": refused(401),
            "PermissionDeniedError": refused(403, "Forbidden"),
            "ServiceError": refused(500),
            "ThrottledError": refused(429),
        }
        yield found


ERRORS = [
    "NotFoundError",
    "InvalidRequestError",
    "AmbiguousMachineError",
    "AlreadyExistsError",
    "MachineBusyError",
    "SessionFailedError",
    "WaitTimeoutError",
    "ConnectionFailedError",
    "AuthenticationError",
    "PermissionDeniedError",
    "ServiceError",
    "ThrottledError",
]


@each_way
@pytest.mark.parametrize("name", ERRORS)
def test_an_error(name: str, way: str, errors: dict[str, mde.LiveResponseError]) -> None:
    error = errors[name]
    assert type(error).__name__ == name
    again = WAYS[way](error)
    assert type(again) is type(error)
    assert (str(again), again.args) == (str(error), error.args)
    expected = dict(vars(error))
    if "session" in expected:
        assert expected["session"] is not None
        expected["session"] = None
    assert vars(again) == expected


def test_a_cause_is_not_pickled(
    errors: dict[str, mde.LiveResponseError],
) -> None:
    error = mde.SubmitUnknownError("unknown", machine_id="m")
    error.__cause__ = errors["ServiceError"]
    assert copy.copy(error).__cause__ is None
    again = pickle.loads(pickle.dumps(error))
    assert (again.machine_id, again.__cause__) == ("m", None)


@pytest.mark.parametrize("way", ["pickle 2", "pickle 5", "copy", "deepcopy"])
@pytest.mark.parametrize(
    "name", ["LiveResponseClient", "Session", "Library", "ClientSecretCredential"]
)
def test_objects_with_a_client_or_a_secret_are_not_pickled(
    name: str, way: str, emulator: Emulator
) -> None:
    client = emulator.client()
    held: dict[str, Any] = {
        "LiveResponseClient": client,
        "Session": client.session("12345678-1234-1234-1234-123456789012"),
        "Library": client.library,
        "ClientSecretCredential": mde.ClientSecretCredential("contoso.com", "client", "hush"),
    }
    with pytest.raises(TypeError, match=f"a {name} is not pickled: "):
        WAYS[way](held[name])
