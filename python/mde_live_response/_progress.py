"""Shows the progress of a run, with tqdm if it is installed, or else as one line on a terminal."""

from __future__ import annotations

import contextlib
import sys
import weakref

from . import _threads
from .display import report_failed_display

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TextIO

    from mde_live_response import Fleet

_REFRESH_INTERVAL = 0.2  # seconds
_FINISH_TIMEOUT = 1.0  # seconds


class Progress:
    """Shows a run from its own thread, until the run is done, detached or garbage-collected.

    The run has begun: a display that fails is dropped with one log record, and never raises.
    """

    def __init__(self, fleet: Fleet) -> None:
        # A weak reference: the progress display must not keep the run alive.
        self._fleet = weakref.ref(fleet)
        self._run_id = fleet.run_id
        self._view: _TqdmBar | _TerminalLine | None = None
        self._finished = False
        # Both are held until they are released once: the signals to the thread and from it.
        self._stop, self._ended = _threads.allocate_lock(), _threads.allocate_lock()
        self._stop.acquire()
        try:
            self._view = _make_view(fleet.run_id, len(fleet))
            if self._view is not None:
                self._ended.acquire()
                _threads.start_thread(self._refresh_until_done, "mde-live-response-progress")
        except Exception as error:
            self._drop(error)
            self._finished = True

    def _refresh_until_done(self) -> None:
        try:
            while not self._stop.acquire(timeout=_REFRESH_INTERVAL):
                fleet = self._fleet()
                if fleet is None or fleet.done or not fleet._is_active:
                    break
                self._show(fleet)
                # No reference during the wait: the caller may drop the run meanwhile.
                del fleet
            self._show(self._fleet())
            if self._view is not None:
                self._view.close()
        except Exception as error:
            self._drop(error)
        finally:
            self._view = None
            self._ended.release()

    def _show(self, fleet: Fleet | None) -> None:
        if self._view is not None and fleet is not None:
            self._view.show(fleet.counts)

    def _drop(self, error: Exception) -> None:
        self._view = None
        report_failed_display(f"the progress display of run {self._run_id}", error)

    def finish(self) -> None:
        """Show the final counts. Called when the caller has received the last outcome."""
        if self._view is None or self._finished:
            return
        self._finished = True
        self._stop.release()
        # Bounded: the thread hangs if nobody reads the pipe that it writes to.
        if self._ended.acquire(timeout=_FINISH_TIMEOUT):
            self._ended.release()


class _TqdmBar:
    """A tqdm bar, which has a form for terminals and one for notebooks."""

    def __init__(self, tqdm: Any, run_id: str, rows: int) -> None:
        try:
            self._bar = tqdm(total=rows, desc=f"run {run_id}", unit="machine")
        except Exception:
            # The first refresh failed and kept tqdm's lock: every later bar would wait for it.
            with contextlib.suppress(RuntimeError):
                tqdm.get_lock().release()
            raise

    def show(self, counts: Mapping[str, int]) -> None:
        counters = {name: counts[name] for name in ("pending", "running", "failed")}
        self._bar.set_postfix(counters, refresh=False)
        self._bar.n = counts["succeeded"] + counts["failed"]
        # `refresh` would keep the lock if it failed.
        with self._bar.get_lock():
            self._bar.display()

    def close(self) -> None:
        self._bar.close()


class _TerminalLine:
    """One terminal line that is rewritten in place."""

    def __init__(self, stream: TextIO, run_id: str, rows: int) -> None:
        self._stream, self._run_id, self._rows = stream, run_id, rows

    def show(self, counts: Mapping[str, int]) -> None:
        from shutil import get_terminal_size

        done = counts["succeeded"] + counts["failed"]
        counters = ", ".join(f"{counts[name]} {name}" for name in ("pending", "running", "failed"))
        line = f"{done} of {self._rows} machines, {counters}, run {self._run_id}"
        self._stream.write(f"\r{line[: get_terminal_size().columns - 1]}\x1b[K")
        self._stream.flush()

    def close(self) -> None:
        self._stream.write("\n")
        self._stream.flush()


def _make_view(run_id: str, rows: int) -> _TqdmBar | _TerminalLine | None:
    printable_id = "".join(c for c in run_id if c.isprintable())
    try:
        import warnings

        with warnings.catch_warnings():
            # In a notebook without ipywidgets, tqdm warns and writes text.
            warnings.simplefilter("ignore")
            from tqdm.autonotebook import tqdm  # type: ignore[import-untyped]

            return _TqdmBar(tqdm, printable_id, rows)
    except ImportError:
        return (
            _TerminalLine(sys.stderr, printable_id, rows)
            if sys.stderr is not None and sys.stderr.isatty()
            else None
        )
