"""Shows a run over many machines in a notebook: a summary, a timeline of its sessions, and a table.

All text from a device or the service is escaped, because the device may be hostile.
"""

from __future__ import annotations

from html import escape

from .display import machine_label, strip_unprintable

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mde_live_response import Fleet, FleetReport, Outcome

__all__ = ["fleet_html", "fleet_report_html"]

_MAX_ROWS = 500  # in the table, and bars in the timeline
_SVG_WIDTH, _BAR_HEIGHT = 720, 6  # pixels
_COLOURS = {"ok": "#2e7d32", "timed_out": "#f9a825", "cancelled": "#757575", "busy": "#757575"}
_FAILURE_COLOUR = "#c62828"


def _escape_text(text: object) -> str:
    return escape(strip_unprintable(text))


def _count_reasons(outcomes: Sequence[Outcome]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome.reason] = counts.get(outcome.reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (item[0] != "ok", -item[1])))


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {_escape_text(word)}" for word, count in counts.items() if count)


def _render_summary(run_id: str, machines: int, counts: Mapping[str, int]) -> str:
    return (
        f"<p><b>run {_escape_text(run_id)}</b>: {machines} machines<br>{_format_counts(counts)}</p>"
    )


def _render_timeline(outcomes: Sequence[Outcome]) -> str:
    """Draw one bar per session, from its submit to its outcome, ordered by start time."""
    started = sorted(
        (o for o in outcomes if o.start_time is not None), key=lambda o: (o.start_time, o.row)
    )[:_MAX_ROWS]
    times = [o.start_time for o in started if o.start_time is not None]
    if not times:
        return ""
    first = min(times)
    last = max(o.end_time for o in started)
    # At least a second: the width of a bar is divided by it.
    span = max((last - first).total_seconds(), 1.0)
    bars = []
    for position, outcome in enumerate(started):
        start = (
            (outcome.start_time - first).total_seconds() if outcome.start_time is not None else 0.0
        )
        end = (outcome.end_time - first).total_seconds()
        colour = _COLOURS.get(outcome.reason, _FAILURE_COLOUR)
        width = max((end - start) / span * _SVG_WIDTH, 1.0)
        name, reason = _escape_text(machine_label(outcome)), _escape_text(outcome.reason)
        title = f"{name}: {reason}, {end - start:.0f} s"
        bars.append(
            f'<rect x="{start / span * _SVG_WIDTH:.1f}" y="{position * _BAR_HEIGHT}"'
            f' width="{width:.1f}" height="{_BAR_HEIGHT - 1}" fill="{colour}">'
            f"<title>{title}</title></rect>"
        )
    height = len(started) * _BAR_HEIGHT + 18
    legend = (
        f'<text x="0" y="{height - 4}" font-size="11" fill="currentColor">'
        f"{first:%Y-%m-%d %H:%M:%S} UTC</text>"
        f'<text x="{_SVG_WIDTH}" y="{height - 4}" font-size="11" fill="currentColor"'
        f' text-anchor="end">'
        f"{f'{span:.0f} s' if span < 120 else f'{span / 60:.0f} min'}</text>"
    )
    return (
        f'<svg viewBox="0 0 {_SVG_WIDTH} {height}" width="100%" style="max-width:{_SVG_WIDTH}px"'
        f' role="img" aria-label="timeline of the sessions">{"".join(bars)}{legend}</svg>'
    )


def fleet_html(fleet: Fleet) -> str:
    """Return the counts of a run, for `Fleet._repr_html_`."""
    return _render_summary(fleet.run_id, len(fleet), fleet.counts)


def fleet_report_html(report: FleetReport) -> str:
    """Return a summary, a timeline and a table of a run, for `FleetReport._repr_html_`."""
    outcomes = report.outcomes
    # Failed machines first: the table may be truncated, and they matter most.
    shown = sorted(outcomes, key=lambda outcome: outcome.ok)[:_MAX_ROWS]
    rows = "".join(
        f"<tr><td>{_escape_text(machine_label(o))}</td><td>{_escape_text(o.status or '')}</td>"
        f"<td>{_escape_text(o.reason)}</td><td>{'' if o.ok else _escape_text(o.message)}</td></tr>"
        for o in shown
    )
    cut = (
        f"<p>{len(outcomes) - len(shown)} more machines are not shown.</p>"
        if len(shown) < len(outcomes)
        else ""
    )
    return (
        f"{_render_summary(report.run_id, len(outcomes), _count_reasons(outcomes))}"
        f"{_render_timeline(outcomes)}"
        "<table><thead><tr><th>machine</th><th>status</th><th>reason</th><th>message</th></tr>"
        "</thead>"
        f"<tbody>{rows}</tbody></table>{cut}"
    )
