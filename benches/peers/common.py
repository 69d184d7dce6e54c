"""What the rows share: our client, and the cost of a call."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


@contextlib.contextmanager
def serving():
    """Start the server, and yield where it listens."""
    command = [sys.executable, HERE / "server.py"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield json.loads(server.stdout.readline())
        server.stdin.close()


def our_client(there, url="url"):
    from mde_live_response import Limits, LiveResponseClient, Rate

    many = [Rate(1_000_000, 60.0)]
    limits = Limits(submit=many, read=many, sessions=100_000, queue_time=7.2, script_time=0.6)
    return LiveResponseClient(there["token"], endpoint=there[url], limits=limits)


def bearer(there):
    return {"Authorization": f"Bearer {there['token']}"}


def cpu_per_call(call, count, warm_up=50):
    """Return the microseconds of CPU, of all threads, that one call takes."""
    for _ in range(warm_up):
        call()
    started = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - started) / count * 1e6


async def cpu_per_await(call, count, in_flight):
    """Return the microseconds of CPU per call while `in_flight` tasks call one after the other."""

    async def work(count):
        for _ in range(count):
            await call()

    async def run(count):
        await asyncio.gather(*(work(count // in_flight) for _ in range(in_flight)))

    await run(in_flight * 4)
    started = time.process_time()
    await run(count)
    return (time.process_time() - started) / count * 1e6
