"""As it is written today: every machine with a tag, although some of them are off for days.

python sweep.py
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import requests

API = os.environ.get("MDE_LIVE_RESPONSE_ENDPOINT", "https://api.security.microsoft.com")
LOGIN = os.environ.get("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com")
SCRIPT = Path(__file__).parent.with_name("sweep.ps1")
DONE = Path("sweep_done.json")


def get_headers() -> dict[str, str]:
    response = requests.post(
        f"{LOGIN}/{os.environ['AZURE_TENANT_ID']}/oauth2/v2.0/token",
        data={
            "client_id": os.environ["AZURE_CLIENT_ID"],
            "client_secret": os.environ["AZURE_CLIENT_SECRET"],
            "scope": "https://api.securitycenter.microsoft.com/.default",
            "grant_type": "client_credentials",
        },
    )
    response.raise_for_status()
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


def upload(headers: dict[str, str], script: Path) -> None:
    response = requests.post(
        f"{API}/api/libraryfiles",
        headers=headers,
        files={"file": (script.name, script.read_bytes())},
        data={"Description": "sweep", "OverrideIfExists": "true"},
    )
    response.raise_for_status()


def list_machines(headers: dict[str, str]) -> list[dict[str, Any]]:
    response = requests.get(
        f"{API}/api/machines",
        headers=headers,
        params={"$filter": "machineTags/any(t: t eq 'case-42')"},
    )
    response.raise_for_status()
    machines: list[dict[str, Any]] = response.json()["value"]
    return machines


def run(headers: dict[str, str], machine_id: str) -> dict[str, Any] | None:
    body = {
        "Commands": [
            {"type": "RunScript", "params": [{"key": "ScriptName", "value": SCRIPT.name}]},
        ],
        "Comment": "case 42: sweep",
    }
    response = requests.post(
        f"{API}/api/machines/{machine_id}/runliveresponse", headers=headers, json=body
    )
    response.raise_for_status()
    action_id = response.json()["id"]
    for _ in range(20):
        response = requests.get(f"{API}/api/machineactions/{action_id}", headers=headers)
        response.raise_for_status()
        status = response.json()["status"]
        if status == "Succeeded":
            return read_output(headers, action_id)
        if status not in ("Pending", "InProgress"):
            return None
        time.sleep(15)
    requests.post(
        f"{API}/api/machineactions/{action_id}/cancel",
        headers=headers,
        json={"Comment": "machine is off"},
    )
    return None


def read_output(headers: dict[str, str], action_id: str) -> dict[str, Any]:
    path = f"{API}/api/machineactions/{action_id}/GetLiveResponseResultDownloadLink(index=0)"
    response = requests.get(path, headers=headers)
    response.raise_for_status()
    transcript = requests.get(response.json()["value"]).json()
    lines = transcript["script_output"].rstrip("\0").splitlines()
    record: dict[str, Any] = json.loads(next(line for line in lines if line.startswith("{")))
    return record


def main(days: float) -> dict[str, Any]:
    done: dict[str, Any] = json.loads(DONE.read_text()) if DONE.exists() else {}
    upload(get_headers(), SCRIPT)
    for _ in range(round(days * 24)):
        headers = get_headers()
        waiting = [it for it in list_machines(headers) if it["computerDnsName"] not in done]
        if not waiting:
            break
        for machine in waiting:
            try:
                record = run(headers, machine["id"])
            except requests.RequestException as error:
                print(f"{machine['computerDnsName']}: {error}")
                continue
            if record is not None:
                done[machine["computerDnsName"]] = record
                DONE.write_text(json.dumps(done))
        time.sleep(3600)
    return done


if __name__ == "__main__":
    print(main(days=3))
