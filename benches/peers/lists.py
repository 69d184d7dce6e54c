"""A list of 10,000 actions, from HTTP to objects, and how long another thread has to wait."""

import threading
import time
import urllib.request
from statistics import median

from common import bearer, cpu_per_call, our_client

COUNT = 8


def decoder_of_json():
    import json

    return json.loads


def decoder_of_orjson():
    import orjson

    return orjson.loads


def decoder_of_msgspec():
    import msgspec

    class Action(msgspec.Struct, rename="camel"):
        id: str
        type: str
        status: str
        machine_id: str
        creation_date_time_utc: str
        commands: list

    class Page(msgspec.Struct):
        value: list[Action]

    return msgspec.json.Decoder(Page).decode


def by_urllib(there, decode):
    address = f"{there['page_url']}/api/machineactions"
    request = urllib.request.Request(address, headers=bearer(there))

    def call():
        with urllib.request.urlopen(request) as answer:
            return decode(answer.read())

    return call


def by_us(there):
    return our_client(there, "page_url").list_machine_actions


def cpu(call):
    """Return milliseconds of CPU per list."""
    return cpu_per_call(call, COUNT, warm_up=2) / 1e3


def stall(call):
    """Return the longest wait of another thread for the GIL, in ms: the median of the lists."""
    ended, worst = threading.Event(), [0.0]

    def tick():
        while not ended.is_set():
            started = time.perf_counter()
            time.sleep(0.0005)
            worst[0] = max(worst[0], time.perf_counter() - started - 0.0005)

    ticker = threading.Thread(target=tick)
    ticker.start()
    call()
    stalls = []
    for _ in range(COUNT):
        worst[0] = 0.0
        # The old list is freed while the new one is made, as in a program that polls.
        kept = call()
        stalls.append(worst[0])
    del kept
    ended.set()
    ticker.join()
    return median(stalls) * 1e3


def contenders(measure):
    return {
        "ours": lambda there: measure(by_us(there)),
        "urllib, json": lambda there: measure(by_urllib(there, decoder_of_json())),
        "urllib, orjson": lambda there: measure(by_urllib(there, decoder_of_orjson())),
        "urllib, msgspec": lambda there: measure(by_urllib(there, decoder_of_msgspec())),
    }


def dicts(there):
    """Return milliseconds of CPU to make a dict of each action of the list."""
    actions = by_us(there)()
    return cpu_per_call(lambda: [action.to_dict() for action in actions], COUNT, warm_up=2) / 1e3


CPU, STALL, TO_DICT = contenders(cpu), contenders(stall), {"ours": dicts}
