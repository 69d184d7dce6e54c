"""The async methods return coroutines. Ending one aborts its request, except a submit's POST."""

from __future__ import annotations

import asyncio
import collections.abc
import contextvars
import gc
import inspect
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from runtime_helpers import (
    MACHINE,
    is_pending,
    pick_count,
    requests_of,
    wait_until,
    was_closed_by_client,
)

from mde_live_response import Command, LiveResponseClient, MachineAction, NotFoundError
from mde_live_response.emulator import Emulator

RUN_SCRIPT = Command.run_script("a.ps1")


@pytest.fixture
def client(emulator: Emulator) -> LiveResponseClient:
    emulator.on_script("a.ps1", stdout="hello", duration=0.5)
    return emulator.client()


def run_on_asyncio(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


def run_in_debug_mode(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main, debug=True)


def run_on_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not made for this platform")
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


each_loop = pytest.mark.parametrize("run", [run_on_asyncio, run_in_debug_mode, run_on_uvloop])
Runner = Callable[[Coroutine[Any, Any, Any]], Any]


async def wait_until_pending(emulator: Emulator, route: str) -> None:
    await asyncio.to_thread(wait_until, lambda: is_pending(emulator, route), f"the {route} call")


@each_loop
def test_a_run_from_end_to_end(run: Runner, emulator: Emulator, client: LiveResponseClient) -> None:
    async def main() -> None:
        async with client as same:
            assert same is client
            result = await client.run_async(MACHINE, RUN_SCRIPT, "why")
            assert result.ok
            assert result.scripts[0].stdout.endswith("hello")

    run(main())


@each_loop
def test_every_way_to_await(run: Runner, client: LiveResponseClient) -> None:
    async def main() -> None:
        assert len(await client.list_machines_async()) == 3
        assert len(await asyncio.create_task(client.list_machines_async(), name="mine")) == 3
        assert len(await asyncio.wait_for(client.list_machines_async(), 20)) == 3
        assert len(await asyncio.shield(client.list_machines_async())) == 3
        assert len(await asyncio.ensure_future(client.list_machines_async())) == 3
        both = await asyncio.gather(client.list_machines_async(), client.get_machine_async(MACHINE))
        assert both[1] in both[0]
        (done,), _ = await asyncio.wait([asyncio.create_task(client.list_machines_async())])
        assert len(done.result()) == 3
        with pytest.raises(NotFoundError):
            await client.get_machine_async("nobody.example.test")
        results = await asyncio.gather(
            client.get_machine_async("nobody"), client.list_machines_async(), return_exceptions=True
        )
        assert [type(result) for result in results] == [NotFoundError, tuple]

    run(main())


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="TaskGroup and timeout came with Python 3.11"
)
@each_loop
def test_task_group_and_timeout(
    run: Runner, emulator: Emulator, client: LiveResponseClient
) -> None:
    async def main() -> None:
        if sys.version_info >= (3, 11):
            async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                tasks = [group.create_task(client.get_machine_async(MACHINE)) for _ in range(5)]
            assert {task.result().computer_dns_name for task in tasks} == {MACHINE}
            emulator.fault("GET", "machines", "delay", seconds=60.0)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.list_machines_async()

    run(main())
    wait_until(lambda: was_closed_by_client(emulator, "machines"), "the connection's close")


def test_a_loop_can_run_the_coroutine_directly(client: LiveResponseClient) -> None:
    assert len(asyncio.run(client.list_machines_async())) == 3
    assert len(asyncio.run(client.list_machines_async(), debug=True)) == 3


def test_one_client_in_one_loop_after_the_other(client: LiveResponseClient) -> None:
    for _ in range(pick_count(5, 100)):
        assert len(asyncio.run(client.list_machines_async())) == 3


def test_one_client_in_loops_of_two_threads(client: LiveResponseClient) -> None:
    async def main() -> list[int]:
        return [
            len(machines)
            for machines in await asyncio.gather(*(client.list_machines_async() for _ in range(20)))
        ]

    found: list[list[int]] = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(main()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[3] * 20] * 2


def test_type_and_repr_of_an_awaitable(client: LiveResponseClient) -> None:
    coroutine = client.list_machines_async()
    assert inspect.isawaitable(coroutine)
    assert asyncio.iscoroutine(coroutine)
    assert isinstance(coroutine, collections.abc.Coroutine)
    assert "LiveResponseClient.list_machines_async" in repr(coroutine)
    coroutine.close()


def test_an_unawaited_call_warns_and_sends_nothing(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    with pytest.warns(
        RuntimeWarning,
        match=r"coroutine 'LiveResponseClient\.list_machines_async' was never awaited",
    ):
        client.list_machines_async()  # type: ignore[unused-coroutine]
    assert client.get_machine(MACHINE).computer_dns_name == MACHINE
    assert len(requests_of(emulator, "machines")) == 1


def test_a_warning_turned_into_an_error_is_unraisable(
    client: LiveResponseClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda info: reported.append(info.exc_value))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        client.list_machines_async()  # type: ignore[unused-coroutine]
        gc.collect()
    assert ["never awaited" in str(error) for error in reported] == [True]


def test_awaiting_twice_is_an_error(client: LiveResponseClient) -> None:
    async def main() -> None:
        coroutine = client.list_machines_async()
        await coroutine
        with pytest.raises(RuntimeError, match="already awaited"):
            await coroutine

    asyncio.run(main())


def test_without_a_loop_it_is_an_error(client: LiveResponseClient) -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        client.list_machines_async().send(None)


def test_closing_an_unstarted_coroutine_does_not_warn(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    coroutine = client.list_machines_async()
    coroutine.close()
    coroutine.close()
    with pytest.raises(RuntimeError, match="already awaited"):
        coroutine.send(None)
    del coroutine
    gc.collect()
    assert not emulator.requests


@pytest.mark.parametrize("thrown", [KeyError, KeyError("why")])
def test_throwing_into_an_unstarted_coroutine(
    thrown: Any, emulator: Emulator, client: LiveResponseClient
) -> None:
    coroutine = client.list_machines_async()
    with pytest.raises(KeyError):
        coroutine.throw(thrown)
    with pytest.raises(RuntimeError, match="already awaited"):
        coroutine.send(None)
    assert not emulator.requests


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


def test_a_failed_call_of_a_batch_does_not_affect_the_others(client: LiveResponseClient) -> None:
    def stop() -> str:
        raise StopIteration

    async def main(broken: LiveResponseClient) -> list[Any]:
        calls = [one.list_machines_async() for one in (broken, client) for _ in range(20)]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    broken = LiveResponseClient(stop, endpoint="http://127.0.0.1:9")
    results = asyncio.run(asyncio.wait_for(main(broken), 30))
    assert [type(result) for result in results] == [RuntimeError] * 20 + [tuple] * 20


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


def test_an_abandoned_call_is_collected(emulator: Emulator, client: LiveResponseClient) -> None:
    class Mine:
        pass

    import weakref

    marks: list[weakref.ref[Mine]] = []

    def abandon() -> None:
        mine = Mine()
        marks.append(weakref.ref(mine))
        coroutine = client.run_async(
            MACHINE, RUN_SCRIPT, "why", on_update=lambda _: print(mine, holder)
        )
        holder = [coroutine]
        coroutine.close()

    abandon()
    gc.collect()
    assert marks[0]() is None


def test_many_at_once(client: LiveResponseClient, emulator: Emulator) -> None:
    async def main() -> None:
        session = await client.submit_async(MACHINE, RUN_SCRIPT, "why")
        await session.refresh_async()
        for _ in range(pick_count(3, 100)):
            actions = await asyncio.gather(
                *(session.refresh_async(max_age=1e9) for _ in range(1000))
            )
            assert {action.id for action in actions} == {session.id}

    asyncio.run(main())


def test_a_blocking_call_in_a_loop_does_not_wait_for_it(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    async def main() -> None:
        task = asyncio.create_task(client.list_machines_async())
        await asyncio.sleep(0)
        assert len(client.list_machines()) == 3
        assert len(await task) == 3

    asyncio.run(main())


def test_closing_a_client_inside_its_with_block(emulator: Emulator) -> None:
    async def main() -> None:
        async with emulator.client() as client:
            client.close()
        with emulator.client() as client:
            client.close()

    asyncio.run(main())
