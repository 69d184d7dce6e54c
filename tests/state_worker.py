"""A test process: a client that shares its state with others. Its job is given as JSON.

It prints the results as JSON. If the job has `"report": true`, it prints errors and warnings too,
and ends with exit code 0. With `"wait": true`, it opens the store and waits for a line.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from typing import Any

import mde_live_response as mde


def limits(values: dict[str, Any]) -> mde.Limits:
    """The limits of the test. Its windows are short, so that many calls take little time."""
    return mde.Limits(
        submit=[mde.Rate(count, per) for count, per in values["submit"]],
        read=[mde.Rate(count, per) for count, per in values["read"]],
        sessions=values["sessions"],
        settle_time=values["settle_time"],
    )


class Warnings(logging.Handler):
    """Keeps the texts of all warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def describe(error: BaseException) -> dict[str, Any]:
    return {
        "kind": type(error).__name__,
        "message": str(error),
        "retryable": getattr(error, "retryable", None),
    }


def main() -> None:
    job = json.loads(sys.argv[1])
    warnings = Warnings()
    logging.getLogger().addHandler(warnings)
    ran: list[dict[str, Any]] = []
    failed: list[BaseException] = []
    request_timeout, connect_timeout = job.get("timeouts", (2.0, 1.0))
    with mde.LiveResponseClient(
        request_timeout=request_timeout,
        connect_timeout=connect_timeout,
        state=job["state"],
        limits=limits(job["limits"]),
    ) as client:
        if job.get("wait"):
            client.list_machines()
            print("ready", flush=True)
            sys.stdin.readline()
        print("go", flush=True)

        def run(share: list[list[str]]) -> None:
            try:
                run_each(share)
            except BaseException as error:
                failed.append(error)

        def run_each(share: list[list[str]]) -> None:
            for machine, correlation_id in share:
                result = client.run(
                    machine,
                    [
                        mde.Command.run_script("echo.ps1", correlation_id),
                        mde.Command.get_file("C:\\x"),
                    ],
                    "a test",
                    on_busy="wait",
                    correlation_id=correlation_id,
                    save_to=job.get("save_to"),
                )
                output = result.scripts[0].stdout if result.scripts else ""
                ran.append(
                    {
                        "correlation_id": correlation_id,
                        "id": result.action.id,
                        "ok": result.ok,
                        "message": result.message,
                        "stdout": output,
                    }
                )

        threads = [threading.Thread(target=run, args=[share]) for share in job["shares"]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if job.get("report"):
        errors = [describe(error) for error in failed]
        print(json.dumps({"ran": ran, "errors": errors, "warnings": warnings.texts}))
        return
    if failed:
        raise failed[0]
    print(json.dumps(ran))


if __name__ == "__main__":
    main()
