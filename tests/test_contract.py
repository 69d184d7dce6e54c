"""Types of the public interface: cached tuples, durations, paths, times, equality."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from runtime_helpers import MACHINE, requests_of

import mde_live_response as mde
from mde_live_response import Command, InvalidRequestError, LiveResponseClient
from mde_live_response.emulator import Emulator

SCRIPT = Command.run_script("a.ps1")


@pytest.fixture
def client(emulator: Emulator) -> Iterator[LiveResponseClient]:
    emulator.on_script("a.ps1", stdout="done")
    emulator.put_remote_file("*", r"C:\a.txt", b"evidence")
    with emulator.client() as client:
        yield client


def collect(client: LiveResponseClient, folder: Path) -> mde.SessionResult:
    commands = [SCRIPT, Command.get_file(r"C:\a.txt")]
    return client.run(MACHINE, commands, "why", save_to=folder)


def test_sequences_are_tuples_made_once(client: LiveResponseClient, tmp_path: Path) -> None:
    result = collect(client, tmp_path)
    machine = client.get_machine(MACHINE)
    report = client.run_many([MACHINE], SCRIPT, "why").report(60)
    limits = mde.Limits()
    for owner, names in [
        (result, ("commands", "scripts", "files")),
        (result.action, ("commands",)),
        (result.commands[0], ("errors",)),
        (machine, ("machine_tags",)),
        (report, ("outcomes",)),
        (client.check(), ("findings",)),
        (limits, ("submit", "read")),
    ]:
        for name in names:
            assert type(getattr(owner, name)) is tuple, name
            assert getattr(owner, name) is getattr(owner, name), name
    assert result.action is result.action
    assert result.scripts[0] is result.commands[0].script
    assert result.files[0] is result.commands[1].file
    assert type(report.to_dicts()) is tuple
    assert report.to_dicts() is report.to_dicts()
    assert type(client.list_machines()) is tuple
    assert type(client.list_machine_actions()) is tuple
    assert type(client.library.list_files()) is tuple
    assert type(client.list_sessions()) is tuple


def test_the_result_is_loaded_blocking_and_in_a_loop(client: LiveResponseClient) -> None:
    report = client.run_many([MACHINE, "nobody.example.test"], SCRIPT, "why").report(60)

    async def load() -> tuple[mde.SessionResult | None, ...]:
        loads = [outcome.load_result_async() for outcome in report]
        return tuple(await asyncio.gather(*loads))

    results = tuple(outcome.load_result() for outcome in report)
    assert results == asyncio.run(load())
    assert results[0] is not None
    assert results[0].scripts[0].text.endswith("done")
    assert results[1] is None
    assert not hasattr(report[0], "result")


def test_a_report_is_a_sequence(client: LiveResponseClient) -> None:
    report = client.run_many([MACHINE, "ws-0002.example.test"], SCRIPT, "why").report(60)
    assert len(report) == 2
    assert list(report) == list(report.outcomes)
    assert (report[0], report[-1]) == report.outcomes
    assert report[:1] == report.outcomes[:1]
    assert report[1] in report
    assert list(reversed(report)) == list(reversed(report.outcomes))
    with pytest.raises(IndexError):
        report[2]
    assert report.to_dict()["outcomes"] == [outcome.to_dict() for outcome in report]


def test_a_fleet_is_a_context_manager(client: LiveResponseClient) -> None:
    with client.run_many([MACHINE], SCRIPT, "why") as fleet:
        assert [outcome.ok for outcome in fleet] == [True]

    async def main() -> bool:
        async with await client.run_many_async([MACHINE], SCRIPT, "why") as fleet:
            return (await fleet.report_async()).ok

    assert asyncio.run(main())


def test_leaving_the_block_of_a_fleet_detaches(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    emulator.on_script("slow.ps1", duration=1e6)
    with client.run_many([MACHINE], Command.run_script("slow.ps1"), "why") as fleet:
        pass
    with pytest.raises(InvalidRequestError, match="closed"):
        fleet.report(10)


def test_a_path_is_a_path(client: LiveResponseClient, tmp_path: Path) -> None:
    result = collect(client, tmp_path)
    (file,) = result.files
    assert isinstance(file.path, Path)
    assert file.path.read_bytes() == b"evidence"
    assert file.to_dict()["path"] == str(file.path)
    session = client.session(result.action.id)
    again = session.download(result.commands[1], tmp_path / "again")
    assert again.path == tmp_path / "again"
    assert b"".join(session.stream(result.commands[1])) == b"evidence"
    with pytest.raises(InvalidRequestError):
        session.download(-1, tmp_path / "none")


def test_a_stream_can_be_closed_in_a_loop(client: LiveResponseClient, tmp_path: Path) -> None:
    session = client.session(collect(client, tmp_path).action.id)

    async def main() -> list[bytes]:
        stream = session.stream(1)
        await stream.aclose()
        return [piece async for piece in stream]

    assert asyncio.run(main()) == []


def times(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            is_time = key.endswith(("_time", "_utc")) or key == "last_seen"
            if is_time and item is not None:
                yield item
            else:
                yield from times(item)
    elif isinstance(value, list):
        for item in value:
            yield from times(item)


def test_times_have_one_form(client: LiveResponseClient, tmp_path: Path) -> None:
    report = client.run_many([MACHINE], SCRIPT, "why").report(60)
    result = collect(client, tmp_path)
    models: list[Any] = [
        result,
        client.get_machine(MACHINE),
        client.library.list_files()[0],
        report[0],
        report,
    ]
    for model in models:
        found = list(times(json.loads(json.dumps(model.to_dict()))))
        assert found, model
        for text in found:
            assert len(text) == len("2026-01-31T12:34:56.000000+00:00"), text
            assert datetime.fromisoformat(text).tzinfo == timezone.utc
    created = result.action.creation_date_time_utc
    assert created is not None
    text = result.to_dict()["action"]["creation_date_time_utc"]
    assert text == created.isoformat(timespec="microseconds")


def test_models_are_equal_and_hashed_by_what_they_are(
    emulator: Emulator, client: LiveResponseClient
) -> None:
    before = client.get_machine(MACHINE)
    emulator.advance(90_000)
    after = client.get_machine(MACHINE)
    assert before == after
    assert len({before, after, *client.list_machines()}) == 3
    anything: object = before.id
    assert before != anything
    for model in (mde.Rate(1, 2), mde.Limits(), client.check(), Command.get_file("/a")):
        assert isinstance(hash(model), int)
    assert mde.Limits() == mde.Limits()
    assert hash(mde.Limits()) == hash(mde.Limits())
    assert mde.Limits() != mde.Limits(sessions=7)
    assert client.run(MACHINE, SCRIPT, "a") != client.run(MACHINE, SCRIPT, "b")


def test_limits_and_rates_have_a_dict() -> None:
    assert mde.Rate(3, 60).to_dict() == {"count": 3, "per": 60.0}
    found = mde.Limits(sessions=7).to_dict()
    assert found["submit"] == [{"count": 10, "per": 60.0}]
    assert (found["sessions"], found["queue_time"], found["upload_size"]) == (7, 7200.0, 20971520)


@pytest.mark.parametrize("size", [0, -1, -(2**62)])
def test_an_upload_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(mde.InvalidRequestError, match=f"upload_size is {size}"):
        mde.Limits(upload_size=size)


def test_a_timedelta_is_seconds(emulator: Emulator, client: LiveResponseClient) -> None:
    minute = timedelta(minutes=1)
    assert mde.Rate(1, minute) == mde.Rate(1, 60.0)
    limits = mde.Limits(queue_time=minute, script_time=minute, settle_time=minute)
    assert (limits.queue_time, limits.script_time, limits.settle_time) == (60.0, 60.0, 60.0)
    with emulator.client(
        max_wait=minute, request_timeout=minute, connect_timeout=minute, limits=limits
    ) as other:
        assert other.run(MACHINE, SCRIPT, "why", timeout=minute, cancel_pending_after=minute).ok
        session = other.submit(MACHINE, SCRIPT, "why", timeout=minute)
        assert session.wait(minute).done
        assert session.result(timeout=minute).ok
        asked = len(requests_of(emulator, "machineactions"))
        assert session.refresh(max_age=timedelta(days=1)).done
        assert len(requests_of(emulator, "machineactions")) == asked
        fleet = other.run_many([MACHINE], SCRIPT, "why", cancel_pending_after=minute)
        assert fleet.report(minute).ok
    with pytest.raises(InvalidRequestError, match="not a number of seconds"):
        session.wait(timedelta(seconds=-1))
    with pytest.raises(TypeError, match="seconds or a timedelta"):
        session.wait("soon")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="request_timeout"):
        emulator.client(request_timeout=timedelta(0))


@pytest.mark.parametrize("top", [0, -1])
def test_top_is_at_least_one(top: int, emulator: Emulator, client: LiveResponseClient) -> None:
    for call in (client.list_machines, client.list_machine_actions):
        with pytest.raises(InvalidRequestError, match=f"top is {top}"):
            call(top=top)
    assert not emulator.requests


def test_an_empty_proxy_is_refused(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidRequestError, match="pass False"):
        emulator.client(proxy="")
    with pytest.raises(TypeError, match="proxy takes a URL or False, or None, not bool"):
        emulator.client(proxy=True)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with emulator.client(proxy=False) as client:
        assert len(client.list_machines()) == 3


def test_the_cloud_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "api.security.microsoft.com" in repr(LiveResponseClient("token"))
    monkeypatch.setenv("MDE_LIVE_RESPONSE_CLOUD", "gcc-high")
    in_government = repr(LiveResponseClient("token"))
    assert in_government == repr(LiveResponseClient("token", cloud="gcc-high"))
    assert in_government != repr(LiveResponseClient("token", cloud="public"))
    monkeypatch.setenv("MDE_LIVE_RESPONSE_CLOUD", "nowhere")
    with pytest.raises(InvalidRequestError, match="nowhere"):
        LiveResponseClient("token")
