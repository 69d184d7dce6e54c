"""Common mistakes in arguments get an error that says what to do, before any request."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mde_live_response as mde
from mde_live_response import Command, InvalidRequestError, LiveResponseClient
from mde_live_response._cli.output import print_error
from mde_live_response.emulator import Emulator

SCRIPT = Command.run_script("a.ps1")
MACHINE = "ws-0001"
ENTRA_ID = "72f988bf-86f1-41af-91ab-2d7cd011db47"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(speed=50) as emulator:
        yield emulator


def message_of(error: type[Exception], act: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        act()
    return str(caught.value)


def untyped(value: object) -> Any:
    return value


async def machine_name() -> str:
    return MACHINE


def test_a_forgotten_await(client: LiveResponseClient, emulator: Emulator) -> None:
    before = len(emulator.requests)
    own, python = client.get_machine_async(MACHINE), machine_name()
    calls: list[tuple[str, Callable[[Any], object]]] = [
        ("machine", lambda it: client.run(it, SCRIPT, "why")),
        ("commands", lambda it: client.run(MACHINE, it, "why")),
        ("commands", lambda it: client.run(MACHINE, [SCRIPT, it], "why")),
        ("commands", lambda it: client.run_many([MACHINE], {MACHINE: it}, "why")),
        ("comment", lambda it: client.submit_async(MACHINE, SCRIPT, it)),
        ("machines", lambda it: client.run_many(it, SCRIPT, "why")),
        ("machines", lambda it: client.run_many([it], SCRIPT, "why")),
        ("machines", lambda it: client.run_many((one for one in [it]), SCRIPT, "why")),
        ("timeout", lambda it: client.session(ENTRA_ID).wait(it)),
        ("save_to", lambda it: client.session(ENTRA_ID).result(save_to=it)),
        ("action_id", client.session),
    ]
    for name, call in calls:
        for value in (own, python):
            message = message_of(TypeError, lambda call=call, value=value: call(value))  # type: ignore[misc]
            assert message.startswith(f"{name} takes "), message
            assert "coroutine" in message
            assert "Hint: write `await` before the call" in message
    with pytest.raises(AttributeError, match=r"LiveResponseClient\.get_machine_async .*`await`"):
        own.id  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(own, "id")
    own.close()
    python.close()
    assert len(emulator.requests) == before


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda client: client.run([MACHINE], SCRIPT, "why"),
            "machine takes a machine id, a name or a Machine, not list. "
            "Hint: give one machine; run_many takes several machines",
        ),
        (
            lambda client: client.run_many(MACHINE, SCRIPT, "why"),
            "machines takes an iterable of machine ids, names or Machines, not str. "
            "Hint: put it in a list: [...]",
        ),
        (
            lambda client: client.run_many([[MACHINE]], SCRIPT, "why"),
            "not list of list",
        ),
        (
            lambda client: client.run_many([MACHINE, None], SCRIPT, "why"),
            "not list of None",
        ),
        (
            lambda client: client.run(MACHINE, "triage.ps1", "why"),
            "commands takes a Command or a sequence of them, not str. "
            'Hint: make a Command of it, such as Command.run_script("triage.ps1")',
        ),
        (lambda client: client.run(MACHINE, ["triage.ps1"], "why"), "Hint: make a Command of it"),
        (
            lambda client: client.run(MACHINE, Command.run_script, "why"),
            "Hint: call it and pass what it returns",
        ),
        (lambda client: client.run(MACHINE, Command, "why"), "not the class Command"),
        (lambda client: client.run(MACHINE, SCRIPT, ["why"]), "Hint: give one value"),
        (lambda client: client.run(MACHINE, SCRIPT, b"why"), "Hint: make a str of it with .decode"),
        (
            lambda client: client.run(MACHINE, SCRIPT, "why", correlation_id=uuid.uuid4()),
            "correlation_id takes a str or None, not UUID. Hint: make a str of it with str()",
        ),
        (
            lambda client: client.run(MACHINE, SCRIPT, "why", timeout="60"),
            "timeout takes seconds or a timedelta, or None, not str. "
            "Hint: make a number of it with float()",
        ),
        (lambda client: client.run(MACHINE, SCRIPT, "why", on_update=3), "on_update takes a func"),
        (lambda client: client.list_machines(top="5"), "Hint: make a number of it with int()"),
        (
            lambda client: mde.Limits(submit=untyped(mde.Rate(10, 60))),
            "Hint: put it in a list: [...]",
        ),
        (lambda client: Command.run_script("a.ps1", untyped(["-Depth", 2])), "not list of int"),
        (lambda client: client.library.upload(["a.ps1"]), "Hint: give one value"),
        (
            lambda client: client.get_machine(client.list_machines()[0]),
            "machine takes a str, not Machine. Hint: pass its `id`",
        ),
        (
            lambda client: client.session(client.session(ENTRA_ID)),
            "action_id takes a str, not Session. Hint: pass its `id`",
        ),
        (
            lambda client: client.run(client.session(ENTRA_ID), SCRIPT, "why"),
            "not Session. Hint: pass its `machine_id`",
        ),
    ],
)
def test_a_wrong_type_has_a_hint(
    act: Callable[[LiveResponseClient], object],
    message: str,
    client: LiveResponseClient,
    emulator: Emulator,
) -> None:
    before = emulator.counters.get("runliveresponse", 0)
    assert message in message_of(TypeError, lambda: act(client))
    assert emulator.counters.get("runliveresponse", 0) == before


def test_a_secret_of_a_wrong_type_is_not_printed() -> None:
    secret = "p4ss-word"
    for value in (secret.encode(), [secret], {secret: secret}):
        wrong: Any = value
        for act in (
            lambda wrong=wrong: mde.ClientSecretCredential("t.example.test", "c", wrong),
            lambda wrong=wrong: LiveResponseClient("token", proxy=wrong),
            lambda wrong=wrong: LiveResponseClient(wrong),
        ):
            assert secret not in message_of(TypeError, act)


@pytest.mark.parametrize(
    ("machine", "what"),
    [
        ("10.0.0.5", "an IP address"),
        (" 10.0.0.5 ", "an IP address"),
        ("10.0.0.5:443", "an IP address"),
        ("10.0.0.0/24", "an IP address"),
        ("fe80::1", "an IP address"),
        ("[fe80::1]", "an IP address"),
        (ENTRA_ID, "a GUID"),
        (f"{{{ENTRA_ID.upper()}}}", "a GUID"),
        ("https://security.microsoft.com/machines/" + "a" * 40, "a URL"),
        (r"CORP\ws-0001", "a name with its domain"),
        ("a" * 39, "almost a machine id"),
    ],
)
def test_text_that_names_a_machine_elsewhere(
    machine: str, what: str, client: LiveResponseClient, emulator: Emulator
) -> None:
    before = len(emulator.requests)
    for act in (
        lambda: client.run(machine, SCRIPT, "why"),
        lambda: client.submit(machine, SCRIPT, "why"),
        lambda: client.find_session(machine, "id"),
        lambda: client.get_machine(machine),
        lambda: asyncio.run(client.get_machine_async(machine)),
    ):
        message = message_of(InvalidRequestError, act)
        assert f"is {what}, not a machine id or name. Hint: " in message
    assert len(emulator.requests) == before
    # A run keeps the outcomes of its other machines.
    emulator.on_script("a.ps1", stdout="done")
    outcomes = client.run_many([machine, MACHINE], SCRIPT, "why").report().outcomes
    assert [outcome.reason for outcome in outcomes] == ["machine", "ok"]
    assert f"is {what}" in outcomes[0].message
    [finding] = [it for it in client.check(machine).findings if what in it.message]
    assert finding.hint


@pytest.mark.parametrize(
    "name", ["10-0-0-5", "ip-10-0-0-5.ec2.internal", "1.2.3", "deadbeef", "a" * 32, "0" * 15]
)
def test_an_odd_name_is_looked_up(name: str, client: LiveResponseClient) -> None:
    with pytest.raises(mde.NotFoundError):
        client.get_machine(name)


@pytest.mark.parametrize("path", ["C:\temp\new", "C:\\Users\a", "\\\\srv\new", "\tmp"])
def test_a_path_from_a_string_that_is_not_raw(path: str) -> None:
    message = message_of(InvalidRequestError, lambda: Command.get_file(path))
    assert message.startswith("path is ")
    assert 'write a raw string, r"C:\\Temp\\new", or double each backslash' in message


def test_a_local_path_from_a_string_that_is_not_raw(client: LiveResponseClient) -> None:
    session = client.session(ENTRA_ID)
    for name, act in (
        ("save_to", lambda: session.result(save_to="C:\temp\new")),
        ("path", lambda: Command.put_local("C:\temp\new.ps1")),
        ("to", lambda: session.download(0, "C:\temp\new")),
        ("file", lambda: client.library.upload("\\\\srv\new.ps1")),
        ("folder", lambda: client.library.sync("C:\temp")),
    ):
        message = message_of(InvalidRequestError, act)
        assert message.startswith(f"{name} is "), message
        assert "write a raw string" in message


def test_a_wrong_value_is_named(client: LiveResponseClient, emulator: Emulator) -> None:
    before = len(emulator.requests)
    session = client.session(ENTRA_ID)
    half = "\ud800"
    for name, act in (
        ("comment", lambda: client.run(MACHINE, SCRIPT, half)),
        ("machine", lambda: client.run(half, SCRIPT, "why")),
        ("machines", lambda: client.run_many([half], SCRIPT, "why")),
        ("timeout", lambda: session.wait(-1)),
        ("timeout", lambda: session.wait(float("nan"))),
        ("timeout", lambda: session.wait(-(10**400))),
        ("max_age", lambda: session.refresh(max_age=-1)),
        ("older_than", lambda: client.library.prune(older_than=-1)),
        ("top", lambda: client.list_machines(top=-(2**70))),
        ("command", lambda: session.stream(2**70)),
        ("action_id", lambda: client.session("1234")),
        ("wire", lambda: Command.from_dict({"type": object()})),
    ):
        message = message_of(InvalidRequestError, act)
        assert message.startswith(f"{name} "), message
    assert len(emulator.requests) == before


def test_a_number_that_is_too_large_is_the_largest(client: LiveResponseClient) -> None:
    assert len(client.list_machines(top=2**70)) == 3
    with pytest.raises(InvalidRequestError, match="count"):
        mde.Rate(2**70, 1)


def test_an_exception_of_the_callers_code_is_kept() -> None:
    class Broken:
        def __fspath__(self) -> str:
            raise ZeroDivisionError("mine")

        def __float__(self) -> float:
            raise ZeroDivisionError("mine")

    broken: Any = Broken()
    for act in (lambda: Command.put_local(broken), lambda: mde.Rate(1, broken)):
        with pytest.raises(ZeroDivisionError, match="mine"):
            act()


def test_the_command_line_has_its_own_words_for_the_hint(
    client: LiveResponseClient, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        client.get_machine("10.0.0.5")
    print_error(caught.value, as_json=False)
    assert "Hint: machines --ip lists the machines" in capsys.readouterr().err
