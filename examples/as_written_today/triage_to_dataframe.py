"""As it is written today: a local script on every machine with a tag, into one table.

python triage_to_dataframe.py
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import pandas
import requests

API = os.environ.get("MDE_LIVE_RESPONSE_ENDPOINT", "https://api.security.microsoft.com")
LOGIN = os.environ.get("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com")
SCRIPT = Path(__file__).parent.with_name("triage.ps1")


def get_token() -> str:
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
    return str(response.json()["access_token"])


def upload(headers: dict[str, str], script: Path) -> None:
    response = requests.post(
        f"{API}/api/libraryfiles",
        headers=headers,
        files={"file": (script.name, script.read_bytes())},
        data={"Description": "triage", "OverrideIfExists": "true"},
    )
    response.raise_for_status()


def submit(headers: dict[str, str], machine_id: str, script: str) -> str:
    body = {
        "Commands": [
            {"type": "RunScript", "params": [{"key": "ScriptName", "value": script}]},
        ],
        "Comment": "case 42: triage",
    }
    while True:
        try:
            response = requests.post(
                f"{API}/api/machines/{machine_id}/runliveresponse", headers=headers, json=body
            )
        except requests.ConnectionError:
            time.sleep(10)
            continue
        if response.status_code in (429, 503):
            time.sleep(60)
            continue
        response.raise_for_status()
        return str(response.json()["id"])


def wait(headers: dict[str, str], action_id: str) -> str:
    for _ in range(120):
        response = requests.get(f"{API}/api/machineactions/{action_id}", headers=headers)
        response.raise_for_status()
        status = str(response.json()["status"])
        if status in ("Succeeded", "Failed", "TimeOut", "Cancelled"):
            return status
        time.sleep(5)
    return "no answer"


def read_output(headers: dict[str, str], action_id: str) -> list[dict[str, Any]]:
    path = f"{API}/api/machineactions/{action_id}/GetLiveResponseResultDownloadLink(index=0)"
    response = requests.get(path, headers=headers)
    response.raise_for_status()
    transcript = requests.get(response.json()["value"]).json()
    lines = transcript["script_output"].rstrip("\0").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def main() -> pandas.DataFrame:
    headers = {"Authorization": f"Bearer {get_token()}"}
    upload(headers, SCRIPT)
    response = requests.get(
        f"{API}/api/machines",
        headers=headers,
        params={"$filter": "machineTags/any(t: t eq 'case-42')"},
    )
    response.raise_for_status()
    rows = []
    for machine in response.json()["value"]:
        name = machine["computerDnsName"]
        try:
            action_id = submit(headers, machine["id"], SCRIPT.name)
            status = wait(headers, action_id)
            if status != "Succeeded":
                print(f"{name}: {status}")
                continue
            for record in read_output(headers, action_id):
                rows.append({"machine": name, **record})
        except requests.HTTPError as error:
            print(f"{name}: {error}")
    return pandas.DataFrame(rows)


if __name__ == "__main__":
    print(main())
