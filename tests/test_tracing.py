"""Spans of the real OpenTelemetry SDK: request spans below call spans below the caller's span."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from runtime_helpers import MACHINE, run_python

from mde_live_response import Command, NotFoundError
from mde_live_response.emulator import Emulator

PROVIDER = TracerProvider()
EXPORTER = InMemorySpanExporter()
PROVIDER.add_span_processor(SimpleSpanProcessor(EXPORTER))
trace.set_tracer_provider(PROVIDER)
TRACER = trace.get_tracer("a caller")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(speed=50.0) as emulator:
        emulator.on_script("a.ps1", stdout="hello")
        emulator.put_remote_file("*", "C:\\a.txt", b"evidence")
        EXPORTER.clear()
        yield emulator


def spans(name: str = "") -> list[ReadableSpan]:
    return [span for span in EXPORTER.get_finished_spans() if span.name == name or not name]


def parent_of(span: ReadableSpan) -> ReadableSpan | None:
    parent = span.parent
    found = [
        other
        for other in spans()
        if parent and other.context and other.context.span_id == parent.span_id
    ]
    return found[0] if found else None


def check_run(emulator: Emulator, action_id: str) -> None:
    (root,) = spans("case 7")
    trace_ids = {span.context.trace_id for span in spans() if span.context}
    assert len(trace_ids) == 1
    (submit,) = spans("live_response submit")
    assert parent_of(parent_of(submit) or submit) in (root, parent_of(root))
    assert (submit.attributes or {})["mde.action.id"] == action_id
    requests = [span for span in spans() if span.kind is SpanKind.CLIENT]
    assert len(requests) == len(emulator.requests)
    (post,) = [
        span
        for span in spans("POST")
        if str((span.attributes or {})["url.full"]).endswith("runliveresponse")
    ]
    assert parent_of(post) == submit
    told = dict(post.attributes or {})
    machine = (
        str(told.pop("url.full"))
        .removeprefix(f"{emulator.url}/api/machines/")
        .removesuffix("/runliveresponse")
    )
    assert len(machine) == 40
    assert told == {
        "http.request.method": "POST",
        "server.address": "127.0.0.1",
        "server.port": int(emulator.url.rsplit(":", 1)[1]),
        "http.response.status_code": 201,
    }
    assert all(
        span.start_time and span.end_time and span.start_time <= span.end_time for span in spans()
    )
    everything = "".join(span.to_json() for span in spans())
    assert "s3cret" not in everything
    assert "sig=" not in everything


COMMANDS = [Command.run_script("a.ps1", "-Secret s3cret"), Command.get_file("C:\\a.txt")]


def test_a_run_is_below_the_callers_span(emulator: Emulator, tmp_path: Path) -> None:
    with TRACER.start_as_current_span("case 7"), emulator.client() as client:
        result = client.run(MACHINE, COMMANDS, "why", save_to=tmp_path)
    check_run(emulator, result.action.id)


def test_an_asynchronous_run_is_below_the_callers_span(emulator: Emulator, tmp_path: Path) -> None:
    async def run() -> str:
        with TRACER.start_as_current_span("case 7"):
            async with emulator.client() as client:
                return (
                    await client.run_async(MACHINE, COMMANDS, "why", save_to=tmp_path)
                ).action.id

    check_run(emulator, asyncio.run(run()))


def test_a_retried_request_records_its_attempts(emulator: Emulator) -> None:
    emulator.fault("GET", "machines", "status", status=503)
    with emulator.client() as client:
        client.get_machine(MACHINE)
    first, second = [
        span for span in spans("GET") if "/machines" in str((span.attributes or {})["url.full"])
    ][:2]
    assert (first.status.status_code, (first.attributes or {})["error.type"]) == (
        StatusCode.ERROR,
        "503",
    )
    assert "http.request.resend_count" not in (first.attributes or {})
    assert (second.status.status_code, (second.attributes or {})["http.request.resend_count"]) == (
        StatusCode.UNSET,
        1,
    )
    assert "error.type" not in (second.attributes or {})


def test_a_failed_call_records_its_error(emulator: Emulator) -> None:
    with emulator.client() as client, pytest.raises(NotFoundError):
        client.run("nobody", COMMANDS, "why")
    failed = [span for span in spans() if span.status.status_code is StatusCode.ERROR]
    assert all((span.attributes or {})["error.type"] for span in failed)


def test_a_lost_response_records_the_error_kind(emulator: Emulator) -> None:
    emulator.fault("GET", "machines", "drop_before")
    with emulator.client() as client:
        client.get_machine(MACHINE)
    (lost,) = [span for span in spans("GET") if span.status.status_code is StatusCode.ERROR]
    assert (lost.attributes or {})["error.type"] == "ConnectionFailed"
    assert "http.response.status_code" not in (lost.attributes or {})


def test_opentelemetry_is_not_imported_unless_used(emulator: Emulator) -> None:
    code = f"""
import sys
from mde_live_response import LiveResponseClient
LiveResponseClient().get_machine({MACHINE!r})
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = run_python(code, emulator.env)
    assert json.loads(done.out) == [], done
