"""Everything that is logged and printed while cells run, so that it can be searched."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGGERS = ("mde_live_response", "py.warnings", "asyncio")
FORMAT = logging.Formatter("%(name)s %(message)s")


class Records(logging.Handler):
    """The text of every record at DEBUG, of all loggers."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{FORMAT.format(record)} {record.args}")

    def since(self, start: int) -> str:
        return "\n".join(self.lines[start:])


@contextmanager
def records() -> Iterator[Records]:
    """Collect the records of the library and its warnings."""
    handler = Records()
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        # Or a handler of the test runner formats each record once more.
        logger.propagate = False
    logging.captureWarnings(True)
    try:
        yield handler
    finally:
        logging.captureWarnings(False)
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


@contextmanager
def streams() -> Iterator[list[str]]:
    """Collect what the process writes to its stdout and stderr, also outside Python."""
    texts: list[str] = []
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        kept = [(number, os.dup(number)) for number in (1, 2)]
        for number, _ in kept:
            os.dup2(file.fileno(), number)
        try:
            yield texts
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, own in kept:
                os.dup2(own, number)
                os.close(own)
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
