"""The rows of the table, each with its goal."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import idle
import lists
import reads
import sessions
import stores
import transfers

DIST = Path(__file__).resolve().parents[2] / "dist"


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
    #: Which figure of the contenders counts, if they return several.
    part: int | None = None
    #: At most as many rounds, because each takes long.
    rounds: int = 100


def _blocking(medians):
    return min(
        medians["pyreqwest"], medians["requests"] / 10, medians.get("reqwest alone", 1e9) * 2
    )


def _first_of_others(medians):
    return min(value for name, value in medians.items() if name != "ours")


def _wheel(_):
    """Return the megabytes of the wheel that is measured."""
    newest = max(DIST.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    return newest.stat().st_size / 1e6


def _transfer(way, contenders):
    """Return the rows of a download: the time, and the CPU."""
    return [
        Row(
            f"1 GiB {way}, {figure}",
            "s",
            contenders,
            "the first",
            _first_of_others,
            "all of them inflate and hash each byte, which takes most of it. Tried: zlib-rs in "
            "place of miniz_oxide, and these crates built for speed, which halved it",
            part=part,
            rounds=3,
        )
        for part, figure in enumerate(("time", "CPU"))
    ]


ROWS = [
    Row(
        "blocking status read, CPU",
        "us",
        reads.BLOCKING,
        "under pyreqwest, a tenth of requests, 2.0 x reqwest alone",
        _blocking,
        "a call passes the limits, the token cache and the retry policy, and a worker thread does "
        "its I/O, which costs a hand-over in each direction. Tried: the caller polls its own call; "
        "then the two threads wake each other for each step, and it cost more. A connection that "
        "each caller drives itself would need a pool for each thread",
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
        _first_of_others,
        "each field is checked and tolerates what the service may change; msgspec reads six "
        "fields and leaves the commands as dictionaries",
    ),
    Row(
        "the same, longest wait of another thread",
        "ms",
        lists.STALL,
        "5",
        lambda _: 5.0,
        "the objects are made while the GIL is held",
    ),
    Row(
        "to_dict of all 10,000",
        "ms",
        lists.TO_DICT,
        "60",
        lambda _: 60.0,
        "two fifths are Python's garbage collector, which looks through the new dicts again and "
        "again. Tried: keys that are made once, and dicts that have their full size from the start",
    ),
    Row("idle client, memory", "KB", idle.MEMORY, "20", lambda _: 20.0),
    Row(
        "idle client, CPU to make one",
        "ms",
        idle.TIME,
        "0.2",
        lambda _: 0.2,
        "the times of the certificate files are read, so that a new client notices new ones",
    ),
    Row(
        "import, CPU",
        "ms",
        idle.IMPORT,
        "1.5",
        lambda _: 1.5,
        "the shared library is mapped, 80 types are made of it, and five modules in Python are "
        "loaded. Tried: these need no module but types that a bare interpreter has not loaded",
    ),
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
    *(row for way, contenders in transfers.WAYS.items() for row in _transfer(way, contenders)),
    Row(
        "one admission, SQLite, 8 processes at 50 a second",
        "us",
        stores.admission("sqlite"),
        "300",
        lambda _: 300.0,
        "an admission reads and writes several tables under the file's lock, for which eight "
        "processes on two cores wait; the end of a call is written with the next admission, and "
        "each statement is compiled once",
        rounds=3,
    ),
    Row(
        "one admission, Redis, 8 processes at 50 a second",
        "us",
        stores.admission("redis"),
        "200",
        lambda _: 200.0,
        "what a PING leaves of the goal is less than the script that decides takes, in a server "
        "that shares two cores with eight processes; a smaller script was tried",
        rounds=3,
    ),
    Row(
        "wheel",
        "MB",
        {"ours": _wheel},
        "4.0",
        lambda _: 4.0,
        "the emulator is in it, with its control, its login and its TLS",
        rounds=1,
    ),
]
