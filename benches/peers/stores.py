"""What one admission costs the caller while eight processes share a store."""

import os
import subprocess

#: The least that any store of this kind needs.
FLOORS = {"sqlite": "one UPDATE alone", "redis": "one PING alone"}


def admission(store):
    """Return contenders that measure the mean microseconds, with the program of `make peers`."""
    return {"ours": _mean(store), FLOORS[store]: _mean(f"floor {store}")}


def _mean(kind):
    def measure(_):
        command = [os.environ["STORE_BENCH"], "shared", kind]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        (line,) = [line for line in out.splitlines() if line.startswith(kind)]
        return float(line.split()[-3])

    return measure
