"""Ends a command at SIGTERM as at Ctrl-C: what it prints then says how to continue."""

from __future__ import annotations

import contextlib
import signal
import threading

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Terminated", "raise_at_sigterm"]


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM."""


@contextlib.contextmanager
def raise_at_sigterm() -> Iterator[None]:
    """Raise `Terminated` at SIGTERM, unless the program has a handler of its own."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise(_signal: int, _frame: FrameType | None) -> None:
    raise Terminated
