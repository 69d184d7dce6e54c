"""What `mde-live-response emulator` prints on a terminal, and how it ends."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from emulator_helpers import call, finished, result, run, script
from runtime_helpers import free_port

from mde_live_response._cli.emulator_calls import call_line, summary
from mde_live_response._cli.emulator_environment import environment_text

CLI = [sys.executable, "-m", "mde_live_response", "emulator"]
Start = Callable[..., Any]


class Box(SimpleNamespace):
    """A running command, with the addresses that it printed."""

    process: subprocess.Popen[str]
    log: Path

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, list[str]]:
        """Stop the command. Return its exit code and what it printed on stderr."""
        self.process.send_signal(number)
        return self.process.wait(30), self.log.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> Box:
        log = tmp_path / f"stderr-{len(running)}"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [*CLI, *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        running.append(process)
        assert process.stdout is not None
        return Box(process=process, log=log, **json.loads(process.stdout.readline()))

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_one_line_for_each_call(tmp_path: Path, start: Start) -> None:
    (tmp_path / "a.out").write_text("done")
    box = start("--speed", "50", "--script", f"a.ps1={tmp_path / 'a.out'}")
    secret = {"client_secret": box.client_secret}
    call(box, "POST", f"/{box.tenant_id}/oauth2/token?client_secret=hush", secret)
    action = run(box, script("a.ps1"))
    assert finished(box, action["id"])["status"] == "Succeeded"
    result(box, action["id"], 0)
    call(box, "GET", "/api/machines?$top=1")
    call(box, "GET", "/api/alerts")
    code, lines = box.stop(signal.SIGINT)
    assert code == 0
    assert lines[-1] == "no rule was broken"
    assert re.match(r"\d+ calls: .*1 blob, .*1 runliveresponse, ", lines[-2]), lines[-2]
    calls = lines[:-2]
    assert len(calls) == int(lines[-2].split()[0])
    form = r"\d\d:\d\d:\d\d (GET|POST) /\S* \d{3} \d+ ms( ws-0001\.example\.test)?"
    assert [line for line in calls if not re.fullmatch(form, line)] == []
    for expected in [
        rf"POST /api/machines/{action['machineId']}/runliveresponse 201 \d+ ms ws-0001\.",
        rf"GET /api/machineactions/{action['id']} 200 \d+ ms ws-0001\.",
        r"GET /api/machineactions/\S+DownloadLink\(index=0\) 200 \d+ ms ws-0001\.",
        r"GET /investigation-actions-data/[^?]+ 200 \d+ ms ws-0001\.",
        r"GET /api/machines\?\$top=1 200 \d+ ms$",
        r"GET /api/alerts 404 \d+ ms$",
    ]:
        assert any(re.search(expected, line) for line in calls), (expected, calls)
    text = "\n".join(lines)
    for hidden in (box.client_secret, box.token, "hush", "sig="):
        assert hidden not in text


def test_an_address_that_others_reach_is_one_line_of_warning(start: Start) -> None:
    _, lines = start("--host", "0.0.0.0").stop()
    expected = "warning: the emulator listens on 0.0.0.0: every host that can connect can use it"
    assert lines == [expected, "0 calls", "no rule was broken"]


def test_faults_and_broken_rules(start: Start) -> None:
    box = start("--strict", "--machines", "12")
    machines = [machine["id"] for machine in call(box, "GET", "/api/machines")[1]["value"]]
    body = {
        "Commands": [{"type": "RunScript", "params": [{"key": "ScriptName", "value": "a"}]}],
        "Comment": "c",
    }
    for machine in machines[:11]:
        call(box, "POST", f"/api/machines/{machine}/runliveresponse", body)
    code, lines = box.stop()
    assert code == 1
    assert lines[-1] == "rules broken: rate 1"
    marked = [line for line in lines if "BROKEN RULE" in line]
    assert len(marked) == 1
    assert re.search(r" 429 \d+ ms ws-0011\.example\.test BROKEN RULE: rate$", marked[0])

    kinds = 'fault_kinds=["expire_token"]'
    box = start("--strict", "--switch", "fault_rate=1", "--switch", kinds)
    assert call(box, "GET", "/api/machines")[0] == 401
    code, lines = box.stop()
    assert (code, lines[-1]) == (0, "no rule was broken")
    assert re.search(r"GET /api/machines 401 \d+ ms fault: expire_token$", lines[0]), lines


def test_without_strict_a_broken_rule_is_only_reported(start: Start) -> None:
    box = start("--quiet")
    machine = call(box, "GET", "/api/machines")[1]["value"][0]["id"]
    body = {
        "Commands": [{"type": "RunScript", "params": [{"key": "ScriptName", "value": "a"}]}],
        "Comment": "c [tag]",
    }
    for _ in range(2):
        call(box, "POST", f"/api/machines/{machine}/runliveresponse", body)
    assert box.stop() == (
        0,
        ["3 calls: 1 machines, 2 runliveresponse", "rules broken: machine_busy 1"],
    )


def test_a_call_cannot_change_the_terminal(start: Start) -> None:
    box = start()
    port = urllib.parse.urlsplit(box.url).port
    assert port is not None
    for path in ["/api/%1b[31m%0aGET", "/\u009b31m\u202e", "/api/" + "x" * 5000]:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            while connection.recv(65536):
                pass
    _, lines = box.stop()
    assert all(line.isprintable() and len(line) < 400 for line in lines), lines
    hostile = {
        "time": "2026-03-10T14:36:51.25Z",
        "method": "GET",
        "path": "/\x1b[2J\n\u202e\u009b",
        "status": "closed",
        "seconds": 12.3,
        "machine": "a\tb\x07",
        "fault": "delay",
        "broken": ["rate", "sessions"],
    }
    assert call_line(hostile) == (
        "14:36:51 GET /[2J closed 12 s ab fault: delay BROKEN RULE: rate, sessions"
    )


def test_the_summary() -> None:
    violations = {"rate": 0, "sessions": 2, "machine_busy": 1}
    counters = {"machines": 2, "blob": 1, "polls:6b1d": 7}
    assert summary(counters, violations) == (
        "3 calls: 1 blob, 2 machines\nrules broken: sessions 2, machine_busy 1"
    )
    assert summary({}, {"rate": 0}) == "0 calls\nno rule was broken"
    assert summary({"token": 1}, {}).startswith("1 call: 1 token\n")


@pytest.mark.parametrize(
    ("redirect", "code"),
    [
        (">&-", 0),
        ("2>&-", 0),
        (">&- 2>&-", 0),
        ("2>/dev/full", 0),
        (">/dev/full", 1),
        ("| head -1 >/dev/null", 0),
        ("2>&1 | head -1 >/dev/null", 0),
    ],
)
def test_a_stream_that_ends_stops_nothing(redirect: str, code: int, tmp_path: Path) -> None:
    port = free_port(2)
    ended, pid = tmp_path / "code", tmp_path / "pid"
    command = f"{shlex.join(CLI)} --port {port}"
    inner = f"{{ {command} & echo $! > {pid}; wait $!; echo $? > {ended}; }} {redirect}"
    box: Any = SimpleNamespace(url=f"http://127.0.0.1:{port}", token="none")
    answers: list[int] = []
    with subprocess.Popen(["bash", "-c", inner], stderr=subprocess.DEVNULL) as shell:
        try:
            until = time.monotonic() + 30
            # The calls go on until the lines of some have been printed.
            while len(answers) < 20 and time.monotonic() < until:
                with contextlib.suppress(OSError):
                    answers.append(call(box, "GET", "/api/x")[0])
                time.sleep(0.05)
        finally:
            os.kill(int(pid.read_text()), signal.SIGTERM)
            shell.wait(30)
    assert answers == [401] * 20
    assert int(ended.read_text()) == code


def test_a_reader_who_does_not_read_stops_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(CLI, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    box: Any = SimpleNamespace(**json.loads(process.stdout.readline()))
    for _ in range(600):
        assert call(box, "GET", "/api/" + "x" * 250)[0] == 404
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert time.monotonic() - began < 15
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()


HOSTILE = {"A": "it's $HOME `x`", "B": 'a "b" \\ \u2019 ;', "C": "plain"}


def test_environment_lines_for_a_shell(tmp_path: Path) -> None:
    lines = environment_text(HOSTILE, "sh")
    names = list(HOSTILE)
    show = "; ".join(f'printf "%s\\0" "${name}"' for name in names)
    done = subprocess.run(
        ["sh", "-c", f"{lines}\n{show}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\0")[:-1] == list(HOSTILE.values())
    assert json.loads(environment_text(HOSTILE, "json")) == HOSTILE
    assert environment_text(HOSTILE, "powershell").splitlines() == [
        "$env:A = 'it''s $HOME `x`'",
        "$env:B = 'a \"b\" \\ \u2019\u2019 ;'",
        "$env:C = 'plain'",
    ]


@pytest.mark.parametrize("form", ["sh", "powershell", "json"])
def test_the_environment_of_the_command(form: str, tmp_path: Path) -> None:
    output = tmp_path / "env"
    with output.open("w") as stdout:
        process = subprocess.Popen(
            [*CLI, "--proxy", "--env", form], stdout=stdout, stderr=subprocess.DEVNULL
        )
    for _ in range(200):
        if output.read_text().endswith("\n"):
            break
        time.sleep(0.05)
    process.terminate()
    assert process.wait(30) == 0
    text = output.read_text()
    if form == "json":
        found = json.loads(text)
    else:
        pattern = r"export (\w+)=(.*)" if form == "sh" else r"\$env:(\w+) = '(.*)'"
        matches = [re.fullmatch(pattern, line) for line in text.splitlines()]
        assert all(matches), text
        found = {match[1]: match[2] for match in matches if match}
    assert found["MDE_LIVE_RESPONSE_ENDPOINT"].startswith("http://127.0.0.1:")
    for name in ["AZURE_CLIENT_SECRET", "HTTPS_PROXY", "REQUESTS_CA_BUNDLE", "NO_PROXY"]:
        assert found[name]


def test_exit_codes_and_durations_of_scripts(tmp_path: Path, start: Start) -> None:
    (tmp_path / "a.out").write_text("done")
    content = tmp_path / "a.out"
    box = start(
        *["--speed", "60", "--script", f"a.ps1={content}", "--script", f"b.ps1={content}"],
        *["--exit-code", "a.ps1=3", "--duration", "a.ps1=5m"],
    )
    action = run(box, script("a.ps1"), script("b.ps1"))
    commands = finished(box, action["id"])["commands"]
    first, second = (json.loads(result(box, action["id"], index)) for index in (0, 1))
    assert (first["exit_code"], second["exit_code"]) == (3, 0)
    minutes = [command["endTime"][14:16] for command in commands]
    assert commands[0]["startTime"][14:16] != minutes[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--exit-code", "a.ps1=3"], "--exit-code names a.ps1, which no --script has"),
        (["--duration", "a.ps1=3"], "--duration names a.ps1, which no --script has"),
        (["--exit-code", "a.ps1=x"], "'x' is not an exit code"),
        (["--exit-code", "3"], "must have the form NAME=VALUE"),
        (["--duration", "a.ps1=soon"], "'soon' is not a duration"),
        (["--env", "cmd"], "invalid choice: 'cmd'"),
    ],
)
def test_invalid_options(arguments: list[str], expected: str) -> None:
    done = subprocess.run(
        [*CLI, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
