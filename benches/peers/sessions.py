"""One whole session: submit, poll until the end, fetch the result. And many waits in one loop."""

import asyncio
import time

from common import bearer, cpu_per_call, our_client

COUNT, WAITS, SECONDS = 100, 10_000, 8.0
SCRIPT = "a.ps1"
PAUSE = 0.005


def machines():
    """Return another machine for each session, over and over."""
    at = 0
    while True:
        at = at % 200 + 1
        yield f"ws-{at:04}.example.test"


def with_requests(there):
    """Do by hand what a session needs, without limits, retries, or proof of the action."""
    import requests

    http = requests.Session()
    http.headers.update(bearer(there))
    api = there["url"] + "/api"
    listed = http.get(api + "/machines").json()["value"]
    ids = {machine["computerDnsName"]: machine["id"] for machine in listed}
    names = machines()
    parameters = [{"key": "ScriptName", "value": SCRIPT}]
    body = {"Commands": [{"type": "RunScript", "params": parameters}], "Comment": "bench"}

    def call():
        target = f"{api}/machines/{ids[next(names)]}/runliveresponse"
        action = http.post(target, json=body).json()
        url = f"{api}/machineactions/{action['id']}"
        while action["status"] in ("Pending", "InProgress"):
            time.sleep(PAUSE)
            action = http.get(url).json()
        link = http.get(f"{url}/GetLiveResponseResultDownloadLink(index=0)").json()["value"]
        assert requests.get(link).json()["exit_code"] == 0

    return cpu_per_call(call, COUNT, warm_up=5) / 1e3


def with_ours(there):
    from mde_live_response import Command

    client, names = our_client(there), machines()

    def call():
        client.run(next(names), Command.run_script(SCRIPT), "bench").raise_for_status()

    return cpu_per_call(call, COUNT, warm_up=5) / 1e3


CPU = {"ours": with_ours, "requests, by hand": with_requests}


async def lags(seconds):
    """Return how much later than asked for a task of the loop ran, in ms, sorted."""
    late, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        asked = time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        late.append((time.perf_counter() - asked) * 1e3)
    return sorted(late)


async def measure_lag(there, waits):
    from mde_live_response import Command
    from mde_live_response.emulator import Emulator

    # At this speed a script of ten minutes takes longer than the measurement.
    with Emulator(machines=50, speed=1.0) as emulator:
        emulator.add_library_file(SCRIPT)
        async with our_client({**there, "url": emulator.url, "token": emulator.token}) as client:
            tasks = []
            if waits:
                session = await client.submit_async(
                    "ws-0001.example.test", Command.run_script(SCRIPT), "bench"
                )
                tasks = [asyncio.ensure_future(session.wait_async()) for _ in range(waits)]
                await asyncio.sleep(1.0)
            late = await lags(SECONDS)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return late


def quantile(waits, share):
    def measure(there):
        late = asyncio.run(measure_lag(there, waits))
        return late[min(int(len(late) * share), len(late) - 1)]

    return measure


LAG_P99 = {f"{WAITS:,} waits": quantile(WAITS, 0.99), "no wait": quantile(0, 0.99)}
LAG_WORST = {f"{WAITS:,} waits": quantile(WAITS, 1.0), "no wait": quantile(0, 1.0)}
