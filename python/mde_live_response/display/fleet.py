"""A run over many machines in a notebook: a summary, a timeline of its sessions, and a table."""

from __future__ import annotations

from .clean import escape_text, format_time, machine_label
from .markup import AMBER, GREEN, GREY, MAX_ROWS, RED, Html, card, dot, html_table

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mde_live_response import Fleet, FleetReport, Outcome

__all__ = ["fleet_html", "fleet_report_html", "reason_colour"]

_COLOURS = {"ok": GREEN, "timed_out": AMBER, "cancelled": GREY, "busy": GREY}
# The counts of a run that may still work: what is not here is not done yet.
_COUNT_COLOURS = {"succeeded": GREEN, "failed": RED}
_WIDTH, _LABEL_WIDTH = 720, 150  # pixels of the timeline, and of the names beside it
_BAR, _THIN_BAR = 14, 6  # pixels from one bar to the next, with a name and without
_MAX_NAMED_BARS = 60
_MAX_LABEL = 22  # characters
_TICKS = 4


def _count_reasons(outcomes: Iterable[Outcome]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome.reason] = counts.get(outcome.reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (item[0] != "ok", -item[1])))


def reason_colour(reason: str) -> str:
    """Return the colour of the outcomes with this reason."""
    return _COLOURS.get(reason, RED)


def _render_summary(run_id: str, machines: int, words: Iterable[Html]) -> Html:
    what = "1 machine" if machines == 1 else f"{machines} machines"
    return card(f"run {run_id}", (("machines", what), ("outcomes", Html(" &emsp; ".join(words)))))


def _render_legend(outcomes: Iterable[Outcome]) -> str:
    """Say which reasons have which colour."""
    reasons: dict[str, list[str]] = {}
    for reason in _count_reasons(outcomes):
        reasons.setdefault(reason_colour(reason), []).append(reason)
    return " &emsp; ".join(dot(colour, ", ".join(words)) for colour, words in reasons.items())


def _format_seconds(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= 2 * size or unit == "s":
            break
    return f"{seconds / size:.3g} {unit}"


def _render_ticks(span: float, left: int, bottom: int) -> str:
    """Draw the axis: the seconds since the first submit."""
    width = _WIDTH - left
    ticks = []
    for tick in range(_TICKS + 1):
        x = left + width * tick / _TICKS
        anchor = "start" if tick == 0 else "end" if tick == _TICKS else "middle"
        ticks.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom}" stroke="currentColor"'
            f' stroke-opacity=".2"/><text x="{x:.1f}" y="{bottom + 12}" font-size="11"'
            f' fill="currentColor" text-anchor="{anchor}">'
            f"{_format_seconds(span * tick / _TICKS)}</text>"
        )
    return "".join(ticks)


def _render_timeline(outcomes: Sequence[Outcome]) -> Html:
    """Draw one bar per session, from its submit to its outcome, ordered by start time."""
    sessions = [o for o in outcomes if o.start_time is not None]
    started = sorted(sessions, key=lambda o: (o.start_time, o.row))[:MAX_ROWS]
    times = [o.start_time for o in started if o.start_time is not None]
    if not times:
        return Html("")
    first = min(times)
    # At least a second: the width of a bar is divided by it.
    span = max((max(o.end_time for o in started) - first).total_seconds(), 1.0)
    is_named = len(started) <= _MAX_NAMED_BARS
    left, step = (_LABEL_WIDTH, _BAR) if is_named else (0, _THIN_BAR)
    bars = [
        _render_bar(outcome, (start - first).total_seconds(), span, at * step, left)
        for at, (outcome, start) in enumerate(zip(started, times, strict=True))
    ]
    bottom = len(started) * step
    cut = f", the first {MAX_ROWS} of {len(sessions)}" if len(sessions) > MAX_ROWS else ""
    return Html(
        f'<div style="text-align:left"><small>sessions since {format_time(first)}{cut} &emsp; '
        f"{_render_legend(started)}</small>"
        f'<br><svg viewBox="0 0 {_WIDTH} {bottom + 16}" width="100%"'
        f' style="max-width:{_WIDTH}px" role="img" aria-label="timeline of the sessions">'
        f"{_render_ticks(span, left, bottom)}{''.join(bars)}</svg></div>"
    )


def _render_bar(outcome: Outcome, start: float, span: float, y: int, left: int) -> str:
    step = _BAR if left else _THIN_BAR
    seconds = (outcome.end_time - outcome.start_time).total_seconds() if outcome.start_time else 0.0
    scale = (_WIDTH - left) / span
    title = f"{escape_text(machine_label(outcome))}: {escape_text(outcome.reason)}, {seconds:.0f} s"
    label = ""
    if left:
        name = machine_label(outcome)
        name = name if len(name) <= _MAX_LABEL else f"{name[: _MAX_LABEL - 1]}\u2026"
        label = (
            f'<text x="{left - 6}" y="{y + step - 4}" font-size="11" fill="currentColor"'
            f' text-anchor="end">{escape_text(name)}</text>'
        )
    return (
        f'{label}<rect x="{left + start * scale:.1f}" y="{y + 1}"'
        f' width="{max(seconds * scale, 2.0):.1f}" height="{step - 2}"'
        f' fill="{reason_colour(outcome.reason)}"><title>{title}</title></rect>'
    )


def fleet_html(fleet: Fleet) -> Html:
    """Return the counts of a run, for `Fleet._repr_html_`."""
    words = [
        dot(_COUNT_COLOURS.get(word, GREY), f"{count} {word}")
        for word, count in fleet.counts.items()
        if count
    ]
    return _render_summary(fleet.run_id, len(fleet), words)


def fleet_report_html(report: FleetReport) -> Html:
    """Return a summary, a timeline and a table of a run, for `FleetReport._repr_html_`."""
    outcomes = report.outcomes
    # Failed machines first: the table may be cut, and they matter most.
    shown = sorted(outcomes, key=lambda outcome: outcome.ok)[:MAX_ROWS]
    rows = [
        (
            machine_label(o),
            o.status,
            dot(reason_colour(o.reason), o.reason),
            None if o.ok else o.message,
        )
        for o in shown
    ]
    heads = ("machine", "status", "reason", "message")
    counts = _count_reasons(outcomes)
    words = [dot(reason_colour(reason), f"{count} {reason}") for reason, count in counts.items()]
    return Html(
        _render_summary(report.run_id, len(outcomes), words)
        + _render_timeline(outcomes)
        + html_table(heads, rows, left_out=len(outcomes) - len(shown))
    )
