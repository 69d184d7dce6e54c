"""Measures how long `import mde_live_response` takes, without the interpreter. Goal: 10 ms."""

import os
import subprocess
import sys
import time
from statistics import median

RUNS = int(os.environ.get("BENCH_RUNS", "30"))


def took(code):
    started = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    return (time.perf_counter() - started) * 1e3


def main():
    codes = {"bare": "pass", "import": "import mde_live_response"}
    for code in codes.values():
        took(code)
    runs = {name: [] for name in codes}
    for _ in range(RUNS):
        for name, code in codes.items():
            runs[name].append(took(code))
    bare, imported = median(runs["bare"]), median(runs["import"])
    print(f"bare {bare:.1f} ms, with the import {imported:.1f} ms ({RUNS} runs each)")
    print(f"the import: {imported - bare:.1f} ms; goal 10 ms")
    inside = (
        "import time; t = time.perf_counter(); import mde_live_response; "
        "print((time.perf_counter() - t) * 1e3)"
    )
    own = [
        float(
            subprocess.run(
                [sys.executable, "-I", "-c", inside], check=True, capture_output=True
            ).stdout
        )
        for _ in range(RUNS)
    ]
    print(f"measured inside the interpreter: {median(own):.1f} ms")


main()
