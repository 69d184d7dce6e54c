"""The rows of the table, each with its goal."""

from collections.abc import Callable
from dataclasses import dataclass

import idle
import lists
import reads
import sessions


@dataclass
class Row:
    name: str
    unit: str
    contenders: dict
    goal: str
    #: Returns the largest median of the first contender that meets the goal.
    limit: Callable[[dict], float]
    #: Why the goal is missed, if it is.
    reason: str = ""


def _blocking(medians):
    return min(
        medians["pyreqwest"], medians["requests"] / 10, medians.get("reqwest alone", 1e9) * 2
    )


def _fastest_list(medians):
    return min(value for name, value in medians.items() if name != "ours")


ROWS = [
    Row(
        "blocking status read, CPU",
        "us",
        reads.BLOCKING,
        "under pyreqwest, a tenth of requests, 2.0 x reqwest alone",
        _blocking,
        "a call passes the limits, the token cache and the retry policy, and its connection "
        "belongs to another thread, which costs a hand-over in each direction",
    ),
    Row(
        "asyncio status read, 50 in flight, CPU",
        "us",
        reads.ASYNCIO,
        "half of aiohttp",
        lambda medians: medians["aiohttp"] / 2,
        "a task, a future and a wake-up of the event loop for each call take most of it",
    ),
    Row(
        "list of 10,000 actions, CPU",
        "ms",
        lists.CPU,
        "the fastest",
        _fastest_list,
        "each field is checked and tolerates what the service may change; msgspec reads six "
        "fields and leaves the commands as dictionaries",
    ),
    Row(
        "the same, longest wait of another thread",
        "ms",
        lists.STALL,
        "5",
        lambda _: 5.0,
        "the objects are made and the old ones freed while the GIL is held",
    ),
    Row("idle client, memory", "KB", idle.MEMORY, "20", lambda _: 20.0),
    Row("idle client, CPU to make one", "ms", idle.TIME, "0.2", lambda _: 0.2),
    Row("import, CPU", "ms", idle.IMPORT, "1.5", lambda _: 1.5, "loading the shared library"),
    Row(
        "session: submit, poll, result, CPU",
        "ms",
        sessions.CPU,
        "half of requests",
        lambda medians: medians["requests, by hand"] / 2,
        "the intent, its lease, the tag and the admission are what makes it run once",
    ),
    Row(
        "lag of a loop with 10,000 waits, p99",
        "ms",
        sessions.LAG_P99,
        "idle + 5",
        lambda medians: medians["no wait"] + 5,
    ),
    Row(
        "the same, worst",
        "ms",
        sessions.LAG_WORST,
        "idle + 20",
        lambda medians: medians["no wait"] + 20,
        "every wait gets its update in the same moment",
    ),
]
