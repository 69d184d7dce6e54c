"""No secret leaks: every call runs with every fault at DEBUG, and all output is searched."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from leak_helpers import ARGS, PACKAGE, LeakDetector
from runtime_helpers import run_python

import mde_live_response as mde
from mde_live_response import Command, LiveResponseClient
from mde_live_response.emulator import Emulator

PROXY, STATE, PASSWORD, ASSERTION, HEADER, GIVEN, CLAIMED = (
    f"m4rk-{name}"
    for name in ("proxy", "state", "password", "assertion", "header", "given", "claimed")
)


@pytest.fixture
def detector(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[LeakDetector]:
    """Searched at the end, including DEBUG logs, warnings, stdout and stderr."""
    caplog.set_level(logging.DEBUG)
    detector = LeakDetector()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield detector
    for warning in warned:
        detector.text("warning", warning.message)
    for record in caplog.records:
        detector.text("log", f"{record.getMessage()} {record.args} {record.exc_text}")
    for stream in capfd.readouterr():
        detector.text("stream", stream)
    assert detector.leaks() == set()


def populated(**options: Any) -> Emulator:
    emulator = Emulator(machines=12, speed=50, **options)
    emulator.on_script("a.ps1", stdout="done", exit_code=0)
    for name in ("a.ps1", "old.ps1"):
        emulator.add_library_file(name)
    emulator.put_remote_file("*", "C:\\a.txt", b"evidence")
    return emulator


COMMANDS = [Command.run_script("a.ps1", ARGS), Command.get_file("C:\\a.txt")]


def calls(client: LiveResponseClient, folder: Path) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return every call of a client, each for a different machine."""
    folder.mkdir()
    script = folder / "b.ps1"
    script.write_text("b")
    names = [f"ws-{number:04}" for number in range(1, 13)]

    async def submitted(at: int) -> mde.Session:
        return await client.submit_async(names[at], COMMANDS, "c", timeout=5)

    async def fetched() -> object:
        session = await submitted(1)
        result = await session.result_async(5)
        page = [session, result, await session.download_async(1, folder / "one.txt")]
        return [*page, b"".join([piece async for piece in session.stream(1)])]

    async def cancelled() -> object:
        session = await submitted(2)
        return [await session.refresh_async(), await session.cancel_async("why"), session.action]

    async def found() -> object:
        await client.submit_async(names[3], COMMANDS, "c", correlation_id="x", timeout=5)
        return [await client.find_session_async(names[3], "x"), await client.list_sessions_async()]

    async def fleet() -> object:
        fleet = await client.run_many_async(names[4:6], COMMANDS, "c", save_to=folder / "fleet")
        try:
            return [fleet, *(await fleet.report_async(5)).outcomes]
        finally:
            fleet.close()

    async def library() -> object:
        return [await client.library.list_files_async(), await client.library.ensure_async(script)]

    return {
        "run": lambda: client.run_async(names[0], COMMANDS, "c", save_to=folder, timeout=5),
        "fetch": fetched,
        "cancel": cancelled,
        "find": found,
        "fleet": fleet,
        "library": library,
        "delete": lambda: client.library.delete_async("old.ps1"),
        "check": lambda: client.check_async(names[6], COMMANDS),
        "machines": lambda: client.list_machines_async(),
        "actions": lambda: client.list_machine_actions_async(),
    }


async def run_all_calls(
    emulator: Emulator, folder: Path, detector: LeakDetector, **options: Any
) -> dict[str, object]:
    """Make every call at once, and return what each returned or raised."""
    ends: dict[str, object] = {}

    async def one(name: str, call: Callable[[], Awaitable[object]]) -> None:
        try:
            ends[name] = await asyncio.wait_for(call(), 60)
        except Exception as error:
            ends[name] = error
            detector.error(error)
        detector.value(ends[name])

    async with emulator.client(max_wait=5, request_timeout=5, **options) as client:
        detector.value(client)
        await asyncio.gather(*(one(name, call) for name, call in calls(client, folder).items()))
    return ends


ROUTES = ["token", "machines", "machineactions", "runliveresponse", "resultlink", "blob"]
FAULTS: dict[str, dict[str, Any]] = {
    **{
        str(status): {"kind": "status", "status": status}
        for status in (400, 401, 403, 404, 429, 500)
    },
    **{
        kind: {"kind": kind}
        for kind in ("truncate", "garble", "drop_before", "drop_after", "expire_token")
    },
}


def test_no_leak_on_success(
    detector: LeakDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDE_LIVE_RESPONSE_HIDE_ARGS", "1")
    with populated() as emulator:
        detector.patterns.update(LeakDetector(emulator.client_secret, emulator.token).patterns)
        ends = asyncio.run(run_all_calls(emulator, tmp_path / "all", detector))
        assert [name for name, end in ends.items() if isinstance(end, Exception)] == []


def test_no_leak_on_failure(
    detector: LeakDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fault on each route, on every call: most calls end in an error."""
    monkeypatch.setenv("MDE_LIVE_RESPONSE_HIDE_ARGS", "1")

    async def one(fault: str, route: str, emulator: Emulator) -> int:
        details = dict(FAULTS[fault])
        emulator.fault("*", route, details.pop("kind"), times=10_000, **details)
        ends = await run_all_calls(emulator, tmp_path / f"{fault} {route}", detector)
        assert any(request["route"].lower() == route for request in emulator.requests), route
        return sum(isinstance(end, Exception) for end in ends.values())

    async def main(boxes: list[tuple[str, str, Emulator]]) -> list[int]:
        return await asyncio.gather(*(one(*box) for box in boxes))

    with contextlib.ExitStack() as stack:
        boxes = [
            (fault, route, stack.enter_context(populated())) for fault in FAULTS for route in ROUTES
        ]
        detector.patterns.update(
            LeakDetector(*(emulator.client_secret for _, _, emulator in boxes)).patterns
        )
        failed = asyncio.run(main(boxes))
    assert sum(failed) > len(boxes)


def bad_clients(folder: Path, emulator: Emulator) -> dict[str, Callable[[], LiveResponseClient]]:
    """Clients whose secrets are unusable."""
    key, assertion = folder / "key.pem", folder / "assertion"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-keyout", str(key),
         "-out", str(key.with_suffix(".crt")), "-subj", "/CN=x", "-passout", f"pass:{PASSWORD}"],
        check=True, capture_output=True,
    )  # fmt: skip
    key.write_bytes(key.read_bytes() + key.with_suffix(".crt").read_bytes())
    assertion.write_text(ASSERTION)
    at = {"tenant_id": emulator.tenant_id, "client_id": emulator.client_id}

    def client(credential: Any, **options: Any) -> LiveResponseClient:
        return LiveResponseClient(
            credential, max_wait=2, **{"endpoint": emulator.url, "proxy": "", **options}
        )

    def raising() -> str:
        raise LookupError("no token here")

    return {
        "secret": lambda: client(
            mde.ClientSecretCredential(**at, client_secret=GIVEN, authority=emulator.login_url)
        ),
        "token": lambda: client(GIVEN),
        "callable": lambda: client(lambda: GIVEN),
        "raising": lambda: client(raising),
        "not a token": lambda: client(lambda: f"{GIVEN}\n{GIVEN}"),
        "password": lambda: client(
            mde.ClientCertificateCredential(**at, certificate=key, password=CLAIMED)
        ),
        "certificate": lambda: client(
            mde.ClientCertificateCredential(
                **at, certificate=key, password=PASSWORD, authority=emulator.login_url
            )
        ),
        "federated": lambda: client(
            mde.WorkloadIdentityCredential(
                **at, token_file_path=assertion, authority=emulator.login_url
            )
        ),
        "app service": lambda: client(mde.ManagedIdentityCredential(client_id="x")),
        "proxy": lambda: client(GIVEN, proxy=f"http://user:{PROXY}@127.0.0.1:9"),
        "bad proxy": lambda: client(GIVEN, proxy=f"socks9://user:{PROXY}@127.0.0.1:9"),
        "redis": lambda: client(GIVEN, state=f"redis://user:{STATE}@127.0.0.1:9/0"),
        "bad state": lambda: client(GIVEN, state=f"what://user:{STATE}@127.0.0.1:9/0"),
        "endpoint": lambda: client(GIVEN, endpoint=f"https://user:{PROXY}@127.0.0.1:9"),
    }


BAD = [
    "secret", "token", "callable", "raising", "not a token", "password", "certificate", "federated",
    "app service", "proxy", "bad proxy", "redis", "bad state", "endpoint",
]  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_no_leak_of_unusable_secrets(
    kind: str, detector: LeakDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with populated() as emulator:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{emulator.url}/msi")
        monkeypatch.setenv("IDENTITY_HEADER", HEADER)
        if kind in ("certificate", "federated"):
            emulator.fault(
                "*", "token", "status", times=100, status=401, body={"error": "invalid_client"}
            )
        try:
            client = bad_clients(tmp_path, emulator)[kind]()
            detector.value(client)
            with client:
                detector.value(client.list_machines())
        except Exception as error:
            detector.error(error)
            detector.value(error)
        else:
            raise AssertionError(f"{kind} served")


def test_no_leak_on_a_panic(detector: LeakDetector) -> None:
    """The output of a child that aborts during a call, with faulthandler."""
    code = f"""
import faulthandler, os, threading
from mde_live_response import Command, LiveResponseClient
client = LiveResponseClient()
threading.Timer(0.5, lambda: (faulthandler.dump_traceback(), os.abort())).start()
client.run("ws-0001", Command.run_script("slow.ps1", {ARGS!r}), "c")
"""
    with populated() as emulator:
        emulator.on_script("slow.ps1", duration=600)
        done = run_python(code, emulator.env)
        detector.patterns.update(LeakDetector(emulator.client_secret).patterns)
    assert done.code != 0
    assert "Current thread" in done.err or "Thread" in done.err
    detector.text("a dying process", f"{done.out} {done.err}".replace(repr(ARGS), ""))


@pytest.mark.parametrize("what", ["hush-1234", "eyJhbGciOiJ", "x?sig=abc", f"{ARGS}"])
def test_leaks_are_detected(what: str, caplog: pytest.LogCaptureFixture) -> None:
    """The counter-check: a secret in each kind of output is found."""

    class Careless:
        def __repr__(self) -> str:
            return what

        def _repr_html_(self) -> str:
            return what

    def ways() -> Iterator[tuple[str, LeakDetector]]:
        for name in ("value", "message", "cause", "attribute", "frame", "log"):
            yield name, LeakDetector("hush-1234")

    for name, detector in ways():
        if name == "value":
            detector.value([Careless()])
        elif name == "log":
            detector.text("log", f"it said {what}")
        else:
            detector.error(_failed(name, what))
        assert detector.leaks(), name


def _failed(way: str, what: str) -> BaseException:
    try:
        if way == "frame":
            scope = {"what": what, "mde_error": mde.LiveResponseError}
            code = "def f(what):\n    raise mde_error('no')\nf(what)"
            exec(compile(code, f"{PACKAGE}/x.py", "exec"), scope)
        if way == "cause":
            raise mde.LiveResponseError("no") from KeyError(what)
        if way == "attribute":
            raise mde.LiveResponseError("no", request_id=what)
        raise mde.LiveResponseError(what)
    except mde.LiveResponseError as error:
        return error
