"""Run a local script on every machine with a tag, and read all answers as one table.

The script is `triage.ps1` in this folder. Nothing has to be in the library before.

    python triage_to_dataframe.py
"""

from pathlib import Path

import polars

from mde_live_response import Command, LiveResponseClient

SCRIPT = Path(__file__).with_name("triage.ps1")


def triage(client: LiveResponseClient) -> tuple[polars.DataFrame, polars.DataFrame]:
    """Return what the machines printed, and how each row of the run ended."""
    machines = client.list_machines(tag="case-42")
    report = client.run_many(machines, Command.run_local(SCRIPT), "case 42: triage").report()
    found = polars.DataFrame(report.records(), infer_schema_length=None)
    return found, polars.DataFrame(report.to_columns())


if __name__ == "__main__":
    with LiveResponseClient() as client:
        found, rows = triage(client)
    print(found)
    print(rows.select("machine", "reason", "message").filter(polars.col("reason") != "ok"))
