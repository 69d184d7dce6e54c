"""The async methods return coroutines. Ending one aborts its request, except a submit's POST."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import inspect
import sys
import threading
import warnings
from typing import Any

import pytest
from asyncio_helpers import Runner, each_loop
from runtime_helpers import (
    MACHINE,
    pick_count,
    requests_of,
    wait_until,
    was_closed_by_client,
)

from mde_live_response import Command, LiveResponseClient, NotFoundError
from mde_live_response.emulator import Emulator

RUN_SCRIPT = Command.run_script("a.ps1")


@pytest.fixture
def client(emulator: Emulator) -> LiveResponseClient:
    emulator.on_script("a.ps1", stdout="hello", duration=0.5)
    return emulator.client()


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


def test_a_failed_call_of_a_batch_does_not_affect_the_others(client: LiveResponseClient) -> None:
    def stop() -> str:
        raise StopIteration

    async def main(broken: LiveResponseClient) -> list[Any]:
        calls = [one.list_machines_async() for one in (broken, client) for _ in range(20)]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    broken = LiveResponseClient(stop, endpoint="http://127.0.0.1:9")
    results = asyncio.run(asyncio.wait_for(main(broken), 30))
    assert [type(result) for result in results] == [RuntimeError] * 20 + [tuple] * 20


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
