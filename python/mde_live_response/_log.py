"""Hands the core's log records to `logging`, on a thread that holds no Rust frame while a handler works. Private."""

from __future__ import annotations

import threading

TYPE_CHECKING = False  # `typing` is most of what an import would cost
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def start(take: Callable[[], Sequence[tuple[str, int, str, str, int]]]) -> None:
    """Emit what `take()` gives, batch by batch, until it gives nothing."""

    def work() -> None:
        while batch := take():
            emit(batch)

    threading.Thread(target=work, name="mde-live-response-log", daemon=True).start()


def emit(batch: Sequence[tuple[str, int, str, str, int]]) -> None:
    """Log each `(logger, level, message, path, line)`, as far as its logger wants it."""
    import logging

    for name, level, message, path, line in batch:
        logger = logging.getLogger(name)
        try:
            if logger.isEnabledFor(level):
                logger.handle(logger.makeRecord(name, level, path, line, message, (), None))
        except BaseException as error:
            # A filter or a handler of the caller's, whom the thread outlives.
            info = (type(error), error, error.__traceback__, threading.current_thread())
            threading.excepthook(threading.ExceptHookArgs(info))
