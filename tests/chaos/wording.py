"""Text of a run without what is this machine's or this run's: paths, ports, ids, times."""

from __future__ import annotations

import re

REPLACED = (
    (r"(sqlite:///|/)[\w./-]*/[\w.-]+", "PATH"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1"),
    (r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID"),
    (r"\b[0-9a-f]{40}\b", "ID"),
)


def without_ids(text: str) -> str:
    for pattern, replacement in REPLACED:
        text = re.sub(pattern, replacement, text)
    return text
