"""Measures microseconds per await of a call that sends nothing, in a gather of 1,000.

For comparison: asyncio's own awaitables.
"""

import asyncio
import time
from statistics import median

from mde_live_response import Command, Limits, Rate
from mde_live_response.emulator import Emulator

CONCURRENCY, ROUNDS = 1000, 30


async def per_await(make):
    took = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        await asyncio.gather(*(make() for _ in range(CONCURRENCY)))
        took.append((time.perf_counter() - started) / CONCURRENCY * 1e6)
    return median(took), max(took)


async def main():
    loop = asyncio.get_running_loop()
    with Emulator(limits=Limits(read=[Rate(1_000_000, 60.0)])) as emulator:
        emulator.add_library_file("a.ps1")
        client = emulator.client()
        session = await client.submit_async(
            "ws-0001.example.test", Command.run_script("a.ps1"), "bench"
        )
        await session.refresh_async()
        for name, make in {
            "refresh_async(max_age=1e9), without a request": lambda: session.refresh_async(
                max_age=1e9
            ),
            "asyncio.sleep(0)": lambda: asyncio.sleep(0),
            "run_in_executor(None, int)": lambda: loop.run_in_executor(None, int),
        }.items():
            middle, worst = await per_await(make)
            print(
                f"{middle:8.1f} us per await, {worst:8.1f} in the worst of {ROUNDS} rounds: {name}"
            )
        started = time.perf_counter()
        for _ in range(1000):
            session.refresh(max_age=1e9)
        print(f"{(time.perf_counter() - started) * 1e3:8.1f} us per blocking call of the same")
        await session.refresh_async()
        started = time.perf_counter()
        for _ in range(20):
            emulator.client()
        print(f"{(time.perf_counter() - started) / 20 * 1e3:8.1f} ms to create a client")


asyncio.run(main())
