"""The control over HTTP, with nothing but plain requests, and `Emulator.reset`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from emulator_helpers import call, finished, result, run, script, send_json

from mde_live_response import InvalidRequestError
from mde_live_response.emulator import Emulator


def control(
    emulator: Emulator, method: str, name: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    """Send a request to the control, as a program in any language does."""
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    return send_json(method, f"{emulator.url}/__box/{name}", body, named)


def get(emulator: Emulator, name: str) -> Any:
    status, body = control(emulator, "GET", name)
    assert status == 200, body
    return body


def post(emulator: Emulator, name: str, body: Any = None) -> Any:
    status, answer = control(emulator, "POST", name, body)
    assert status in (200, 201), answer
    return answer


def test_what_http_sets_python_sees(emulator: Emulator) -> None:
    post(emulator, "scripts", {"name": "a.ps1", "stdout": "found it", "exit_code": 4})
    post(emulator, "files", {"path": r"C:\a.txt", "content": "text"})
    added = post(emulator, "machines", {"name": "srv.example.test", "machineTags": ["red"]})
    action = run(emulator, script("a.ps1"), machine="srv")
    assert action["machineId"] == added["id"]
    finished(emulator, action["id"])
    transcript = json.loads(result(emulator, action["id"]))
    assert transcript["exit_code"] == 4
    assert "found it" in transcript["script_output"]
    assert get(emulator, "requests") == list(emulator.requests)
    assert get(emulator, "counters") == emulator.counters
    assert get(emulator, "violations") == emulator.violations
    sessions = get(emulator, "sessions")
    assert [session["id"] for session in sessions] == [action["id"]]
    assert sessions[0]["polls"] == emulator.counters[f"polls:{action['id']}"]


def test_what_python_sets_http_sees(emulator: Emulator) -> None:
    emulator.add_machine("srv.example.test", online=False)
    emulator.on_script("a.ps1", stdout="x", duration=3)
    emulator.put_remote_file("*", "/a", b"\xff\x00")
    emulator.fault("POST", "cancel", "status", nth=2, times=3, status=502)
    names = [machine["name"] for machine in get(emulator, "machines")]
    assert names[-1] == "srv.example.test"
    assert get(emulator, "machines/srv")["online"] is False
    assert get(emulator, "scripts")[0]["duration"] == 3
    assert get(emulator, "files")[0]["content_base64"] == "/wA="
    assert get(emulator, "faults") == [
        {"method": "POST", "path": "cancel", "kind": "status", "status": 502, "nth": 2, "times": 3}
    ]


def test_a_script_in_python_runs_when_the_clock_jumps(emulator: Emulator) -> None:
    seen = []

    def count(_machine: str, _args: str | None) -> str:
        # The script may use the control itself.
        seen.append(get(emulator, "violations"))
        return "done"

    emulator.on_script("a.ps1", stdout=count)
    action = run(emulator, script("a.ps1"))
    post(emulator, "advance", {"seconds": 60})
    assert get(emulator, "sessions")[0]["status"] == "Succeeded"
    assert finished(emulator, action["id"])["status"] == "Succeeded"
    assert len(seen) == 1


def test_the_same_words_for_the_same_mistake(emulator: Emulator) -> None:
    mistakes: list[tuple[str, dict[str, Any], Callable[[], object]]] = [
        (
            "faults",
            {"path": "machinez", "kind": "status"},
            lambda: emulator.fault("*", "machinez", "status"),
        ),
        (
            "faults",
            {"path": "machines", "kind": "delay", "keep": 1},
            lambda: emulator.fault("*", "machines", "delay", keep=1),
        ),
        ("machines", {"name": "a", "id": "x"}, lambda: emulator.add_machine("a", id="x")),
        ("library", {"name": "a b"}, lambda: emulator.add_library_file("a b")),
        (
            "machines",
            {"name": "a", "osBuild": "x"},
            lambda: emulator.add_machine("a", osBuild="x"),
        ),
    ]
    for name, body, act in mistakes:
        status, answer = control(emulator, "POST", name, body)
        with pytest.raises(InvalidRequestError) as raised:
            act()
        assert status == 400
        assert answer["error"]["message"].startswith(str(raised.value).split("\n")[0]), name


def test_a_page_of_another_site_is_refused(emulator: Emulator) -> None:
    machine = {"name": "evil.example.test"}
    for headers in (
        {"Origin": "https://attacker.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Host": "attacker.example"},
    ):
        status, answer = control(emulator, "POST", "machines", machine, **headers)
        assert (status, answer["error"]["code"]) == (403, "Forbidden")
    assert len(get(emulator, "machines")) == 3


def test_it_can_be_switched_off() -> None:
    with Emulator(control=False) as emulator:
        assert call(emulator, "GET", "/__box/requests")[0] == 404
        assert emulator.counters["other"] == 1
    with pytest.raises(TypeError, match="control is 1; it must be True or False"):
        Emulator(control=1)  # type: ignore[arg-type]


def test_a_reset_from_python(emulator: Emulator) -> None:
    emulator.on_script("a.ps1", duration=1e6)
    emulator.fault("GET", "machine", "status", nth=9)
    run(emulator, script("a.ps1"))
    emulator.reset()
    assert not emulator.requests
    assert not emulator.counters
    assert not any(emulator.violations.values())
    assert get(emulator, "sessions") == get(emulator, "faults") == []
    # The machine is free, and the token still good.
    assert run(emulator, script("a.ps1"))["status"] == "Pending"


def test_over_tls(tmp_path: Any) -> None:
    import ssl

    with Emulator(tls=True, ca_folder=tmp_path) as emulator:
        context = ssl.create_default_context(cafile=emulator.ca_bundle)
        handler = urllib.request.HTTPSHandler(context=context)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)
        with opener.open(f"{emulator.url}/__box/machines", timeout=30) as response:
            assert len(json.load(response)) == 3


PAGE = (Path(__file__).parents[1] / "docs/emulator-control.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r'^```\w+ title="([\w.]+)"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL))


def test_the_script_of_the_page(emulator: Emulator) -> None:
    done = subprocess.run(
        ["sh", "-eu", "-c", BLOCKS["control.sh"]],
        env={**os.environ, "URL": emulator.url, "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"violations"' not in done.stdout
    assert get(emulator, "scripts")[0]["exit_code"] == 1
    assert get(emulator, "machines/srv-01")["online"] is True
    assert get(emulator, "faults") == []


def test_the_page_has_every_path(emulator: Emulator) -> None:
    status, answer = control(emulator, "GET", "nope")
    assert status == 404
    names = answer["error"]["message"].partition("there are ")[2].split(", ")
    assert len(names) > 15
    missing = [name for name in names if f"`{name}`" not in PAGE]
    assert not missing
