"""`state=`: the store for limits, sessions and submits, and the errors of a store."""

from __future__ import annotations

import json
import stat
import sys
import threading
from pathlib import Path

import pytest
from runtime_helpers import MACHINE, pick_count, requests_of, run_python
from state_helpers import redis_server

import mde_live_response as mde
from mde_live_response.__main__ import main
from mde_live_response.emulator import Emulator

RUN = mde.Command.run_script("echo.ps1")


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state.db'}"


@pytest.mark.parametrize(
    "state", ["postgres://u:hunter2@h/1", "sqlite://x", "redis://:hunter2@h/one", "memory"]
)
def test_an_invalid_address_is_refused_before_any_request_without_its_password(state: str) -> None:
    with pytest.raises(mde.InvalidRequestError) as caught:
        mde.LiveResponseClient("token", state=state)
    assert "hunter2" not in repr(caught.value) + str(caught.value)
    assert caught.value.hint


def test_the_environment_selects_a_store(
    emulator: Emulator, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDE_LIVE_RESPONSE_STATE", address)
    with emulator.client() as client:
        client.run(MACHINE, RUN, "a test")
    file = Path(address.removeprefix("sqlite:///"))
    if sys.platform != "win32":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_client_finds_a_session_of_another_client(emulator: Emulator, address: str) -> None:
    emulator.on_script("echo.ps1", duration=60.0)
    with emulator.client(state=address) as one, emulator.client(state=address) as other:
        started = one.submit(MACHINE, RUN, "a test", correlation_id="case 42")
        (open_session,) = other.list_sessions()
        assert (open_session.id, open_session.correlation_id) == (started.id, "case 42")
        before = len(requests_of(emulator, "machineactions"))
        again = other.submit(MACHINE, RUN, "a test", correlation_id="case 42")
        assert again.adopted
        assert again.id == started.id
        found = other.find_session(MACHINE, "case 42")
        assert found is not None
        assert found.id == started.id
        assert len(requests_of(emulator, "machineactions")) == before, (
            "the store knows: no list is asked"
        )
        with pytest.raises(mde.InvalidRequestError, match="other commands"):
            other.submit(
                MACHINE, mde.Command.run_script("other.ps1"), "a test", correlation_id="case 42"
            )
        with pytest.raises(mde.MachineBusyError) as busy:
            other.submit(MACHINE, RUN, "a test")
        assert busy.value.active_action_id == started.id
        assert again.result().ok
        assert one.list_sessions() == () == other.list_sessions()
    assert len(requests_of(emulator, "runliveresponse")) == 1


async def sessions_of(client: mde.LiveResponseClient) -> list[str]:
    return [session.id for session in await client.list_sessions_async()]


def test_sessions_async(emulator: Emulator, address: str) -> None:
    import asyncio

    emulator.on_script("echo.ps1", duration=60.0)
    with emulator.client(state=address) as client:
        started = client.submit(MACHINE, RUN, "a test")
        assert asyncio.run(sessions_of(client)) == [started.id]


def test_an_unavailable_store_is_a_state_error(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "not.db").write_bytes(
        b"this is no database, and is long enough to be seen as none" * 40
    )
    for state in (
        f"sqlite:///{tmp_path / 'nowhere' / 'state.db'}",
        f"sqlite:///{tmp_path / 'not.db'}",
    ):
        with emulator.client(state=state) as client:
            with pytest.raises(mde.StateError) as caught:
                client.run(MACHINE, RUN, "a test")
            assert caught.value.hint
            (finding,) = client.check().findings
            assert (finding.code, finding.level) == ("state", "error")
    assert requests_of(emulator, "runliveresponse") == []


def test_check_reports_an_unshared_store(emulator: Emulator, address: str) -> None:
    with emulator.client(state="memory:") as client:
        assert [finding.code for finding in client.check().findings] == ["state"]
    with emulator.client(state=address) as client:
        assert client.check().findings == ()


def test_a_multiprocess_engine_is_warned_about_once(emulator: Emulator, address: str) -> None:
    code = """
import logging, mde_live_response as mde
logging.basicConfig(format="%(levelname)s %(message)s")
for _ in range(2):
    with mde.LiveResponseClient(state={state!r}) as client:
        client.list_machines()
        print([finding.message for finding in client.check().findings if finding.code == "state"])
"""
    env = {**emulator.env, "AWS_LAMBDA_FUNCTION_NAME": "isolate"}
    alone = run_python(code.format(state="memory:"), env)
    assert alone.err.count("AWS Lambda") == 1, alone
    assert "WARNING" in alone.err, alone
    assert "AWS Lambda" in alone.out, alone
    shared = run_python(code.format(state=address), env)
    assert shared.code == 0, shared
    assert "AWS Lambda" not in shared.err + shared.out, shared


def test_show_and_prune(
    emulator: Emulator, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator.on_script("echo.ps1", duration=60.0)
    with emulator.client(state=address) as client:
        session = client.submit(MACHINE, RUN, "a test", correlation_id="case 42")
        assert main(["state", "show", address]) == 0
        shown = capsys.readouterr().out
        for word in (
            emulator.tenant_id,
            "runliveresponse",
            session.id,
            "case 42",
            "open sessions of all callers: 1",
            "intents: 1",
        ):
            assert word in shown, shown
        assert main(["state", "prune", "--older-than", "0", "--json", address]) == 0
        assert sum(quota["intents"] for quota in json.loads(capsys.readouterr().out)) == 0, (
            "what is open stays"
        )
        session.wait()
    assert main(["state", "prune", "--older-than", "0", address]) == 0
    assert "1 submit, " in (removed := capsys.readouterr().out)
    assert removed.endswith("0 runs\n")
    assert main(["state", "show", "--json", address]) == 0
    (quota,) = json.loads(capsys.readouterr().out)
    assert (quota["intents"], quota["slots"]) == ([], [])
    for wrong in (["state", "show", "memory:"], ["state", "show", "nonsense"]):
        assert main(wrong) == 2
        assert "Hint" in capsys.readouterr().err


def test_show_takes_the_address_from_the_environment(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MDE_LIVE_RESPONSE_STATE", raising=False)
    assert main(["state", "show"]) == 2
    monkeypatch.setenv("MDE_LIVE_RESPONSE_STATE", "redis://:hunter2@127.0.0.1:1/0")
    assert main(["state", "show"]) == 3
    message = capsys.readouterr().err
    assert "hunter2" not in message, message
    assert "127.0.0.1:1" in message, message


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_children_of_a_fork_share_the_store(kind: str, tmp_path: Path) -> None:
    """Fork while threads make calls: the child must not use the parent's locks and connections."""
    served = (
        redis_server(tmp_path) if kind == "redis" else iter([f"sqlite:///{tmp_path / 'state.db'}"])
    )
    fast = mde.Limits(
        submit=[mde.Rate(10_000, 1.0)], read=[mde.Rate(10_000, 1.0)], sessions=1000, settle_time=1.0
    )
    code = f"""
import os, sys, threading, warnings
import mde_live_response as mde
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork with threads
rate = [mde.Rate(10_000, 1.0)]
fast = mde.Limits(submit=rate, read=rate, sessions=1000, settle_time=1.0)
client = mde.LiveResponseClient(limits=fast)
stop = threading.Event()

def call():
    while not stop.is_set():
        client.list_machines()

threads = [threading.Thread(target=call) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for at in range({pick_count(24, 200)}):
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            machine, command = f"ws-{{at % 3 + 1:04}}", mde.Command.run_script("echo.ps1")
            options = dict(on_busy="wait", correlation_id=f"child {{at}}")
            session = client.submit(machine, command, "a test", **options)
            code = 0 if session.result().ok else 98
        except BaseException:
            import traceback
            traceback.print_exc()
        os._exit(code)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
stop.set()
for thread in threads:
    thread.join()
assert codes == [0] * len(codes), codes
assert client.list_sessions() == ()
print(len(codes))
"""
    for state in served:
        with Emulator(limits=fast) as emulator:
            emulator.on_script("echo.ps1", duration=0.01)
            done = run_python(
                code, {**emulator.env, "MDE_LIVE_RESPONSE_STATE": state}, seconds=240.0
            )
            assert done.code == 0, done
            assert len(requests_of(emulator, "runliveresponse")) == int(done.out), done
            assert emulator.violations["duplicate_submit"] == emulator.violations["sessions"] == 0


def test_threads_open_the_store_at_the_same_time(emulator: Emulator, address: str) -> None:
    failed: list[BaseException] = []

    def use() -> None:
        try:
            with emulator.client(state=address) as client:
                client.list_machines()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_lost_redis_is_reported(tmp_path: Path, emulator: Emulator) -> None:
    emulator.on_script("echo.ps1")
    served = redis_server(tmp_path)
    with emulator.client(state=next(served), request_timeout=5.0) as client:
        assert client.run(MACHINE, RUN, "a test").ok
        next(served, None)
        with pytest.raises(mde.StateError) as caught:
            client.submit(MACHINE, RUN, "a test")
        assert caught.value.retryable
        assert "127.0.0.1" in str(caught.value)
    assert len(requests_of(emulator, "runliveresponse")) == 1
