"""What a probe of a tenant shows, what it sends, and an emulator that behaves like that tenant."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mde_live_response as mde
from mde_live_response import Command, LiveResponseClient, Profile
from mde_live_response.__main__ import main
from mde_live_response.emulator import Emulator

MACHINE = "ws-0001.example.test"
MARKER = "Zqx7"
SWITCHES: dict[str, Any] = {
    "list_order": "oldest",
    "compression": "raw_deflate",
    "transcript_form": "bom",
    "transcript_nuls": 3,
    "no_machines_is_404": True,
    "out_of_range_status": 404,
    "gzip_name": False,
    "blob_content_encoding": True,
}


def add_history(emulator: Emulator) -> None:
    """Run two sessions with all that a probe can read."""
    emulator.on_script(f"{MARKER}.ps1", stdout=f"{MARKER} says\nhello", exit_code=5)
    emulator.put_remote_file("*", rf"C:\{MARKER}.txt", MARKER.encode())
    emulator.add_library_file("tool.exe", b"MZ")
    commands = [
        Command.put_file("tool.exe"),
        Command.run_script(f"{MARKER}.ps1", f"-x {MARKER};"),
        Command.get_file(rf"C:\{MARKER}.txt"),
    ]
    with emulator.client() as client:
        client.run(MACHINE, commands, f"{MARKER} why")
        client.run(MACHINE, Command.run_script("missing.sh"), f"{MARKER} why")


@pytest.fixture
def tenant() -> Iterator[Emulator]:
    with Emulator(speed=20.0, switches=SWITCHES) as emulator:
        add_history(emulator)
        yield emulator


def sent(emulator: Emulator, since: int) -> set[str]:
    requests = emulator.requests[since:]
    return {request["method"] for request in requests if "/oauth2/" not in request["path"]}


def test_a_probe_only_reads_and_finds_the_switches(tenant: Emulator) -> None:
    before = len(tenant.requests)
    with tenant.client() as client:
        profile = client.probe()
        again = asyncio.run(client.probe_async())
    assert sent(tenant, before) == {"GET"}
    assert {name: profile.observed[name] for name in SWITCHES} == SWITCHES
    assert profile.observed["nonzero_exit"] == "completed"
    assert profile.observed["missing_file"] == "fails"
    assert profile.observed["context_host"] is None
    assert "cap_answer" not in profile.observed
    assert profile.counts["transcript_nuls"] == 1
    assert profile.observed == again.observed
    assert not any(tenant.violations.values())


@pytest.mark.parametrize("compression", ["deflate", "raw_deflate", "gzip", "none"])
def test_the_compression_is_seen_over_http(compression: str) -> None:
    with Emulator(speed=20.0, switches={"compression": compression}) as emulator:
        add_history(emulator)
        with emulator.client() as client:
            assert client.probe().observed["compression"] == compression


def test_nothing_of_the_tenant_is_saved(tenant: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    with tenant.client() as client:
        client.probe().save(path)
        ids = [action.id for action in client.list_machine_actions()]
        ids += [machine.id for machine in client.list_machines()]
    text = path.read_text().lower()
    hosts = [tenant.url.removeprefix("http://"), "127.0.0.1", "example.test"]
    for secret in [MARKER, "tool.exe", "says", "why", tenant.tenant_id, tenant.client_id, "mlr:"]:
        assert secret.lower() not in text
    for secret in ids + hosts:
        assert secret.lower() not in text


def test_a_profile_is_saved_and_loaded(tenant: Emulator, tmp_path: Path) -> None:
    with tenant.client() as client:
        profile = client.probe()
    path = tmp_path / "profile.json"
    profile.save(path)
    loaded = Profile.load(str(path))
    assert loaded == profile
    assert hash(loaded) == hash(profile)
    assert loaded.to_dict() == profile.to_dict()
    assert list(profile.to_dict()) == ["observed", "counts", "facts"]
    profile.observed["list_order"] = "changed"
    assert profile.observed["list_order"] == "oldest"
    assert "switches" in repr(profile)
    with pytest.raises(OSError, match="could not read the profile"):
        Profile.load(tmp_path / "none.json")
    with pytest.raises(OSError, match="could not write the profile"):
        profile.save(tmp_path / "none" / "profile.json")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", "not JSON"), ("[1]", "not a profile"), ('{"format": 9}', "its format is 9")],
)
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(mde.InvalidRequestError, match=expected) as caught:
        Profile.load(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    with pytest.raises(mde.InvalidRequestError, match=expected):
        Emulator(profile=path)


def test_an_emulator_behaves_like_the_tenant(tenant: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    with tenant.client() as client:
        profile = client.probe()
    profile.save(path)
    for given in (profile, path, str(path)):
        with Emulator(speed=20.0, profile=given) as emulator:
            add_history(emulator)
            with emulator.client() as client:
                observed = client.probe().observed
        # The life of a link is real time: it depends on how fast the clock of the emulator runs.
        del observed["link_life"]
        assert observed == {k: v for k, v in profile.observed.items() if k != "link_life"}


def test_switches_take_precedence_over_a_profile(tenant: Emulator) -> None:
    with tenant.client() as client:
        profile = client.probe()
    switches = {"list_order": "newest"}
    with Emulator(speed=20.0, profile=profile, switches=switches) as emulator:
        add_history(emulator)
        with emulator.client() as client:
            observed = client.probe().observed
    assert observed["list_order"] == "newest"
    assert observed["transcript_form"] == "bom"


def test_a_profile_of_an_unknown_switch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    content = {"format": 1, "observed": {"new_switch": 1}, "counts": {}, "facts": {}}
    path.write_text(json.dumps(content))
    with pytest.raises(mde.InvalidRequestError, match="there is no switch"):
        Emulator(profile=path)


@pytest.mark.parametrize("profile", [7, b"x", {"list_order": "oldest"}, Profile])
def test_a_profile_of_a_wrong_type_is_refused(profile: Any) -> None:
    with pytest.raises(TypeError, match=r"profile is .*; it must be a Profile or the path of one"):
        Emulator(profile=profile)


def test_scripts_on_a_machine(emulator: Emulator, client: LiveResponseClient) -> None:
    profile = client.probe(MACHINE)
    assert profile.observed["accepted_status"] == 201
    assert profile.observed["comment_form"] == "keep"
    assert profile.facts["long_comment_kept"] is True
    names = [file.file_name for file in client.library.list_files()]
    assert len([name for name in names if name.startswith("mlr-probe-")]) == 5
    plan = client.library.prune(older_than=0, dry_run=True)
    assert len([name for name in plan.delete if name.startswith("mlr-probe-")]) == 5
    assert not any(emulator.violations.values())
    machine = client.get_machine(MACHINE)
    assert client.probe(machine).observed["live_response_disabled"] is False


@pytest.mark.parametrize("missing", ["Machine.LiveResponse", "Library.Manage"])
def test_a_token_that_may_not_run_scripts_is_refused(emulator: Emulator, missing: str) -> None:
    roles = {"Machine.LiveResponse", "Machine.Read.All", "Library.Manage"} - {missing}
    token = emulator.token_with(*roles)
    with (
        emulator.client(credential=lambda: token) as client,
        pytest.raises(mde.PermissionDeniedError, match=missing) as caught,
    ):
        client.probe(MACHINE)
    assert caught.value.hint
    assert "POST" not in {request["method"] for request in emulator.requests}


def test_the_smaller_permission_is_observed(emulator: Emulator) -> None:
    token = emulator.token_with("Machine.Read.All")
    with emulator.client(credential=lambda: token) as client:
        assert client.probe().observed["read_permission"] == "any"
    token = emulator.token_with("Machine.LiveResponse")
    with (
        emulator.client(credential=lambda: token) as client,
        pytest.raises(mde.PermissionDeniedError),
    ):
        client.probe()


@pytest.fixture
def environment(tenant: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    for name, value in tenant.env.items():
        monkeypatch.setenv(name, value)
    return tenant


def test_the_command_shows_the_profile_and_saves_it(
    environment: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "profile.json"
    assert main(["probe", "--save", str(path)]) == 0
    shown, notes = capsys.readouterr()
    saved = json.loads(path.read_text())
    for name, value in saved["observed"].items():
        line = next(line for line in shown.splitlines() if line.split()[:1] == [name])
        assert json.dumps(value) in line
        assert line.endswith(str(saved["counts"][name]))
    for name in saved["facts"]:
        assert name in shown
    assert f"Saved to {path}" in notes
    assert "no name, id, path, address or text of the tenant" in shown


def test_the_command_as_json(
    environment: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "profile.json"
    assert main(["probe", MACHINE, "--json", "--save", str(path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == Profile.load(path).to_dict()
    assert document["observed"]["accepted_status"] == 201
    assert main(["probe", "nobody.example.test", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "NotFoundError"


@pytest.mark.parametrize("name", ["none/profile.json", "."])
def test_a_path_that_cannot_be_saved_to_ends_the_command_first(
    environment: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    before = len(environment.requests)
    assert main(["probe", "--save", str(tmp_path / name)]) == 2
    assert "--save is" in capsys.readouterr().err
    assert len(environment.requests) == before
