"""Hands the core's log records and spans on, on a thread that holds no Rust frame while a handler works. Private."""

from __future__ import annotations

import threading

TYPE_CHECKING = False  # `typing` is most of what an import would cost
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


def start(take_batch: Callable[[], Sequence[tuple[str, tuple[Any, ...]]]]) -> None:
    """Deliver what `take_batch()` gives, batch by batch, until it gives nothing."""

    def run() -> None:
        while batch := take_batch():
            deliver(batch)

    threading.Thread(target=run, name="mde-live-response-log", daemon=True).start()


def deliver(batch: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
    """Log each record as far as its logger wants it, and tell OpenTelemetry of each span."""
    for kind, record in batch:
        try:
            if kind == "log":
                log(*record)
            else:
                from . import _spans

                (_spans.open_span if kind == "open" else _spans.close_span)(*record)
        except BaseException as error:
            # A filter, a handler or a span processor of the caller's, whom the thread outlives.
            info = (type(error), error, error.__traceback__, threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(info))


def log(name: str, level: int, message: str, path: str, line: int) -> None:
    import logging

    logger = logging.getLogger(name)
    if logger.isEnabledFor(level):
        logger.handle(logger.makeRecord(name, level, path, line, message, (), None))
