"""Delivers the core's log records to `logging`, and its spans to OpenTelemetry.

Delivery runs on a Python thread: a handler may take locks and wait, and no Rust code waits for it.
"""

from __future__ import annotations

from . import _threads
from ._base_error import LiveResponseError

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


def start(take_batch: Callable[[], Sequence[tuple[str, tuple[Any, ...]]]]) -> bool:
    """Start a thread that delivers batches from `take_batch()` until it returns an empty one.

    Return False if the interpreter is exiting and starts no thread.
    """

    def run() -> None:
        while batch := take_batch():
            deliver(batch)

    try:
        _threads.start_thread(run, "mde-live-response-log")
    except LiveResponseError:
        return False
    return True


def deliver(batch: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
    """Pass each record to its logger, and each span to OpenTelemetry."""
    for kind, record in batch:
        try:
            if kind == "log":
                log(*record)
            else:
                from . import _spans

                (_spans.open_span if kind == "open" else _spans.close_span)(*record)
        except BaseException as error:
            import threading

            # The caller's filter, handler or span processor failed: report it and keep the thread.
            info = (type(error), error, error.__traceback__, threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(info))


def log(name: str, level: int, message: str, path: str, line: int) -> None:
    """Pass one record to its logger, if the logger is enabled for the level."""
    import logging

    logger = logging.getLogger(name)
    if logger.isEnabledFor(level):
        logger.handle(logger.makeRecord(name, level, path, line, message, (), None))
