"""Runs the Dask example on a real cluster of processes. One worker is killed.

Prints the results as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

import dask_triage
from dask.distributed import Client


def main(machines: list[str]) -> None:
    # Without an address, the client starts a cluster of its own.
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        # Type checkers take what it returns for coroutines.
        dask: Any = client
        futures = dask_triage.triage(dask, machines, "case-42")
        # Each worker has started sessions by then, and waits for them.
        while not all(len(tasks) >= 2 for tasks in dask.has_what().values()):
            time.sleep(0.05)
        # The waits take no place of the workers.
        assert dask.submit(pow, 2, 3).result() == 8
        assert not any(future.done() for future in futures)
        pids = dask.run(os.getpid)
        os.kill(next(iter(pids.values())), signal.SIGKILL)
        results = dask.gather(futures)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
