"""Triage of many machines on a Dask cluster: one task starts a session, another one collects it.

What passes between the tasks is JSON. If a worker dies, Dask runs its tasks again on another one,
which finds the sessions by their correlation id.

    from dask.distributed import Client
    results = Client("scheduler:8786").gather(triage(Client.current(), machines, "case 42"))
"""

from functools import cache
from typing import Any

from dask.distributed import Client, Future, secede

from mde_live_response import Command, LiveResponseClient

# One client for a process: its sessions share one poll.
connect = cache(LiveResponseClient)


def start(machine: str, case: str) -> dict[str, Any]:
    """Start the script on the machine."""
    command = Command.run_script("triage.ps1")
    session = connect().submit(machine, command, case, correlation_id=case, on_busy="wait")
    return session.to_dict()


def collect(handle: dict[str, Any]) -> dict[str, Any]:
    """Wait for the end of the session, and return its result."""
    # This task only waits: others may use its place.
    secede()
    return connect().session(handle["id"]).result().to_dict()


def triage(dask: Client, machines: list[str], case: str) -> list[Future[Any]]:
    """Return one future for each machine."""
    return dask.map(collect, dask.map(start, machines, case=case))
