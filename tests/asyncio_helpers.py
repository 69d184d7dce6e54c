"""Every kind of event loop that the asynchronous tests run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from runtime_helpers import is_pending, wait_until

from mde_live_response.emulator import Emulator


def run_on_asyncio(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


def run_in_debug_mode(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main, debug=True)


def run_on_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    try:
        uvloop = pytest.importorskip("uvloop", reason="uvloop is not made for this platform")
    except pytest.skip.Exception:
        # Otherwise it warns in a later test that it was never awaited.
        main.close()
        raise
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


each_loop = pytest.mark.parametrize("run", [run_on_asyncio, run_in_debug_mode, run_on_uvloop])
Runner = Callable[[Coroutine[Any, Any, Any]], Any]


async def wait_until_pending(emulator: Emulator, route: str) -> None:
    await asyncio.to_thread(wait_until, lambda: is_pending(emulator, route), f"the {route} call")
