"""One run over many machines, shared by any number of Celery workers on any number of hosts.

Every task resumes the same run, and the run divides its machines among its workers. If a worker
dies, the others take over its machines, and Celery starts its task again.

    export MDE_LIVE_RESPONSE_STATE=redis://redis:6379/0 CELERY_BROKER_URL=redis://redis:6379/1
    celery -A celery_workers worker --pool solo
"""

# Celery has no types.
# pyright: standard, reportFunctionMemberAccess=false

import os

from celery import Celery, group

from mde_live_response import Command, LiveResponseClient

app = Celery(
    "celery_workers", broker=os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/1")
)


def connect() -> LiveResponseClient:
    """Create a client, with the credentials of the environment."""
    return LiveResponseClient()


@app.task(acks_late=True, reject_on_worker_lost=True)
def work_on(run_id: str) -> None:
    """Work on the run until every machine has an outcome."""
    with connect() as client:
        client.resume(run_id).report()


def start_run(machines: list[str], workers: int) -> str:
    """Store the run, start its workers, and return its id."""
    with connect() as client:
        fleet = client.run_many(machines, Command.run_script("triage.ps1"), "case 42")
        # This process only stores the run: the workers do the rest.
        fleet.close()
    group(work_on.s(fleet.run_id) for _ in range(workers)).delay()
    return fleet.run_id
