"""Reach every machine with a tag, although some of them are off for days.

The run is in the state store. Any process with the same store finds it and continues it.

    export MDE_LIVE_RESPONSE_STATE=sqlite:///runs.db
    python sweep.py start
    python sweep.py continue     # after a restart, or tomorrow
"""

import sys
from pathlib import Path

import polars

from mde_live_response import Command, Fleet, LiveResponseClient

SCRIPT = Path(__file__).with_name("sweep.ps1")
COMMENT = "case 42: sweep"


def start(client: LiveResponseClient, until: float) -> Fleet:
    """Start the run. A machine that is off is tried again for `until` seconds."""
    machines = client.list_machines(tag="case-42")
    return client.run_many(machines, Command.run_local(SCRIPT), COMMENT, until=until)


def find_again(client: LiveResponseClient, until: float) -> Fleet:
    """Continue the newest run with this comment, whose id nobody wrote down."""
    run = next(run for run in client.list_runs() if run.comment == COMMENT)
    return client.resume(run.run_id, until=until)


if __name__ == "__main__":
    begin = start if sys.argv[1] == "start" else find_again
    with LiveResponseClient() as client:
        report = begin(client, until=3 * 24 * 3600).report()
    print(polars.DataFrame(report.records(), infer_schema_length=None))
    print([(outcome.machine, outcome.reason) for outcome in report if not outcome.ok])
