"""Plain HTTP requests to the emulator, without this package's client."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from mde_live_response.emulator import Emulator

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(
    emulator: Emulator, method: str, path: str, body: Any = None, token: str | None = None
) -> tuple[int, Any]:
    headers = {
        "Authorization": f"Bearer {token or emulator.token}",
        "Content-Type": "application/json",
    }
    return send_json(method, emulator.url + path, body, headers)


def send_json(
    method: str, url: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """Send a request, and return the status and the JSON of the answer, also of an error."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, dict(headers or {}), method=method)
    try:
        with DIRECT.open(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def run(
    emulator: Emulator,
    *commands: tuple[str, dict[str, str]],
    machine: str = "ws-0001",
    comment: str = "c",
) -> Any:
    body_commands = [
        {"type": kind, "params": [{"key": key, "value": value} for key, value in params.items()]}
        for kind, params in commands
    ]
    machine_id = call(emulator, "GET", f"/api/machines/{machine}")[1]["id"]
    path = f"/api/machines/{machine_id}/runliveresponse"
    return call(emulator, "POST", path, {"Commands": body_commands, "Comment": comment})[1]


def script(name: str, **params: str) -> tuple[str, dict[str, str]]:
    return "RunScript", {"ScriptName": name, **params}


def finished(emulator: Emulator, action_id: str) -> Any:
    action: Any = None
    for _ in range(500):
        action = call(emulator, "GET", f"/api/machineactions/{action_id}")[1]
        if action["status"] not in ("Pending", "InProgress"):
            return action
        time.sleep(0.02)
    raise AssertionError(action)


def result(emulator: Emulator, action_id: str, index: int = 0) -> bytes:
    path = f"/api/machineactions/{action_id}/GetLiveResponseResultDownloadLink(index={index})"
    with DIRECT.open(call(emulator, "GET", path)[1]["value"], timeout=30) as response:
        content: bytes = response.read()
        return content
