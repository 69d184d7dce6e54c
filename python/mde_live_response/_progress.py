"""Shows the progress of a run, with tqdm if it is installed, or else as one line on a terminal."""

from __future__ import annotations

import sys
import threading
import weakref

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TextIO

    from mde_live_response import Fleet

_REFRESH_INTERVAL = 0.2  # seconds


class Progress:
    """Shows a run from its own thread, until the run is done, detached or garbage-collected."""

    def __init__(self, fleet: Fleet) -> None:
        # A weak reference: the progress display must not keep the run alive.
        self._fleet = weakref.ref(fleet)
        self._rows = len(fleet)
        self._view: _TqdmBar | _TerminalLine | None = _make_view(fleet.run_id, self._rows)
        self._lock = threading.Lock()
        self._finished = threading.Event()
        if self._view is not None:
            threading.Thread(
                target=self._refresh_until_done, name="mde-live-response-progress", daemon=True
            ).start()

    def _refresh_until_done(self) -> None:
        while not self._finished.wait(_REFRESH_INTERVAL):
            fleet = self._fleet()
            if fleet is None or fleet.done or not fleet._is_active:
                self._close_view(None if fleet is None else fleet.counts)
                break
            self._show(fleet.counts)
            # No reference during the wait: the caller may drop the run during that time.
            del fleet

    def _show(self, counts: Mapping[str, int]) -> None:
        with self._lock:
            if self._view is not None:
                self._view.show(counts)

    def _close_view(self, counts: Mapping[str, int] | None = None) -> None:
        with self._lock:
            if self._view is not None:
                if counts is not None:
                    self._view.show(counts)
                self._view.close()
            self._view = None

    def finish(self) -> None:
        """Show the final counts. Called when the caller has received the last outcome."""
        self._finished.set()
        fleet = self._fleet()
        self._close_view(None if fleet is None else fleet.counts)


class _TqdmBar:
    """A tqdm bar, which has a form for terminals and one for notebooks."""

    def __init__(self, tqdm: Any, run_id: str, rows: int) -> None:
        self._bar = tqdm(total=rows, desc=f"run {run_id}", unit="machine")

    def show(self, counts: Mapping[str, int]) -> None:
        counters = {name: counts[name] for name in ("pending", "running", "failed")}
        self._bar.set_postfix(counters, refresh=False)
        self._bar.n = counts["succeeded"] + counts["failed"]
        self._bar.refresh()

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
