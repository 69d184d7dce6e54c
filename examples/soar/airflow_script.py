# pyright: standard, reportMissingImports=false
"""An Airflow operator that runs a library script on a machine, and holds no worker meanwhile.

The worker submits the script and defers. The triggerer waits for the end of the session, with one
poll for all its triggers. Then a worker fetches the result. Airflow stores the trigger with the
session's id, so both may restart. If the worker dies after the submit, the next attempt of the task
finds the session by its correlation id.
"""

import uuid
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from mde_live_response import Command, LiveResponseClient

# One client for a process: its sessions share one poll.
connect = cache(LiveResponseClient)


class SessionTrigger(BaseTrigger):
    """Fires when the session has ended."""

    def __init__(self, action_id: str) -> None:
        super().__init__()
        self.action_id = action_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__name__}", {"action_id": self.action_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        action = await connect().session(self.action_id).wait_async()
        yield TriggerEvent({"action_id": action.id})


class LiveResponseScriptOperator(BaseOperator):
    """Runs a script of the live response library. Its result is the task's XCom."""

    template_fields = ("machine", "script", "args", "comment")

    def __init__(
        self, machine: str, script: str, comment: str, args: str | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.machine, self.script, self.comment, self.args = machine, script, comment, args

    def execute(self, context: dict[str, Any]) -> None:
        task = context["ti"]
        name = f"{task.dag_id}/{task.task_id}/{task.run_id}/{task.map_index}"
        session = connect().submit(
            self.machine,
            Command.run_script(self.script, self.args),
            self.comment,
            correlation_id=str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
        )
        self.defer(trigger=SessionTrigger(session.id), method_name="collect")

    def collect(self, _context: dict[str, Any], event: dict[str, str]) -> dict[str, Any]:
        """Return the result. A script that failed fails the task."""
        return connect().session(event["action_id"]).result().raise_for_status().to_dict()
