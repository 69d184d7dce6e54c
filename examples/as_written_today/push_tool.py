"""As it is written today: a tool pushed to a machine, run, and its output collected.

python push_tool.py ws-0042 collector.exe
"""

import gzip
import os
import sys
import time
from pathlib import Path
from typing import Any

import requests

API = os.environ.get("MDE_LIVE_RESPONSE_ENDPOINT", "https://api.security.microsoft.com")
LOGIN = os.environ.get("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com")
OUTPUT = r"C:\Windows\Temp\collected.zip"
CODE = r"""
cd "C:\ProgramData\Microsoft\Windows Defender Advanced Threat Protection\Downloads"
& ".\{tool}" --out {output}
exit $LASTEXITCODE
"""


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


def upload(headers: dict[str, str], name: str, content: bytes) -> None:
    response = requests.post(
        f"{API}/api/libraryfiles",
        headers=headers,
        files={"file": (name, content)},
        data={"Description": "collector", "OverrideIfExists": "true"},
    )
    response.raise_for_status()


def command(kind: str, **params: str) -> dict[str, Any]:
    values = [{"key": key, "value": value} for key, value in params.items()]
    return {"type": kind, "params": values}


def wait(headers: dict[str, str], action_id: str) -> str:
    for _ in range(120):
        response = requests.get(f"{API}/api/machineactions/{action_id}", headers=headers)
        if response.status_code == 200:
            status = str(response.json()["status"])
            if status not in ("Pending", "InProgress"):
                return status
        time.sleep(5)
    return "no answer"


def download(headers: dict[str, str], action_id: str, index: int, target: Path) -> None:
    path = f"{API}/api/machineactions/{action_id}/GetLiveResponseResultDownloadLink(index={index})"
    response = requests.get(path, headers=headers)
    response.raise_for_status()
    content = requests.get(response.json()["value"]).content
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    target.write_bytes(content)


def main(machine: str, tool: Path, folder: Path) -> Path:
    headers = {"Authorization": f"Bearer {get_token()}"}
    response = requests.get(f"{API}/api/machines/{machine}", headers=headers)
    response.raise_for_status()
    machine_id = response.json()["id"]
    upload(headers, tool.name, tool.read_bytes())
    script = CODE.format(tool=tool.name, output=OUTPUT).encode()
    upload(headers, "collect.ps1", script)
    body = {
        "Commands": [
            command("PutFile", FileName=tool.name),
            command("RunScript", ScriptName="collect.ps1"),
            command("GetFile", Path=OUTPUT),
        ],
        "Comment": "case 42: collect",
    }
    response = requests.post(
        f"{API}/api/machines/{machine_id}/runliveresponse", headers=headers, json=body
    )
    response.raise_for_status()
    action_id = response.json()["id"]
    status = wait(headers, action_id)
    if status != "Succeeded":
        raise SystemExit(f"{machine}: {status}")
    folder.mkdir(exist_ok=True)
    target = folder / f"{machine}_collected.zip"
    download(headers, action_id, 2, target)
    return target


if __name__ == "__main__":
    print(main(sys.argv[1], Path(sys.argv[2]), Path("evidence")))
