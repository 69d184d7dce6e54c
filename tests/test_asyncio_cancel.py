"""Async calls: cancellation, `on_update`, and loops that are closed."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest
from asyncio_helpers import Runner, each_loop, wait_until_pending
from runtime_helpers import (
    MACHINE,
    is_pending,
    requests_of,
    wait_until,
    was_closed_by_client,
)

from mde_live_response import Command, LiveResponseClient, MachineAction
from mde_live_response.emulator import Emulator

RUN_SCRIPT = Command.run_script("a.ps1")


@pytest.fixture
def client(emulator: Emulator) -> LiveResponseClient:
    emulator.on_script("a.ps1", stdout="hello", duration=0.5)
    return emulator.client()


@each_loop
@pytest.mark.parametrize("way", ["cancel", "wait_for", "gather"])
def test_cancelling_aborts_the_request(
    run: Runner, way: str, emulator: Emulator, client: LiveResponseClient
) -> None:
    async def main() -> None:
        emulator.fault("GET", "machines", "delay", seconds=60.0)
        if way == "wait_for":
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.list_machines_async(), 0.2)
            return
        call = client.list_machines_async()
        waiting: asyncio.Future[Any] = (
            asyncio.create_task(call)
            if way == "cancel"
            else asyncio.gather(call, asyncio.sleep(60))
        )
        await wait_until_pending(emulator, "machines")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(main())
    wait_until(lambda: was_closed_by_client(emulator, "machines"), "the connection's close")
    assert len(client.list_machines()) == 3


def test_a_shielded_call_continues(emulator: Emulator, client: LiveResponseClient) -> None:
    async def main() -> None:
        emulator.fault("GET", "machines", "delay", seconds=0.5)
        inner = asyncio.ensure_future(client.list_machines_async())
        outer = asyncio.ensure_future(asyncio.shield(inner))
        await wait_until_pending(emulator, "machines")
        outer.cancel()
        assert len(await inner) == 3

    asyncio.run(main())


@pytest.mark.parametrize("route", ["machineactions", "resultlink"])
def test_cancelling_a_wait_does_not_cancel_the_session(
    route: str, emulator: Emulator, client: LiveResponseClient
) -> None:
    async def main() -> str:
        session = await client.submit_async(MACHINE, RUN_SCRIPT, "why")
        emulator.fault("GET", route, "delay", seconds=60.0)
        task = asyncio.create_task(session.result_async())
        await wait_until_pending(emulator, route)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return session.id

    action_id = asyncio.run(main())
    wait_until(lambda: was_closed_by_client(emulator, route), "the connection's close")
    assert client.session(action_id).result().ok
    assert not requests_of(emulator, "cancel")


def test_a_cancelled_submit_is_accepted_and_found_again(
    emulator: Emulator, client: LiveResponseClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        emulator.fault("POST", "runliveresponse", "delay", seconds=0.5)
        task = asyncio.create_task(
            client.submit_async(MACHINE, RUN_SCRIPT, "why", correlation_id="case-1")
        )
        await wait_until_pending(emulator, "runliveresponse")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    wait_until(lambda: caplog.records, "the warning")
    assert [post["status"] for post in requests_of(emulator, "runliveresponse")] == [201]
    found = client.find_session(MACHINE, "case-1")
    assert found is not None
    assert found.id in caplog.text
    again = client.submit(MACHINE, RUN_SCRIPT, "why", correlation_id="case-1")
    assert (again.id, again.adopted) == (found.id, True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert len(requests_of(emulator, "runliveresponse")) == 1


def test_on_update_runs_in_the_loops_thread_and_the_callers_context(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    mine: contextvars.ContextVar[str] = contextvars.ContextVar("mine", default="unset")
    seen: list[tuple[str, str, str]] = []

    def on_update(action: MachineAction) -> None:
        asyncio.get_running_loop()
        seen.append((action.status, threading.current_thread().name, mine.get()))

    async def main() -> None:
        mine.set("the caller's")
        assert (await client.run_async(MACHINE, RUN_SCRIPT, "why", on_update=on_update)).ok

    asyncio.run(main())
    assert {(thread, context) for _, thread, context in seen} == {("MainThread", "the caller's")}
    assert seen[-1][0] == "Succeeded"


def test_on_update_runs_in_the_callers_thread(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    seen: set[int] = set()
    callers: list[int] = []

    def call() -> None:
        callers.append(threading.get_ident())
        assert client.run(
            MACHINE, RUN_SCRIPT, "why", on_update=lambda _: seen.add(threading.get_ident())
        ).ok

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert seen == set(callers)


class Enough(BaseException):
    """An exception that `except Exception` does not catch."""


@pytest.mark.parametrize(
    "raised", [KeyError("why"), Enough(), StopIteration("why")], ids=lambda it: type(it).__name__
)
@pytest.mark.parametrize("api", ["blocking", "asyncio"])
def test_an_exception_from_on_update_ends_the_wait(
    api: str, raised: BaseException, emulator: Emulator, client: LiveResponseClient
) -> None:
    def on_update(action: MachineAction) -> None:
        raise raised

    expected = (
        RuntimeError if api == "asyncio" and isinstance(raised, StopIteration) else type(raised)
    )
    call = (
        client.run
        if api == "blocking"
        else lambda *args, **named: asyncio.run(client.run_async(*args, **named))
    )
    with pytest.raises(expected) as caught:
        call(MACHINE, RUN_SCRIPT, "why", correlation_id="case-1", on_update=on_update)
    assert raised in (caught.value, caught.value.__cause__)
    session = client.find_session(MACHINE, "case-1")
    assert session is not None
    assert session.result().ok
    assert not requests_of(emulator, "cancel")


def test_a_loop_closed_during_a_call_is_harmless(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    emulator.fault("GET", "machines", "delay", seconds=0.5, times=3)
    loop = asyncio.new_event_loop()
    coroutines = [client.list_machines_async() for _ in range(3)]

    async def begin() -> None:
        for coroutine in coroutines:
            coroutine.send(None)
        await wait_until_pending(emulator, "machines")

    loop.run_until_complete(begin())
    loop.close()
    wait_until(
        lambda: [call["status"] for call in requests_of(emulator, "machines")] == [200] * 3,
        "the answers",
    )
    assert len(asyncio.run(client.list_machines_async())) == 3
    for coroutine in coroutines:
        coroutine.close()


def test_a_shared_wait_ends_with_its_last_waiter(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    emulator.on_script("a.ps1", duration=20.0)

    async def main() -> None:
        session = await client.submit_async(MACHINE, Command.run_script("a.ps1"), "why")
        waits = [asyncio.create_task(session.wait_async()) for _ in range(3)]
        emulator.fault("GET", "machineactions", "delay", seconds=0.5)
        await asyncio.to_thread(wait_until, lambda: is_pending(emulator, "machineactions"))
        waits[0].cancel()
        waits[1].cancel()
        emulator.advance(100.0)
        assert (await waits[2]).status == "Succeeded"

    asyncio.run(main())
    assert not was_closed_by_client(emulator, "machineactions")


def test_closing_and_throwing_into_a_waiting_coroutine(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    async def main() -> None:
        for end in ("close", "throw"):
            emulator.fault("GET", "machines", "delay", seconds=60.0)
            coroutine = client.list_machines_async()
            waiting_for = coroutine.send(None)
            assert asyncio.isfuture(waiting_for)
            await wait_until_pending(emulator, "machines")
            if end == "close":
                coroutine.close()
            else:
                with pytest.raises(KeyError):
                    coroutine.throw(KeyError("why"))
            await asyncio.to_thread(wait_until, lambda: not is_pending(emulator, "machines"))

    asyncio.run(main())
    assert [call["status"] for call in requests_of(emulator, "machines")] == ["closed", "closed"]
