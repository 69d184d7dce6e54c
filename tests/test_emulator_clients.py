"""Clients with built-in hosts reach the emulator through its proxy, and docs/emulator-clients.md.

Each client is a process that knows only the variables of `Emulator.env`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from foreign_helpers import (
    BLOCKS,
    assert_one_session,
    environment,
    proxied_emulator,
    run,
    run_python,
)

from mde_live_response import ClientSecretCredential, Command, LiveResponseClient
from mde_live_response.emulator import Emulator


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Emulator]:
    with proxied_emulator(tmp_path) as emulator:
        yield emulator


SESSION = """
import json, os, time

def session(requests, api, token, unset=(), listed=False):
    headers = {"Authorization": f"Bearer {token}"}

    def call(method, path, body=None):
        answer = requests.request(method, api + path, headers=headers, json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    machine = call("GET", "/machines/ws-0001")["id"]
    commands = [{"type": "RunScript", "params": [{"key": "ScriptName", "value": "triage.ps1"}]}]
    body = {"Comment": "case 42", **dict.fromkeys(unset), "Commands": commands}
    action = call("POST", f"/machines/{machine}/runliveresponse", body)
    if listed:
        (action,) = call("GET", "/machineactions")["value"]
    while action["status"] in ("Pending", "InProgress"):
        time.sleep(0.1)
        action = call("GET", f"/machineactions/{action['id']}")
    link = f"/machineactions/{action['id']}/GetLiveResponseResultDownloadLink(index=0)"
    answer = requests.get(call("GET", link)["value"], timeout=30)
    answer.raise_for_status()
    print(action["status"], answer.json()["script_output"])

tenant = os.environ["AZURE_TENANT_ID"]
application = {
    "client_id": os.environ["AZURE_CLIENT_ID"],
    "client_secret": os.environ["AZURE_CLIENT_SECRET"],
}
"""

SPLUNK_SOAR = """
import requests
form = {**application, "grant_type": "client_credentials"}
form["resource"] = "https://api.securitycenter.windows.com"
answer = requests.post(f"https://login.microsoftonline.com/{tenant}/oauth2/token", form, timeout=30)
answer.raise_for_status()
session(requests, "https://api.securitycenter.windows.com/api", answer.json()["access_token"])
"""

XSOAR = """
import requests
form = {**application, "grant_type": "client_credentials"}
form["scope"] = "https://securitycenter.onmicrosoft.com/windowsatpservice/.default"
url = f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"
answer = requests.post(url, form, timeout=30)
answer.raise_for_status()
session(requests, "https://api-eu.securitycenter.microsoft.com/api", answer.json()["access_token"])
"""

MSAL = """
import msal, requests
app = msal.ConfidentialClientApplication(
    application["client_id"],
    client_credential=application["client_secret"],
    authority=f"https://login.microsoftonline.com/{tenant}",
)
result = app.acquire_token_for_client(["https://api.securitycenter.microsoft.com/.default"])
session(requests, "https://api.security.microsoft.com/api", result["access_token"])
"""

# The requests of mde-client 0.4.0, which tests/test_emulator_mde_client.py runs: it sends null for
# what is not set, and has to look for the action that it started.
MDE_CLIENT = MSAL.replace("https://api.security.", "https://api.securitycenter.").replace(
    '["access_token"])',
    '["access_token"], unset=("ExternalId", "RequestSource", "Title"), listed=True)',
)

# The variables of the emulator would send it elsewhere: its own default is the public cloud.
AZURE_IDENTITY = """
import requests
from azure.identity import ClientSecretCredential
secret = application["client_secret"]
with ClientSecretCredential(
    tenant, application["client_id"], secret, authority="login.microsoftonline.com"
) as credential:
    token = credential.get_token("https://api.securitycenter.microsoft.com/.default").token
session(requests, "https://us.api.security.microsoft.com/api", token)
"""


@pytest.mark.parametrize(
    "code",
    [SPLUNK_SOAR, XSOAR, MSAL, MDE_CLIENT, AZURE_IDENTITY],
    ids=["splunk-soar", "xsoar", "msal", "mde-client", "azure-identity"],
)
def test_a_python_client(code: str, proxied: Emulator) -> None:
    pytest.importorskip("azure.identity", reason="requirements-dev.txt installs it")
    assert run_python(proxied, SESSION + code).rstrip("\0\n").endswith("found it")
    assert_one_session(proxied)


def test_the_page_with_curl(proxied: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "session.sh"
    path.write_text(BLOCKS["session.sh"], encoding="utf-8")
    transcript = json.loads(run(proxied, ["bash", "-euo", "pipefail", str(path)]))
    assert "found it" in transcript["script_output"]
    assert_one_session(proxied)


def test_the_pages_python(proxied: Emulator, tmp_path: Path) -> None:
    code = BLOCKS["session.py"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_block_is_run() -> None:
    node = {"proxy.mjs", "token.mjs", "msal.mjs", "session.mjs"}
    assert set(BLOCKS) == {"session.sh", "session.py", "triage.py", *node}


@pytest.mark.parametrize("cloud", ["public", "eu", "gcc", "gcc-high"])
def test_our_own_client_with_the_hosts_of_a_cloud(cloud: Any, proxied: Emulator) -> None:
    authority = "login.microsoftonline.us" if cloud == "gcc-high" else "login.microsoftonline.com"
    credential = ClientSecretCredential(
        proxied.tenant_id,
        proxied.client_id,
        proxied.client_secret,
        authority=f"https://{authority}",
    )
    with LiveResponseClient(
        credential, cloud=cloud, proxy=proxied.proxy_url, ca_bundle=proxied.ca_bundle
    ) as client:
        result = client.run("ws-0001", [Command.run_script("triage.ps1")], comment="case 42")
    assert "found it" in result.scripts[0].stdout
    assert_one_session(proxied)


def test_our_own_client_by_the_environment(proxied: Emulator) -> None:
    # Its endpoint is the emulator's own address, which it reaches without the proxy.
    code = (
        "from mde_live_response import Command, LiveResponseClient\n"
        "with LiveResponseClient() as client:\n"
        "    print(client.run('ws-0001', [Command.run_script('triage.ps1')], comment='c').ok)\n"
    )
    assert run_python(proxied, code) == "True\n"
    assert_one_session(proxied)


def test_another_host_is_refused(proxied: Emulator) -> None:
    code = (
        "import requests\n"
        "try:\n"
        "    requests.get('https://graph.microsoft.com/v1.0/me', timeout=30)\n"
        "except requests.exceptions.ProxyError as error:\n"
        "    print(error)\n"
    )
    assert "403" in run_python(proxied, code)
    (request,) = proxied.requests
    assert (request["method"], request["path"]) == ("CONNECT", "graph.microsoft.com:443")
    assert (request["route"], request["status"]) == ("other", 403)
    done = subprocess.run(
        ["curl", "-sv", "http://example.com/", "-x", str(proxied.proxy_url)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "example.com is not served by this proxy" in done.stdout
    assert "login.microsoftonline.com" in done.stdout


def test_a_later_emulator_with_the_folder_is_trusted(proxied: Emulator, tmp_path: Path) -> None:
    bundle = tmp_path / "ca" / "ca.pem"
    assert proxied.ca_bundle == str(bundle)
    proxied.close()
    assert bundle.exists()
    with Emulator(machines=1, speed=20.0, proxy=True, ca_folder=tmp_path / "ca") as later:
        later.on_script("triage.ps1", stdout="found it")
        first = environment(proxied) | {
            name: later.env[name] for name in ("HTTPS_PROXY", "https_proxy")
        }
        ids = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
        first |= {name: later.env[name] for name in ids}
        command = [sys.executable, "-W", "error", "-c", SESSION + SPLUNK_SOAR]
        subprocess.run(command, env=first, timeout=120, check=True)
        assert_one_session(later)
