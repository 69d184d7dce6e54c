"""The emulator's image and the compose example, as far as they can be checked without Docker."""

import importlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from emulator_helpers import DIRECT
from runtime_helpers import free_port

from mde_live_response._cli.main import build_parser
from mde_live_response.emulator import Emulator

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
# mkdocs brings it, without types.
YAML: Any = importlib.import_module("yaml")
COMPOSE = YAML.safe_load((ROOT / "examples/container/compose.yaml").read_text(encoding="utf-8"))
HEALTH_CHECK = ROOT / "docker" / "healthcheck.py"


def instruction(name: str) -> list[str]:
    """Return the list of an instruction in JSON form."""
    found: list[str] = json.loads(re.findall(rf"^ *{name} (\[.*\])$", DOCKERFILE, re.M)[0])
    return found


@contextmanager
def container(port: int, *arguments: str) -> Iterator[dict[str, Any]]:
    """Run the image's entry point with its environment, on another port."""
    program, *entry = instruction("ENTRYPOINT")
    assert program == "mde-live-response"
    env = dict(re.findall(r'(PYTHON\w+)="?([^"\n]*?)"?(?: \\)?$', DOCKERFILE, re.M))
    command = [sys.executable, "-m", "mde_live_response", *entry, *arguments]
    command[command.index("8899")] = str(port)
    with subprocess.Popen(
        command,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        shown = json.loads(process.stdout.readline())
        try:
            yield shown
        finally:
            process.send_signal(signal.SIGTERM)
            _, shown["stderr"] = process.communicate(timeout=30)
            shown["code"] = process.returncode


def health(port: int) -> int:
    return subprocess.run([sys.executable, HEALTH_CHECK, str(port)], check=False).returncode


def test_the_source_that_the_image_copies_is_complete(tmp_path: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    patterns = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines
    assert len(patterns) > 8
    for pattern in patterns:
        found = list(ROOT.glob(pattern))
        assert found, pattern
        for path in found:
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                ignored = shutil.ignore_patterns("*.so", "__pycache__")
                shutil.copytree(path, target, ignore=ignored)
            else:
                shutil.copy(path, target)
    command = ["cargo", "metadata", "--no-deps", "--offline", "--locked", "--format-version=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for file in ("LICENSE-MIT", "LICENSE-APACHE", "README.md", "pyproject.toml"):
        assert (tmp_path / file).is_file(), file
    for source in re.findall(r"^COPY ([^-.]\S*) ", DOCKERFILE, re.M):
        assert (tmp_path / source).is_file(), source


def test_the_image_is_built_with_the_versions_of_the_project() -> None:
    tools = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    maturin = re.findall(r"maturin==(\S+)", DOCKERFILE)
    assert maturin == re.findall(r"maturin==(\S+)", tools)
    cargo = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    oldest = re.findall(r'rust-version = "(\S+)"', cargo)
    assert re.findall(r"^FROM rust:([\d.]+)-", DOCKERFILE, re.M) == oldest


def test_the_image_is_small_and_has_no_root() -> None:
    stages = DOCKERFILE.split("\nFROM ")
    last = stages[-1]
    assert last.startswith("python:3.")
    assert "-slim-" in last.splitlines()[0]
    assert "\nUSER 10001\n" in last
    assert last.index("\nUSER ") > last.index("pip install")
    port = instruction("ENTRYPOINT")[-1]
    assert f"EXPOSE {port} {int(port) + 1}" in last
    assert f"PORT = {port}\n" in HEALTH_CHECK.read_text(encoding="utf-8")
    assert instruction("CMD")[1] in last[: last.index("HEALTHCHECK")]


@pytest.mark.parametrize("arguments", [[], ["--tls"]], ids=["http", "https"])
def test_the_health_check(arguments: list[str]) -> None:
    port = free_port(2)
    assert health(port) == 1
    with container(port, *arguments) as shown:
        assert health(port) == 0
    assert health(port) == 1
    assert shown["code"] == 0
    assert "UserWarning" not in shown["stderr"]


def test_the_results_are_at_the_next_port() -> None:
    port = free_port(2)
    with Emulator(host="127.0.0.1", port=port) as loopback:
        loopback.on_script("a.ps1")
        link = link_of(loopback.url, loopback.token)
        assert not link.startswith(f"http://127.0.0.1:{port + 1}/"), "only on every interface"
    script = f"a.ps1={HEALTH_CHECK}"
    with container(port, "--script", script) as shown:
        assert link_of(f"http://localhost:{port}", shown["token"]).startswith(
            f"http://localhost:{port + 1}/"
        )
    with socket.create_server(("", port + 1)), container(port, "--script", script) as shown:
        link = link_of(f"http://localhost:{port}", shown["token"])
        assert re.match(r"http://localhost:\d+/", link)
        assert f":{port + 1}/" not in link


def link_of(url: str, token: str) -> str:
    """Run a script and return the link to its result."""

    def send(method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(url + path, data, headers, method=method)
        with DIRECT.open(request, timeout=30) as answer:
            return json.load(answer)

    machine = send("GET", "/api/machines")["value"][0]["id"]
    commands = [{"type": "RunScript", "params": [{"key": "ScriptName", "value": "a.ps1"}]}]
    action = send(
        "POST",
        f"/api/machines/{machine}/runliveresponse",
        {"Commands": commands, "Comment": "c"},
    )
    while action["status"] in ("Pending", "InProgress"):
        time.sleep(0.1)
        action = send("GET", f"/api/machineactions/{action['id']}")
    path = f"/api/machineactions/{action['id']}/GetLiveResponseResultDownloadLink(index=0)"
    value: str = send("GET", path)["value"]
    return value


def test_the_compose_example_names_the_emulators_credentials() -> None:
    environment = COMPOSE["services"]["playbook"]["environment"]
    entry = instruction("ENTRYPOINT")
    with Emulator() as emulator:
        for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
            assert environment[name] == emulator.env[name]
    for name in ("MDE_LIVE_RESPONSE_ENDPOINT", "AZURE_AUTHORITY_HOST"):
        assert environment[name] == f"http://127.0.0.1:{entry[-1]}"
    published = COMPOSE["services"]["emulator"]["ports"]
    ports = [int(entry[-1]), int(entry[-1]) + 1]
    assert published == [f"127.0.0.1:{port}:{port}" for port in ports]


def test_the_compose_example_runs(tmp_path: Path) -> None:
    folder = ROOT / "examples" / "container"
    service = COMPOSE["services"]["emulator"]
    arguments = [argument.replace("=/", f"={folder}/") for argument in service["command"]]
    build_parser().parse_args(["emulator", *arguments])
    for part in COMPOSE["services"].values():
        assert all((folder / volume["source"]).exists() for volume in part["volumes"])
    playbook = COMPOSE["services"]["playbook"]
    program = folder / Path(playbook["command"][-1]).relative_to("/")
    port = free_port(2)
    env = {
        name: value.replace(":8899", f":{port}") for name, value in playbook["environment"].items()
    }
    with container(port, *arguments) as shown:
        done = subprocess.run(
            [sys.executable, program],
            env={**os.environ, **env, "no_proxy": "*"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        control = f"http://127.0.0.1:{port}/__box/violations"
        with DIRECT.open(control, timeout=30) as answer:
            assert not any(json.load(answer).values())
    assert done.returncode == 0, done.stderr
    names = [f"ws-000{number}.example.test Succeeded" for number in (1, 2, 3)]
    assert done.stdout.splitlines() == names
    assert shown["code"] == 0, shown["stderr"]
    assert shlex.join(service["command"]).count("--strict") == 1
