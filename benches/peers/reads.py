"""Reads of one status: blocking, and with asyncio while 50 are in flight."""

import asyncio
import os
import subprocess

from common import bearer, cpu_per_await, cpu_per_call, our_client

COUNT, IN_FLIGHT = 2000, 50


def with_requests(there):
    import requests

    session = requests.Session()
    session.headers.update(bearer(there))
    return cpu_per_call(lambda: session.get(there["action_url"]).json(), COUNT)


def with_httpx(there):
    import httpx

    client = httpx.Client(headers=bearer(there))
    return cpu_per_call(lambda: client.get(there["action_url"]).json(), COUNT)


def with_pyreqwest(there):
    from pyreqwest.client import SyncClientBuilder

    client = SyncClientBuilder().default_headers(bearer(there)).build()
    return cpu_per_call(lambda: client.get(there["action_url"]).build().send().json(), COUNT)


def with_bare_reqwest(there):
    """Measure reqwest in a Rust program of one thread, which `make bench` has built."""
    program = os.environ["BARE_REQWEST"]
    env = {"URL": there["action_url"], "TOKEN": there["token"], "COUNT": str(COUNT)}
    return float(subprocess.run([program], env=env, capture_output=True, check=True).stdout)


def with_ours(there):
    client = our_client(there)
    return cpu_per_call(lambda: client.get_machine_action(there["action_id"]), COUNT)


BLOCKING = {
    "ours": with_ours,
    "requests": with_requests,
    "httpx": with_httpx,
    "pyreqwest": with_pyreqwest,
    "reqwest alone": with_bare_reqwest,
}


async def await_httpx(there):
    import httpx

    async with httpx.AsyncClient(headers=bearer(there)) as client:

        async def call():
            (await client.get(there["action_url"])).json()

        return await cpu_per_await(call, COUNT, IN_FLIGHT)


async def await_aiohttp(there):
    import aiohttp

    async with aiohttp.ClientSession(headers=bearer(there)) as session:

        async def call():
            async with session.get(there["action_url"]) as answer:
                await answer.json()

        return await cpu_per_await(call, COUNT, IN_FLIGHT)


async def await_pyreqwest(there):
    from pyreqwest.client import ClientBuilder

    async with ClientBuilder().default_headers(bearer(there)).build() as client:

        async def call():
            await (await client.get(there["action_url"]).build().send()).json()

        return await cpu_per_await(call, COUNT, IN_FLIGHT)


async def await_ours(there):
    async with our_client(there) as client:
        call = client.get_machine_action_async
        return await cpu_per_await(lambda: call(there["action_id"]), COUNT, IN_FLIGHT)


def in_loop(measure):
    return lambda there: asyncio.run(measure(there))


ASYNCIO = {
    "ours": in_loop(await_ours),
    "httpx": in_loop(await_httpx),
    "aiohttp": in_loop(await_aiohttp),
    "pyreqwest": in_loop(await_pyreqwest),
}
