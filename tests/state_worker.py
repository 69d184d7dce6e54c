"""A test process: a client that shares its state with others. Its job is given as JSON."""

from __future__ import annotations

import json
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


def main() -> None:
    job = json.loads(sys.argv[1])
    with mde.LiveResponseClient(
        request_timeout=2.0, connect_timeout=1.0, state=job["state"], limits=limits(job["limits"])
    ) as client:
        print("go", flush=True)
        ran: list[dict[str, Any]] = []
        failed: list[BaseException] = []

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
    if failed:
        raise failed[0]
    print(json.dumps(ran))


if __name__ == "__main__":
    main()
