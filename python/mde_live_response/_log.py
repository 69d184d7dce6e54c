"""Hands the core's log records to `logging`, on a thread that holds no Rust frame while a handler works. Private."""

import threading


def start(take):
    """Emit what `take()` gives, batch by batch, until it gives nothing."""

    def work():
        while batch := take():
            emit(batch)

    threading.Thread(target=work, name="mde-live-response-log", daemon=True).start()


def emit(batch):
    """Log each `(logger, level, message, path, line)`, as far as its logger wants it."""
    import logging

    for name, level, message, path, line in batch:
        logger = logging.getLogger(name)
        try:
            if logger.isEnabledFor(level):
                logger.handle(logger.makeRecord(name, level, path, line, message, None, None))
        except BaseException:
            # A filter or a handler of the caller's: the thread outlives it, as it would in logging.raiseExceptions.
            threading.excepthook(threading.ExceptHookArgs((*_raised(), threading.current_thread())))


def _raised():
    import sys

    return sys.exc_info()
