"""Reads a status a number of times with blocking calls, for `tools/counts.py` to count them.

`blocking_call.py serve` runs the emulator and prints where it listens. `blocking_call.py ROUNDS`
reads from it.
"""

import json
import logging
import os
import sys

from mde_live_response import Command, Limits, LiveResponseClient, Rate

LIMITS = Limits(submit=[Rate(1_000_000, 60.0)], read=[Rate(1_000_000, 60.0)])


# Most programs use it, and then each call asks it for its level.
logging.getLogger(__name__)


def serve():
    from mde_live_response.emulator import Emulator

    # A fast clock ends the session at once.
    with Emulator(limits=LIMITS, speed=1000.0) as emulator:
        emulator.add_library_file("a.ps1")
        result = emulator.client().run("ws-0001.example.test", Command.run_script("a.ps1"), "count")
        there = {"ENDPOINT": emulator.url, "TOKEN": emulator.token, "ACTION": result.action.id}
        print(json.dumps(there), flush=True)
        sys.stdin.read()


def read(rounds):
    endpoint, token, action = (os.environ[name] for name in ("ENDPOINT", "TOKEN", "ACTION"))
    with LiveResponseClient(token, endpoint=endpoint, limits=LIMITS) as client:
        for _ in range(rounds):
            client.get_machine_action(action)


if sys.argv[1] == "serve":
    serve()
else:
    read(int(sys.argv[1]))
