"""Errors: their bases, `str()`, `to_dict()`, and that attributes survive pickling and copying."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

import mde_live_response as mde
from mde_live_response import errors

if TYPE_CHECKING:
    from mde_live_response.emulator import Emulator

BASES: dict[type[mde.LiveResponseError], tuple[type[BaseException], ...]] = {
    mde.LiveResponseError: (Exception,),
    mde.InvalidRequestError: (mde.LiveResponseError, ValueError),
    mde.AmbiguousMachineError: (mde.InvalidRequestError,),
    mde.AlreadyExistsError: (mde.InvalidRequestError,),
    mde.AuthenticationError: (mde.LiveResponseError,),
    mde.PermissionDeniedError: (mde.LiveResponseError,),
    mde.NotFoundError: (mde.LiveResponseError, LookupError),
    mde.MachineBusyError: (mde.LiveResponseError,),
    mde.ThrottledError: (mde.LiveResponseError,),
    mde.ServiceError: (mde.LiveResponseError,),
    mde.ConnectionFailedError: (mde.LiveResponseError, ConnectionError),
    mde.SubmitUnknownError: (mde.LiveResponseError,),
    mde.SessionFailedError: (mde.LiveResponseError,),
    mde.WaitTimeoutError: (mde.LiveResponseError, TimeoutError),
    mde.DownloadError: (mde.LiveResponseError,),
    mde.StateError: (mde.LiveResponseError,),
}
COMMON: dict[str, Any] = {
    "code": "ActiveRequestAlreadyExists",
    "status_code": 400,
    "request_id": "43f4cb08",
    "tenant_id": "contoso",
    "action_id": "6b1d2c1e",
    "machine_id": "9a0b1c2d",
    "correlation_id": "case-42",
    "retryable": True,
    "hint": "wait for it",
}
OWN: dict[type[mde.LiveResponseError], dict[str, Any]] = {
    mde.AmbiguousMachineError: {"machines": ("one", "two")},
    mde.MachineBusyError: {"active_action_id": "ffff"},
    mde.ThrottledError: {"retry_after": 8.0},
    mde.SessionFailedError: {"result": {"ok": False}},
}
WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
each_error = pytest.mark.parametrize("cls", BASES, ids=lambda cls: cls.__name__)


def make(cls: type[mde.LiveResponseError], message: str = "It failed.") -> mde.LiveResponseError:
    return cls(message, **COMMON, **OWN.get(cls, {}))


def test_every_error_is_listed_here() -> None:
    assert {cls.__name__ for cls in BASES} == set(errors.__all__)


@each_error
def test_bases(cls: type[mde.LiveResponseError]) -> None:
    assert cls.__bases__ == BASES[cls]


@each_error
def test_it_names_the_public_module(cls: type[mde.LiveResponseError]) -> None:
    assert cls.__module__ == "mde_live_response"
    assert getattr(mde, cls.__name__) is cls


@each_error
def test_attributes_are_none_false_or_empty_unless_given(cls: type[mde.LiveResponseError]) -> None:
    needed = {"result": None} if cls is mde.SessionFailedError else {}
    error = cls("It failed.", **needed)  # type: ignore[arg-type]
    expected = {
        name: False if name == "retryable" else None for name in [*COMMON, *OWN.get(cls, {})]
    }
    if cls is mde.AmbiguousMachineError:
        expected["machines"] = ()  # type: ignore[assignment]
    assert {name: getattr(error, name) for name in expected} == expected


@each_error
def test_attributes_are_keywords_only(cls: type[mde.LiveResponseError]) -> None:
    kinds = [parameter.kind for parameter in inspect.signature(cls).parameters.values()][1:]
    assert set(kinds) <= {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}


@each_error
@pytest.mark.parametrize("how", WAYS)
def test_everything_survives(cls: type[mde.LiveResponseError], how: str) -> None:
    error = make(cls)
    error.__dict__["__notes__"] = ["on ws-0001"]
    back = WAYS[how](error)
    assert type(back) is cls
    assert str(back) == str(error)
    assert back.args == error.args
    assert back.__dict__ == error.__dict__


@each_error
def test_to_dict_has_every_attribute(cls: type[mde.LiveResponseError]) -> None:
    expected = {"message": "It failed.", **COMMON, **OWN.get(cls, {})}
    if cls is mde.AmbiguousMachineError:
        expected["machines"] = ["one", "two"]
    assert make(cls).to_dict() == expected
    json.dumps(make(cls).to_dict())


@each_error
def test_message_has_neither_hint_nor_ids(cls: type[mde.LiveResponseError]) -> None:
    assert make(cls).message == "It failed."
    assert "wait for it" in str(make(cls))


def test_a_session_is_not_pickled() -> None:
    class Unpicklable:
        def __reduce__(self) -> str:
            raise TypeError("it holds a client")

    session: Any = Unpicklable()
    error = mde.WaitTimeoutError("The time is over.", session=session, action_id="6b1d2c1e")
    assert error.session is not None
    back = pickle.loads(pickle.dumps(error))
    assert back.session is None
    assert back.action_id == "6b1d2c1e"


def test_a_users_subclass_survives() -> None:
    assert type(pickle.loads(pickle.dumps(OwnError("mine")))) is OwnError


class OwnError(mde.ConnectionFailedError):
    """A subclass as users may write it: its constructor takes no message."""

    def __init__(self, *words: str) -> None:
        super().__init__(" ".join(words), hint="none")


@pytest.mark.parametrize(
    ("message", "attributes", "text"),
    [
        ("", {}, ""),
        ("It failed", {}, "It failed"),
        (
            "It failed.",
            {"hint": "Grant Machine.LiveResponse."},
            "It failed. Hint: Grant Machine.LiveResponse.",
        ),
        ("It failed", {"hint": "wait"}, "It failed. Hint: wait"),
        ("", {"hint": "wait"}, "wait"),
        ("It failed; wait for it.", {"hint": "wait for it"}, "It failed; wait for it."),
        ("It failed.", {"machine_id": "m", "request_id": "r"}, "It failed. (machine m, request r)"),
        (
            "Machine 9a0b is busy.",
            {"machine_id": "9a0b", "action_id": "x"},
            "Machine 9a0b is busy. (action x)",
        ),
        ("It failed.", {"code": "Forbidden", "tenant_id": "t"}, "It failed."),
        ("It failed.", {"correlation_id": "c"}, "It failed. (correlation id c)"),
    ],
)
def test_str(message: str, attributes: dict[str, Any], text: str) -> None:
    assert str(mde.LiveResponseError(message, **attributes)) == text


def test_a_failed_session_is_pickled_with_its_error(emulator: Emulator) -> None:
    emulator.add_library_file("triage.ps1")
    emulator.on_script("triage.ps1", stdout="half done", exit_code=3)
    with emulator.client() as client:
        result = client.run("ws-0001.example.test", mde.Command.run_script("triage.ps1"), "case 42")
    with pytest.raises(mde.SessionFailedError) as caught:
        result.raise_for_status()
    assert caught.value.result == result
    assert caught.value.action_id == result.action.id
    assert caught.value.to_dict()["result"] == result.to_dict()
    back = pickle.loads(pickle.dumps(caught.value))
    assert back.result == result
    assert back.result.scripts[0].stdout.endswith("half done")


def test_a_failed_session_made_from_its_id_names_what_is_known(emulator: Emulator) -> None:
    emulator.on_script("triage.ps1", exit_code=3, duration=20)
    with emulator.client() as client:
        script = mde.Command.run_script("triage.ps1")
        started = client.submit("ws-0001", script, "case 42", correlation_id="case-7")
        session = client.session(started.id)
        assert (session.machine_id, session.correlation_id) == (None, None)
        session.refresh()
        assert (session.machine_id, session.correlation_id) == (started.machine_id, "case-7")
        with pytest.raises(mde.SessionFailedError) as caught:
            session.result().raise_for_status()
    error = caught.value
    assert (error.action_id, error.machine_id) == (started.id, started.machine_id)
    assert (error.tenant_id, error.correlation_id) == (emulator.tenant_id, "case-7")
    assert pickle.loads(pickle.dumps(error)).correlation_id == "case-7"


def test_an_ambiguous_name_gives_the_machines(emulator: Emulator) -> None:
    twins = {emulator.add_machine("twin.example.test") for _ in range(2)}
    with emulator.client() as client, pytest.raises(mde.AmbiguousMachineError) as caught:
        client.get_machine("twin.example.test")
    assert set(caught.value.machines) == twins
    assert caught.value.machines is caught.value.machines
    found = caught.value.to_dict()["machines"]
    assert {machine["id"] for machine in found} == {machine.id for machine in twins}
