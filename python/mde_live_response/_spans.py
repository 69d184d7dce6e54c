"""Converts the core's spans into OpenTelemetry spans. Only the log delivery thread uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from ._native import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context

SCHEMA = "https://opentelemetry.io/schemas/1.37.0"
MAX_OPEN_SPANS = 10_000
"""The maximum number of open spans. If there are more, the ends of some were lost."""

_open_spans: dict[int, Span] = {}


def open_span(
    span_id: int,
    parent: int | None,
    name: str,
    is_request: bool,
    attributes: Mapping[str, str | int],
    at: int,
    context: Context,
) -> None:
    """Start a span below its parent, or below the span that was current in the caller."""
    if parent in _open_spans:
        context = trace.set_span_in_context(_open_spans[parent], context)
    tracer = trace.get_tracer("mde_live_response", __version__, schema_url=SCHEMA)
    kind = SpanKind.CLIENT if is_request else SpanKind.INTERNAL
    # The oldest open span is dropped: its end was probably lost, and memory must stay bounded.
    while len(_open_spans) >= MAX_OPEN_SPANS:
        del _open_spans[next(iter(_open_spans))]
    _open_spans[span_id] = tracer.start_span(name, context, kind, dict(attributes), start_time=at)


def close_span(
    span_id: int, attributes: Mapping[str, str | int], error: str | None, at: int
) -> None:
    """End a span. `error` is the kind of the error, if there was one."""
    span = _open_spans.pop(span_id, None)
    if span is None:
        return
    for key, value in attributes.items():
        span.set_attribute(key, value)
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end(at)
