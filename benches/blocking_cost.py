"""Measures the CPU time of waiting blocking calls, in percent of a core. Goal: 0.2 for one call.

For comparison: the same number of sleeping threads.
"""

import os
import subprocess
import sys
import threading
import time

from mde_live_response import Limits, LiveResponseClient, Rate

SECONDS = float(os.environ.get("BENCH_SECONDS", "20"))
SERVE = """
import json, sys
from mde_live_response.emulator import Emulator
with Emulator() as emulator:
    emulator.fault("GET", "machines", "delay", seconds=3600.0, times=1000)
    print(json.dumps(dict(emulator.env)), flush=True)
    sys.stdin.read()
"""


def measure(work, threads, on_main):
    """Print the percentage of a core that this process uses with `threads` threads in `work`."""
    for _ in range(threads - on_main):
        threading.Thread(target=work, daemon=True).start()
    cost = []

    def watch():
        time.sleep(1.0)
        cpu, wall = time.process_time(), time.monotonic()
        time.sleep(SECONDS)
        cost.append((time.process_time() - cpu) / (time.monotonic() - wall))
        os.write(1, f"{cost[0] * 100:.3f}\n".encode())
        os._exit(0)

    if on_main:
        threading.Thread(target=watch).start()
        work()
    watch()


def in_child(threads, kind, env):
    done = subprocess.run(
        [sys.executable, __file__, str(threads), kind],
        env={**os.environ, **env},
        capture_output=True,
        check=True,
    )
    return float(done.stdout)


def main():
    import json

    if len(sys.argv) == 3:
        threads, kind = int(sys.argv[1]), sys.argv[2]
        limits = Limits(read=[Rate(100_000, 60.0)])
        client = LiveResponseClient(limits=limits, max_wait=1e6, request_timeout=1e6)
        work = client.list_machines if kind == "call" else lambda: time.sleep(1e6)
        measure(work, threads, on_main=True)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    env = json.loads(server.stdout.readline())
    print(
        f"percent of a core over {SECONDS:.0f} s; "
        "one of the threads is the main thread, which checks for signals"
    )
    for threads in (1, 10, 100):
        call, sleep = in_child(threads, "call", env), in_child(threads, "sleep", env)
        print(f"{threads:4} in calls: {call:.3f} %   {threads:4} sleeping: {sleep:.3f} %")
    server.stdin.close()
    server.wait()


main()
