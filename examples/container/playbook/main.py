"""A playbook that runs a script on three machines, with the standard library only.

It stands for yours, in any language. It reads its addresses and credentials from the environment.
"""

import json
import os
import sys
import time
import urllib.parse
import urllib.request
from typing import Any

API = os.environ["MDE_LIVE_RESPONSE_ENDPOINT"]
LOGIN = os.environ["AZURE_AUTHORITY_HOST"]
SCOPE = "https://api.securitycenter.microsoft.com/.default"


def send(url: str, headers: dict[str, str], body: bytes | None = None) -> Any:
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def main() -> int:
    form = {
        "client_id": os.environ["AZURE_CLIENT_ID"],
        "client_secret": os.environ["AZURE_CLIENT_SECRET"],
        "grant_type": "client_credentials",
        "scope": SCOPE,
    }
    tenant = os.environ["AZURE_TENANT_ID"]
    login = f"{LOGIN}/{tenant}/oauth2/v2.0/token"
    token = send(login, {}, urllib.parse.urlencode(form).encode())["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    machines = send(f"{API}/api/machines?$top=3", headers)["value"]
    failed = 0
    for machine in machines:
        params = [{"key": "ScriptName", "value": "triage.ps1"}]
        body = {"Commands": [{"type": "RunScript", "params": params}], "Comment": "case 42"}
        submit = f"{API}/api/machines/{machine['id']}/runliveresponse"
        action = send(submit, headers, json.dumps(body).encode())
        while action["status"] in ("Pending", "InProgress"):
            time.sleep(0.5)
            action = send(f"{API}/api/machineactions/{action['id']}", headers)
        print(machine["computerDnsName"], action["status"], flush=True)
        failed += action["status"] != "Succeeded"
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
