"""The core's spans as OpenTelemetry's. Loaded when the first span comes, by one thread alone. Private."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from ._native import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context

SCHEMA = "https://opentelemetry.io/schemas/1.37.0"
LARGEST = 10_000
"""Spans that are open. Beyond it the end of some was lost."""

_open: dict[int, Span] = {}


def opened(
    number: int,
    parent: int | None,
    name: str,
    is_request: bool,
    attributes: Mapping[str, str | int],
    at: int,
    context: Context,
) -> None:
    """Start a span below another of ours, or below what is current where the call was made."""
    if parent in _open:
        context = trace.set_span_in_context(_open[parent], context)
    tracer = trace.get_tracer("mde_live_response", __version__, schema_url=SCHEMA)
    kind = SpanKind.CLIENT if is_request else SpanKind.INTERNAL
    while len(_open) >= LARGEST:
        del _open[next(iter(_open))]
    _open[number] = tracer.start_span(name, context, kind, dict(attributes), start_time=at)


def closed(number: int, attributes: Mapping[str, str | int], error: str | None, at: int) -> None:
    """End a span; `error` is one word for what went wrong."""
    span = _open.pop(number, None)
    if span is None:
        return
    for key, value in attributes.items():
        span.set_attribute(key, value)
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end(at)
