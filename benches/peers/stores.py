"""What one admission costs the caller while eight processes share a store."""

import os
import subprocess


def admission(store):
    """Return the mean microseconds, as the Rust program that `make peers` built measures it."""

    def measure(_):
        command = [os.environ["STORE_BENCH"], "shared", store]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        (line,) = [line for line in out.splitlines() if line.startswith(store)]
        return float(line.split()[-3])

    return {"ours": measure}
