"""Run a script on machines once a day, in ticks of a systemd timer. No process waits in between.

Each tick starts what is missing today, reads the status of what is open, and saves the results that
are there. A tick may be killed at any point: the next one finds the sessions by their files, or by
their correlation id.

    mde_triage.py MACHINE...
"""

import json
import os
import sys
from datetime import date
from pathlib import Path
from typing import Any

from mde_live_response import ClientSecretCredential, Command, LiveResponseClient, LiveResponseError


def connect() -> LiveResponseClient:
    """Create a client, with the secret that systemd decrypts for this service."""
    secret = Path(os.environ["CREDENTIALS_DIRECTORY"], "client-secret").read_text().strip()
    login = os.environ["AZURE_TENANT_ID"], os.environ["AZURE_CLIENT_ID"], secret
    host = os.environ.get("AZURE_AUTHORITY_HOST")
    return LiveResponseClient(ClientSecretCredential(*login, authority=host))


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a file that is either complete or not there."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content))
    new.replace(path)


def look(client: LiveResponseClient, machine: str, folder: Path) -> None:
    """Start the session of the machine, or save its result if it has ended."""
    handle, result = folder / f"{machine}.handle", folder / f"{machine}.json"
    if result.exists():
        return
    if handle.exists():
        session = client.session(json.loads(handle.read_text())["id"])
    else:
        command, day = Command.run_script("triage.ps1"), folder.name
        session = client.submit(machine, command, f"triage of {day}", correlation_id=day)
        save(handle, session.to_dict())
    if session.refresh().done:
        save(result, session.result().to_dict())


def tick(client: LiveResponseClient, machines: list[str], state: Path) -> int:
    """Return how many machines had an error in this tick."""
    today = state / date.today().isoformat()
    today.mkdir(exist_ok=True)
    # Sessions of yesterday may end today.
    begun = {(path.stem, path.parent) for path in state.glob("*/*.handle")}
    errors = 0
    for machine, folder in sorted(begun | {(machine, today) for machine in machines}):
        try:
            look(client, machine, folder)
        except LiveResponseError as error:
            print(f"{machine}: {error}", file=sys.stderr)
            errors += 1
    return errors


if __name__ == "__main__":
    with connect() as client:
        errors = tick(client, sys.argv[1:], Path(os.environ["STATE_DIRECTORY"]))
    sys.exit(1 if errors else 0)
