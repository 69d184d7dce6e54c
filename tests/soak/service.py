"""The emulator of one worker, in a process of its own.

It keeps every session, as the service does, so its memory must not count. It prints the
environment of its clients, and once its input ends, what it has counted.
"""

from __future__ import annotations

import json
import sys
from collections import Counter

from mde_live_response import Limits, Rate
from mde_live_response.emulator import Emulator

SPEED = 1000.0
FAULT_RATE = 0.003
"""Three calls in a thousand fail: about one session in forty meets a fault."""
FAULT_KINDS = ["status", "drop_before", "drop_unread", "drop_after", "truncate"]
"""Without `garble`: results have no checksum. If it hits the first bytes of one, no client can see
that it is not what the device sent."""
LIMITS = Limits(
    submit=[Rate(1_000_000, 60.0)], read=[Rate(1_000_000, 60.0)], sessions=100, settle_time=120.0
)
"""Wide enough that no call waits: how calls wait has its own tests."""

LANES = 4
LANE_MACHINES = 6
SCRIPT, SLOW_SCRIPT = "soak.ps1", "slow.ps1"
REMOTE = "C:\\Temp\\soak.bin"
CONTENT = bytes(range(256)) * 256


def main() -> None:
    runs: Counter[str] = Counter()

    def run(machine: str, args: str | None) -> str:
        runs[f"{args} {machine}"] += 1
        return f"did {args}"

    emulator = Emulator(
        machines=LANES * LANE_MACHINES,
        limits=LIMITS,
        speed=SPEED,
        seed=int(sys.argv[1]),
        switches={"fault_rate": FAULT_RATE, "fault_kinds": FAULT_KINDS, "log_size": 100},
    )
    with emulator:
        emulator.on_script(SCRIPT, stdout=run, duration=1.0)
        emulator.on_script(SLOW_SCRIPT, stdout=run, duration=400.0)
        emulator.put_remote_file("*", REMOTE, CONTENT)
        print(json.dumps(dict(emulator.env)), flush=True)
        sys.stdin.read()
        counters = emulator.counters
        counted = {
            "ran": len(runs),
            "twice": sum(count > 1 for count in runs.values()),
            "requests": sum(n for name, n in counters.items() if not name.startswith("polls:")),
            "broken_limits": sum(emulator.violations.values()),
        }
    print(json.dumps(counted), flush=True)


if __name__ == "__main__":
    main()
