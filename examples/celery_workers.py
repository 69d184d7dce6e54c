"""One run over many machines, by as many Celery workers as there are, on as many hosts.

Every task goes on with the same run, and the run splits its machines among those that are at it. A worker that dies
leaves its machines to the others, and its task to whoever Celery gives it to next.

    export MDE_LIVE_RESPONSE_STATE=redis://redis:6379/0 CELERY_BROKER_URL=redis://redis:6379/1
    celery -A celery_workers worker --pool solo
"""

import os

from celery import Celery, group

from mde_live_response import Command, LiveResponseClient

app = Celery(
    "celery_workers", broker=os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/1")
)


def connect() -> LiveResponseClient:
    """A client of the tenant, by the environment."""
    return LiveResponseClient()


@app.task(acks_late=True, reject_on_worker_lost=True)
def work_on(run_id: str) -> None:
    """Works at the run until each of its machines has an outcome, whoever brought it."""
    with connect() as client:
        client.resume(run_id).report()


def start_run(machines: list[str], workers: int) -> str:
    """Writes the run down, gives it to so many workers, and returns its id."""
    with connect() as client:
        fleet = client.run_many(machines, Command.run_script("triage.ps1"), "case 42")
        fleet.close()
    group(work_on.s(fleet.run_id) for _ in range(workers)).delay()
    return fleet.run_id
