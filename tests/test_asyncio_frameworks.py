"""Frameworks that ask whether a method is a coroutine function, and trio, which is not asyncio."""

from __future__ import annotations

import asyncio
import inspect
import sys
from functools import partial
from typing import Any
from unittest import mock

import pytest

import mde_live_response as mde
from mde_live_response.emulator import Emulator

ASYNC_METHODS = [
    (cls, name)
    for cls in map(partial(getattr, mde), mde.__all__)
    if isinstance(cls, type)
    for name in dir(cls)
    if name.endswith("_async")
]


@pytest.mark.parametrize(("cls", "name"), ASYNC_METHODS)
def test_each_async_method_is_a_coroutine_function(cls: type, name: str) -> None:
    method = getattr(cls, name)
    # Deprecated from 3.14 on.
    if sys.version_info < (3, 14):
        assert asyncio.iscoroutinefunction(method)
    if sys.version_info >= (3, 11):
        assert inspect.iscoroutinefunction(method)
        assert inspect.iscoroutinefunction(partial(method, None))
    assert not inspect.iscoroutinefunction(getattr(cls, name.removesuffix("_async")))
    assert (method.__name__, method.__module__) == (name, "mde_live_response")
    assert method.__qualname__ == f"{cls.__name__}.{name}"
    assert inspect.getdoc(method) == inspect.getdoc(getattr(cls, name.removesuffix("_async")))
    assert next(iter(inspect.signature(method).parameters)) == "self"


def test_there_are_async_methods() -> None:
    assert len(ASYNC_METHODS) > 15
    assert {cls for cls, _ in ASYNC_METHODS} >= {mde.LiveResponseClient, mde.Session, mde.Library}


def test_a_wrong_argument_still_raises_at_the_call(emulator: Emulator) -> None:
    with emulator.client() as client, pytest.raises(TypeError, match="wrong"):
        client.list_machines_async(wrong=1)  # type: ignore[call-arg, unused-coroutine]


def test_autospec_makes_an_async_mock() -> None:
    spec = mock.create_autospec(mde.LiveResponseClient, instance=True)
    spec.get_machine_async.return_value = "machine"
    assert asyncio.run(spec.get_machine_async("ws-0001")) == "machine"
    spec.get_machine.return_value = "machine"
    assert spec.get_machine("ws-0001") == "machine"
    with pytest.raises(TypeError):
        spec.get_machine_async()


def test_starlette_awaits_a_background_task(emulator: Emulator) -> None:
    background = pytest.importorskip("starlette.background")
    with emulator.client() as client:
        asyncio.run(background.BackgroundTask(client.list_machines_async)())
        assert emulator.counters["machines"] == 1


def test_tenacity_retries(emulator: Emulator) -> None:
    tenacity = pytest.importorskip("tenacity")
    retry = tenacity.retry(
        stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_none(), reraise=True
    )
    with emulator.client() as client:

        async def call(action_id: str) -> mde.MachineAction:
            return await client.get_machine_action_async(action_id)

        # tenacity asks `inspect`, which on Python 3.10 knows nothing but an `async def`.
        method = client.get_machine_action_async if sys.version_info >= (3, 11) else call
        with pytest.raises(mde.NotFoundError):
            asyncio.run(retry(method)("0" * 8 + "-0000" * 3 + "-" + "0" * 12))
    refused = [request for request in emulator.requests if request["status"] == 404]
    assert len(refused) == 3


def test_apscheduler_awaits_a_job(emulator: Emulator) -> None:
    events = pytest.importorskip("apscheduler.events")
    asyncio_scheduler = pytest.importorskip("apscheduler.schedulers.asyncio")

    async def main(client: mde.LiveResponseClient) -> None:
        scheduler = asyncio_scheduler.AsyncIOScheduler()
        scheduler.start()
        scheduler.add_job(client.list_machines_async)
        done = asyncio.Event()
        scheduler.add_listener(lambda _: done.set(), events.EVENT_JOB_EXECUTED)
        await done.wait()
        assert emulator.counters["machines"] == 1
        scheduler.shutdown()

    with emulator.client() as client:
        asyncio.run(asyncio.wait_for(main(client), 20))


def test_trio_gets_an_error_that_says_that_asyncio_is_needed(emulator: Emulator) -> None:
    trio = pytest.importorskip("trio")
    with emulator.client() as client:

        async def main() -> Any:
            with pytest.raises(RuntimeError, match=r"need asyncio.*trio\.to_thread"):
                await client.list_machines_async()
            return await trio.to_thread.run_sync(client.list_machines)

        assert len(trio.run(main)) == 3
