"""How a run over many machines is shown in a notebook: a summary, a table, and a timeline of its sessions.

Everything that a device or the service may have put in is escaped: the device may be hostile.
"""

from __future__ import annotations

from html import escape

from .display import _plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mde_live_response import Fleet, FleetReport, Outcome

__all__ = ["fleet_html", "fleet_report_html"]

_ROWS = 500  # of the table, and bars of the timeline
_WIDTH, _BAR = 720, 6  # pixels
_COLOURS = {"ok": "#2e7d32", "timed_out": "#f9a825", "cancelled": "#757575", "busy": "#757575"}
_BAD = "#c62828"


def _text(text: object) -> str:
    return escape(_plain(text))


def _tally(outcomes: Sequence[Outcome]) -> dict[str, int]:
    tally: dict[str, int] = {}
    for outcome in outcomes:
        tally[outcome.reason] = tally.get(outcome.reason, 0) + 1
    return dict(sorted(tally.items(), key=lambda item: (item[0] != "ok", -item[1])))


def _line(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {_text(word)}" for word, count in counts.items() if count)


def _timeline(outcomes: Sequence[Outcome]) -> str:
    """Draw a bar for each session, from its submit to its outcome, in the order of their starts."""
    began = sorted((o for o in outcomes if o.start_time is not None), key=lambda o: (o.start_time, o.row))[:_ROWS]
    times = [o.start_time for o in began if o.start_time is not None]
    if not times:
        return ""
    first = min(times)
    last = max(o.end_time for o in began)
    span = max((last - first).total_seconds(), 1.0)
    bars = []
    for at, outcome in enumerate(began):
        start = (outcome.start_time - first).total_seconds() if outcome.start_time is not None else 0.0
        end = (outcome.end_time - first).total_seconds()
        colour = _COLOURS.get(outcome.reason, _BAD)
        width = max((end - start) / span * _WIDTH, 1.0)
        title = f"{_text(outcome.machine)}: {_text(outcome.reason)}, {end - start:.0f} s"
        bars.append(
            f'<rect x="{start / span * _WIDTH:.1f}" y="{at * _BAR}" width="{width:.1f}" height="{_BAR - 1}"'
            f' fill="{colour}"><title>{title}</title></rect>'
        )
    height = len(began) * _BAR + 18
    legend = (
        f'<text x="0" y="{height - 4}" font-size="11" fill="currentColor">{first:%Y-%m-%d %H:%M:%S} UTC</text>'
        f'<text x="{_WIDTH}" y="{height - 4}" font-size="11" fill="currentColor" text-anchor="end">'
        f"{f'{span:.0f} s' if span < 120 else f'{span / 60:.0f} min'}</text>"
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="100%" style="max-width:{_WIDTH}px" role="img"'
        f' aria-label="timeline of the sessions">{"".join(bars)}{legend}</svg>'
    )


def fleet_html(fleet: Fleet) -> str:
    """Write how a run stands, for `Fleet._repr_html_`."""
    counts = fleet.counts
    return f"<p><b>run {_text(fleet.run_id)}</b>: {len(fleet)} machines<br>{_line(counts)}</p>"


def fleet_report_html(report: FleetReport) -> str:
    """Write a run's report: a summary, a timeline and a table, for `FleetReport._repr_html_`."""
    outcomes = report.outcomes
    # What went wrong is what one looks for.
    shown = sorted(outcomes, key=lambda outcome: outcome.ok)[:_ROWS]
    rows = "".join(
        f"<tr><td>{_text(o.machine)}</td><td>{_text(o.status or '')}</td>"
        f"<td>{_text(o.reason)}</td><td>{'' if o.ok else _text(o.message)}</td></tr>"
        for o in shown
    )
    cut = f"<p>{len(outcomes) - len(shown)} more machines are not shown.</p>" if len(shown) < len(outcomes) else ""
    return (
        f"<p><b>run {_text(report.run_id)}</b>: {len(outcomes)} machines<br>{_line(_tally(outcomes))}</p>"
        f"{_timeline(outcomes)}"
        "<table><thead><tr><th>machine</th><th>status</th><th>reason</th><th>message</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>{cut}"
    )
