"""The command `mde-live-response emulator` and its options."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from emulator_helpers import call, finished, result, run, script
from pki_helpers import make_authority, make_signed

from mde_live_response.__main__ import main

CLI = [sys.executable, "-m", "mde_live_response", "emulator"]


@pytest.fixture
def serving() -> Iterator[Callable[..., Any]]:
    """Return a function that starts the command and returns the JSON that it prints."""
    running = []

    def serve(*arguments: str) -> Any:
        process = subprocess.Popen([*CLI, *arguments], stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        return SimpleNamespace(**json.loads(process.stdout.readline()))

    yield serve
    for process in running:
        process.kill()
        process.communicate()


def test_options_configure_the_emulator(tmp_path: Path, serving: Callable[..., Any]) -> None:
    (tmp_path / "triage.out").write_text("nothing found", encoding="utf-8")
    (tmp_path / "helper.exe").write_bytes(b"MZ")
    (tmp_path / "collected").write_bytes(b"what matters")
    remote = r"C:\a=b\triage.zip"
    box = serving(
        *[
            "--machines",
            "1",
            "--machine",
            "srv-01.example.test",
            "--offline",
            "ws-0900.example.test",
            "--speed",
            "50",
        ],
        *[
            "--script",
            f"triage.ps1={tmp_path / 'triage.out'}",
            "--library",
            str(tmp_path / "helper.exe"),
        ],
        *["--file", f"{remote}={tmp_path / 'collected'}"],
        *[
            "--switch",
            "transcript_line=false",
            "--switch",
            "windows=fixed",
            "--switch",
            "accepted_status=200",
        ],
    )
    names = [
        machine["computerDnsName"] for machine in call(box, "GET", "/api/machines")[1]["value"]
    ]
    assert names == ["ws-0001.example.test", "srv-01.example.test", "ws-0900.example.test"]
    library = [file["fileName"] for file in call(box, "GET", "/api/libraryfiles")[1]["value"]]
    assert library == ["helper.exe", "triage.ps1"]
    commands = [
        ("PutFile", {"FileName": "helper.exe"}),
        script("triage.ps1"),
        ("GetFile", {"Path": remote}),
    ]
    action = run(box, *commands, machine="srv-01")
    assert finished(box, action["id"])["status"] == "Succeeded"
    assert json.loads(result(box, action["id"], 1))["script_output"] == "nothing found\0"
    assert gzip.decompress(result(box, action["id"], 2)) == b"what matters"
    queued = run(box, script("triage.ps1"), machine="ws-0900")
    assert call(box, "GET", f"/api/machineactions/{queued['id']}")[1]["status"] == "Pending"
    machine_id = call(box, "GET", "/api/machines/ws-0001")[1]["id"]
    body = {
        "Commands": [{"type": "PutFile", "params": [{"key": "FileName", "value": "helper.exe"}]}],
        "Comment": "c",
    }
    assert call(box, "POST", f"/api/machines/{machine_id}/runliveresponse", body)[0] == 200


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--script", "triage.ps1"], "'triage.ps1' must have the form NAME=VALUE"),
        (["--script", "triage.ps1=/no/such/file"], "file '/no/such/file' does not exist"),
        (["--library", "/no/such/file"], "file '/no/such/file' does not exist"),
        (["--file", "C:\\x=/no/such/file"], "file '/no/such/file' does not exist"),
        (["--switch", "windows"], "'windows' must have the form NAME=VALUE"),
        (["--machines", "some"], "--machines"),
        (["--proxy", "0"], "'0' is not a port of a proxy: give 1 to 65535"),
        (["--proxy", "x"], "'x' is not a port"),
    ],
    ids=str,
)
def test_invalid_usage(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["emulator", *arguments])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--switch", "nosuch=1"], 'there is no switch "nosuch"; valid names are accepted_status'),
        (
            ["--switch", "windows=round"],
            "switch windows is \"round\"; it must be 'sliding' or 'fixed'",
        ),
        (["--machines", "-1"], "machines is -1; it must be between 0 and 1000000"),
        (["--speed", "0"], "speed is 0; it must be above 0"),
        (["--seed", "-1"], "seed is -1"),
        (["--machine", ""], "a machine needs a name"),
        (["--tls-name", "a"], "tls_names has no effect without tls or proxy"),
        (["--tls", "--tls-name", "a b"], 'tls_names has "a b", which is not the name of a host'),
        (["--ca-folder", "/tmp"], "ca_folder has no effect without tls or proxy"),
        (["--tls", "--cert", "x"], "--cert and --key belong together: give both"),
        (["--tls", "--key", "x"], "--cert and --key belong together: give both"),
        (["--cert", "x", "--key", "y"], "certificate has no effect without tls"),
        (["--tls", "--cert", "/nosuch", "--key", "y"], 'certificate: "/nosuch" cannot be used'),
        (["--tls", "--ca-folder", "/dev/null/x"], "ca_folder: the folder"),
        (["--script", f"x y={os.devnull}"], "is not a file"),
        (["--script", f"x y={__file__}"], "is not a valid name of a library file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_invalid_values(arguments: list[str], expected: str) -> None:
    done = subprocess.run(
        [*CLI, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_and_the_help_name_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["emulator", "--help"])
    expected = capsys.readouterr().out
    page = (Path(__file__).parents[1] / "docs" / "emulator.md").read_text(encoding="utf-8")
    for option in ["--host", "--port", "--machines", "--speed", "--seed", "--tls"]:
        assert option in expected
        assert f"`{option}" in page
    for option in [
        "--machine NAME",
        "--offline NAME",
        "--script NAME=FILE",
        "--library FILE",
        "--file PATH=FILE",
        "--tls-name NAME",
        "--cert FILE",
        "--key FILE",
        "--ca-folder DIR",
        "--proxy [PORT]",
        "--exit-code NAME=N",
        "--duration NAME=SECONDS",
        "--quiet",
        "--strict",
    ]:
        assert option in expected
        assert f"`{option}`" in page
    assert "--env {sh,powershell,json}" in expected
    assert "`--env sh|powershell|json`" in page.replace("\\|", "|")
    assert "--switch NAME=VALUE" in expected
    assert "`--switch NAME=VALUE`" in page


def test_the_proxy_and_the_authority(tmp_path: Path, serving: Callable[..., Any]) -> None:
    folder = tmp_path / "ca"
    box = serving("--proxy", "--tls", "--tls-name", "mde.example.test", "--ca-folder", str(folder))
    assert box.ca_bundle == str(folder / "ca.pem")
    assert box.url.startswith("https://127.0.0.1:")
    for url in ("https://mde.example.test/api/x", "https://api.security.microsoft.com/api/x"):
        command = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--noproxy", ""]
        command += ["--cacert", box.ca_bundle, "-x", box.proxy_url, url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout == "401"


def test_a_certificate_of_ones_own(tmp_path: Path, serving: Callable[..., Any]) -> None:
    authority = make_authority(tmp_path, "authority")
    make_signed(tmp_path, "own", "authority", "IP:127.0.0.1")
    (tmp_path / "own.key").chmod(0o600)
    box = serving("--tls", "--cert", str(tmp_path / "own.crt"), "--key", str(tmp_path / "own.key"))
    assert not hasattr(box, "ca_bundle")
    command = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--noproxy", "*"]
    command += ["--cacert", str(authority), f"{box.url}/api/x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "401"


def test_a_profile_sets_switches(
    tmp_path: Path, serving: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "profile.json"
    observed = {"no_machines_is_404": True, "context_host": "https://api.security.microsoft.com"}
    path.write_text(json.dumps({"format": 1, "observed": observed, "counts": {}, "facts": {}}))
    box = serving("--machines", "0", "--profile", str(path))
    assert call(box, "GET", "/api/machines")[0] == 404
    box = serving("--machines", "0", "--profile", str(path), "--switch", "no_machines_is_404=false")
    status, body = call(box, "GET", "/api/machines")
    assert status == 200
    assert body["@odata.context"].startswith("https://api.security.microsoft.com/")
    path.write_text("{}")
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert main(["emulator", "--profile", str(path)]) == 2
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert "is not a profile" in capsys.readouterr().err
