"""One worker of a run, which a test may kill.

Usage: `python fleet_worker.py STATE RUN_ID MACHINES SESSIONS`.
"""

from __future__ import annotations

import sys

from mde_live_response import Command, Limits, LiveResponseClient, Rate


def limits(sessions: int) -> Limits:
    """The service's limits, with windows of a second instead of a minute."""
    return Limits(
        submit=[Rate(1000, 1.0)], read=[Rate(2000, 1.0)], sessions=sessions, settle_time=2.0
    )


LIMITS = limits(50)


def main(state: str, run_id: str, machines: int, sessions: int) -> None:
    names = [f"ws-{number:04}.example.test" for number in range(1, machines + 1)]
    with LiveResponseClient(state=state, limits=limits(sessions)) as client:
        fleet = client.run_many(names, Command.run_script("echo.ps1"), "killed", run_id=run_id)
        for outcome in fleet:
            print(outcome.row, outcome.reason, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
