"""A process of the matrix: it runs the commands of a cell, and prints how that ended.

With a limit of the system, it runs them under the limit, lifts it, and runs them again.
"""

from __future__ import annotations

# Imported first: under a limit, no file can be opened, and another user may read none.
import encodings.idna  # noqa: F401
import json
import logging
import os
import pathlib
import resource
import sys
import time
from typing import Any

import mde_live_response as mde
from mde_live_response import _credential, _log_delivery, errors  # noqa: F401

MEMORY = 0
"""How much more memory a process gets that has too little, in bytes."""


def rates(pairs: list[list[float]]) -> list[mde.Rate]:
    return [mde.Rate(int(count), per) for count, per in pairs]


def set_limit(kind: str) -> None:
    """Let the process have no more of something. Only the soft limit is lowered."""
    which, value = {
        "files": (resource.RLIMIT_NOFILE, len([*pathlib.Path("/proc/self/fd").iterdir()]) - 1),
        "threads": (resource.RLIMIT_NPROC, 1),
        "memory": (resource.RLIMIT_AS, memory_size() + MEMORY),
        "file size": (resource.RLIMIT_FSIZE, 0),
    }[kind]
    resource.setrlimit(which, (value, resource.getrlimit(which)[1]))
    if kind == "threads" and os.geteuid() == 0:
        # The limit does not apply to root, and counts all threads of a user.
        os.setresuid(*[200_000 + os.getpid()] * 3)


def lift_limits() -> None:
    for which in (
        resource.RLIMIT_NOFILE,
        resource.RLIMIT_NPROC,
        resource.RLIMIT_AS,
        resource.RLIMIT_FSIZE,
    ):
        hard = resource.getrlimit(which)[1]
        resource.setrlimit(which, (hard, hard))


def memory_size() -> int:
    pages = pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run the commands, and return how that ended."""
    started = time.monotonic()
    ended: dict[str, Any] = {"reason": None, "errors": []}
    try:
        limits = mde.Limits(
            submit=rates(job["submit"]),
            read=rates(job["read"]),
            sessions=job["sessions"],
            settle_time=job["settle_time"],
        )
        with mde.LiveResponseClient(
            state=job["state"], limits=limits, request_timeout=10.0, connect_timeout=10.0
        ) as client:
            commands = [
                mde.Command.put_local(job["tool"]),
                mde.Command.run_script(job["script"], job["argument"]),
                mde.Command.get_file(job["remote"]),
            ]
            result = client.run(
                job["machine"],
                commands,
                job["comment"],
                save_to=job["saved"],
                timeout=job["timeout"],
                correlation_id=job["id"],
            )
        ended["reason"] = result.reason
        ended["errors"] = [describe(it.error) for it in result.commands if it.error is not None]
    except Exception as error:
        ended["errors"] = [describe(error)]
    ended["seconds"] = time.monotonic() - started
    return ended


def describe(error: BaseException) -> dict[str, Any]:
    known = [getattr(error, name, None) for name in ("machine_id", "action_id")]
    return {
        "kind": type(error).__name__,
        "text": str(error),
        "is_ours": isinstance(error, mde.LiveResponseError),
        "is_local": isinstance(error, (OSError, MemoryError)),
        "names_machine": any(known),
    }


def main() -> None:
    job = json.loads(sys.argv[1])
    logging.basicConfig(level=logging.DEBUG)
    limit = job.get("limit")
    if limit:
        set_limit(limit)
    print(json.dumps(run(job)), flush=True)
    if limit:
        lift_limits()
        print(json.dumps(run(job)), flush=True)


if __name__ == "__main__":
    main()
