"""A Splunk SOAR playbook for `splunk_connector.py`: it runs a script, and reads its result later.

Between two calls nothing runs: SOAR stores the next call with its start time.
"""

from datetime import datetime, timedelta
from typing import Any

import phantom.rules as phantom


def run_script(parameters: dict[str, str], start_time: datetime | None = None) -> None:
    phantom.act(
        "run script", [parameters], assets=["mde"], callback=look_again, start_time=start_time
    )


def on_start(container: dict[str, Any]) -> None:
    """Start the script. The correlation id is the same if the playbook is started again."""
    case = f"soar-{container['id']}"
    what = {"machine": "ws-0001.example.test", "script": "triage.ps1"}
    run_script({**what, "comment": case, "correlation_id": case})


def look_again(results: list[dict[str, Any]], success: bool, **_: Any) -> None:
    """Use the result, or schedule the next call."""
    (found,) = results[0]["action_results"]
    if not success or found["summary"]["done"]:
        phantom.debug(found["message"] or found["data"][0]["commands"][0]["script"]["stdout"])
    else:
        pause = timedelta(seconds=found["summary"]["next_poll_in"])
        run_script({"action_id": found["summary"]["action_id"]}, datetime.now() + pause)
