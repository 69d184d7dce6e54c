"""Results as text and HTML. Output of a device must not control the terminal or the page."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from mde_live_response.display import ProgressLine, session_result_html, session_result_text

if TYPE_CHECKING:
    from mde_live_response import MachineAction, SessionResult

HOSTILE = "<img src=x onerror=alert(1)>\x1b]0;owned\x07"


def command(
    index: int, kind: str, value: str, status: str = "Completed", **rest: Any
) -> SimpleNamespace:
    parts: dict[str, Any] = {
        "errors": [],
        "skipped": False,
        "script": None,
        "file": None,
        "error": None,
        **rest,
    }
    return SimpleNamespace(
        index=index,
        command=SimpleNamespace(type=kind, params={"Name": value}),
        status=status,
        **parts,
    )


def result(*commands: SimpleNamespace, ok: bool = True, **rest: Any) -> SessionResult:
    action = SimpleNamespace(
        id="6b1d2c1e", computer_dns_name="ws-0001", machine_id=None, status="Succeeded"
    )
    parts = {"reason": "ok", "message": "", **rest}
    return cast(
        "SessionResult", SimpleNamespace(action=action, commands=list(commands), ok=ok, **parts)
    )


def script(text: str, stderr: str = "") -> SimpleNamespace:
    return SimpleNamespace(exit_code=0, text=text, stderr=stderr)


def test_text_of_a_result() -> None:
    file = SimpleNamespace(size=2048, sha256="ab" * 32, path="out/1_a.zip")
    text = session_result_text(
        result(
            command(0, "RunScript", "a.ps1", script=script("one\ntwo", "oh")),
            command(1, "GetFile", "a", file=file),
        )
    )
    assert text.splitlines() == [
        "ws-0001: Succeeded",
        "  [0] RunScript a.ps1: Completed",
        "      exit code 0",
        "      | one",
        "      | two",
        "      ! oh",
        "  [1] GetFile a: Completed",
        f"      2.0 KiB (2048 bytes), SHA-256 {'ab' * 32}",
        "      saved as out/1_a.zip",
    ]


def test_text_of_a_failed_result() -> None:
    text = session_result_text(
        result(
            command(0, "RunScript", "a.ps1", "Failed", errors=["it broke"]),
            command(1, "GetFile", "a", "Created", skipped=True),
            command(2, "GetFile", "b", error=OSError("the disk is full")),
            ok=False,
            reason="command",
            message="command 0 failed",
        )
    )
    for expected in (
        "not ok (command): command 0 failed",
        "it broke",
        "skipped",
        "the disk is full",
    ):
        assert expected in text


def test_hostile_text_is_escaped() -> None:
    hostile = result(
        command(
            0,
            HOSTILE,
            HOSTILE,
            HOSTILE,
            errors=[HOSTILE],
            script=script(HOSTILE.split("\x1b")[0], HOSTILE),
        ),
        ok=False,
        reason=HOSTILE,
        message=HOSTILE,
    )
    html = session_result_html(hostile)
    assert "<img" not in html
    assert "&lt;img" in html
    for shown in (html, session_result_text(hostile)):
        assert "\x1b" not in shown
        assert "\x07" not in shown


def test_a_notebook_cell_truncates_long_output() -> None:
    assert (
        len(session_result_html(result(command(0, "RunScript", "a", script=script("x" * 10**6)))))
        < 50_000
    )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress() -> None:
    action = SimpleNamespace(
        id="6b1d2c1e",
        computer_dns_name="ws\x1b-0001",
        machine_id=None,
        status="InProgress",
        commands=[],
    )
    plain, terminal = io.StringIO(), Terminal()
    for stream in (plain, terminal):
        line = ProgressLine(stream)
        for status in ("Pending", "Pending", "InProgress"):
            action.status = status
            line(cast("MachineAction", action))
        line.close()
        line.close()
    assert plain.getvalue() == "ws-0001: Pending\nws-0001: InProgress\n"
    assert terminal.getvalue().count("\r") == 3
    assert terminal.getvalue().count("\n") == 1
