"""Clients that do nothing: their memory, and the time to make one. And the import."""

import asyncio
import resource
import subprocess
import sys
import time
from pathlib import Path

from common import bearer, our_client

COUNT, IMPORTS = 200, 20


def resident():
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize() / 1024


def each(make):
    """Return kilobytes and milliseconds of one more client, while others exist."""
    first = make()
    before, started = resident(), time.process_time()
    kept = [make() for _ in range(COUNT)]
    took = (time.process_time() - started) / COUNT * 1e3
    grown = (resident() - before) / COUNT
    del first, kept
    return grown, took


def of_requests(_):
    import requests

    return each(requests.Session)


def of_httpx(there):
    import httpx

    return each(lambda: httpx.Client(headers=bearer(there)))


def of_aiohttp(_):
    import aiohttp

    async def measure():
        sessions = []

        def make():
            sessions.append(aiohttp.ClientSession())
            return sessions[-1]

        measured = each(make)
        await asyncio.gather(*(session.close() for session in sessions))
        return measured

    return asyncio.run(measure())


def of_pyreqwest(_):
    from pyreqwest.client import SyncClientBuilder

    return each(lambda: SyncClientBuilder().build())


def of_ours(there):
    return each(lambda: our_client({**there, "url": "https://api.example.test"}))


CLIENTS = {
    "ours": of_ours,
    "requests": of_requests,
    "httpx": of_httpx,
    "aiohttp": of_aiohttp,
    "pyreqwest": of_pyreqwest,
}
MEMORY = {name: lambda there, of=of: of(there)[0] for name, of in CLIENTS.items()}
TIME = {name: lambda there, of=of: of(there)[1] for name, of in CLIENTS.items()}


def cpu_of(code):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def import_of(module):
    """Return the milliseconds of CPU that an import adds to the bare interpreter."""

    def measure(_):
        pairs = [(cpu_of(f"import {module}"), cpu_of("pass")) for _ in range(IMPORTS)]
        return sum(imported - bare for imported, bare in pairs) / IMPORTS

    return measure


IMPORT = {
    name: import_of(module)
    for name, module in {
        "ours": "mde_live_response",
        "requests": "requests",
        "httpx": "httpx",
        "aiohttp": "aiohttp",
        "pyreqwest": "pyreqwest.client",
    }.items()
}
