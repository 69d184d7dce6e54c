"""Writes docs/performance.md and its picture from the measured rows."""

import platform
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
HEAD = """\
# Performance

`make bench` measures this table and writes this page. CPU means the time of all threads of the \
process. Each figure is the median of {rounds} processes, with the smallest and the largest behind \
it. The contenders take turns. Compare the figures of one row only: the machine also does other \
work, and another machine has other figures.

Python {python}, {machine}; {peers}. "reqwest alone" is a Rust program of one thread without \
limits, retries and Python. In the asyncio row, 50 tasks make one call after the other; the tasks \
and the loop count. The server is a process of its own.

![Cost in relation to ours](performance.svg)
"""
BAR, LEFT, WIDTH = 15, 250, 720
COLOURS = {True: "#2a6f97", False: "#adb5bd"}


def write_page(measured, versions, rounds):
    peers = ", ".join(f"{name} {number}" for name, number in versions.items())
    parts = [
        HEAD.format(
            rounds=rounds, python=platform.python_version(), machine=platform.machine(), peers=peers
        )
    ]
    parts += [section(**row) for row in measured]
    (DOCS / "performance.md").write_text("\n".join(parts))
    (DOCS / "performance.svg").write_text(picture(measured))


def section(row, figures, medians, met):
    ours = next(iter(medians.values()))
    lines = [f"## {row.name[0].upper()}{row.name[1:]}", ""]
    lines += [f"| contender | {row.unit} | spread | in relation to ours |", "|---|---|---|---|"]
    for name, measured in figures.items():
        spread = f"{min(measured):.3g} to {max(measured):.3g}"
        ratio = medians[name] / ours if ours else float("nan")
        lines.append(f"| {name} | {medians[name]:.4g} | {spread} | {ratio:.2f} |")
    verdict = "Met." if met else f"Missed: {row.reason}." if row.reason else "Missed."
    lines += ["", f"Goal: {row.goal}. {verdict}", ""]
    return "\n".join(lines)


def picture(measured):
    """Draw a bar for each contender: its cost divided by ours, cut off at 10."""
    shapes, top = [], 10
    for measurement in measured:
        medians = measurement["medians"]
        ours = next(iter(medians.values()))
        if not ours:
            continue
        shapes.append(text(10, top + 12, measurement["row"].name, weight="bold"))
        top += 20
        for name, value in medians.items():
            share = min(value / ours, 10.0)
            is_ours = name == next(iter(medians))
            width = share * (WIDTH - LEFT - 60) / 10
            shapes.append(text(20, top + 11, name))
            shapes.append(
                f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR - 3}" '
                f'fill="{COLOURS[is_ours]}"/>'
            )
            shapes.append(text(LEFT + width + 5, top + 11, f"{value / ours:.2f}"))
            top += BAR
        top += 8
    body = "\n".join(shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" '
        f'font-family="sans-serif" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def text(x, y, content, weight="normal"):
    return f'<text x="{x:.0f}" y="{y}" font-weight="{weight}">{escape(content)}</text>'
