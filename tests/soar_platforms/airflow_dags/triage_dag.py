# pyright: reportMissingImports=false
"""A DAG with the operator of the Airflow example. Its first attempt dies after the submit."""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from airflow.sdk import DAG
from airflow_script import LiveResponseScriptOperator


class DyingOperator(LiveResponseScriptOperator):
    def defer(self, **options: Any) -> NoReturn:
        mark = Path(os.environ["AIRFLOW_HOME"], "died")
        if not mark.exists() and os.environ.get("TEST_DIES"):
            mark.touch()
            raise RuntimeError("the worker died")
        super().defer(**options)
        raise AssertionError("not reached")


with DAG("triage", schedule=None) as dag:
    DyingOperator(
        task_id="run",
        machine="{{ dag_run.conf['machine'] }}",
        script="triage.ps1",
        args="-Depth 2",
        comment="case {{ dag_run.conf['case'] }}",
        retries=1,
        retry_delay=timedelta(0),
    )


if __name__ == "__main__":
    run = dag.test(run_conf={"machine": sys.argv[1], "case": 42})
    (task,) = run.get_task_instances()
    report = {
        "state": task.state,
        "attempts": task.try_number,
        "result": task.xcom_pull(task_ids="run"),
    }
    Path(os.environ["AIRFLOW_HOME"], "report.json").write_text(json.dumps(report))
