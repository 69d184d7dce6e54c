"""Searches everything that a user can see for secrets: logs, errors, reprs, pages, pickles."""

from __future__ import annotations

import pickle
import re
import traceback
from pathlib import Path

import mde_live_response as mde
from mde_live_response.display import session_result_text

PACKAGE = str(Path(mde.__file__).parent)
ARGS = "s3cr3t-args"
PATTERNS = {
    "a token": re.compile(r"eyJ[\w-]{8,}"),
    "a link's signature": re.compile(r"sig(=|%3D)(?!\*\*\*)", re.IGNORECASE),
    "a key": re.compile(r"PRIVATE KEY"),
    "what was given": re.compile("m4rk-"),
    "arguments": re.compile(ARGS),
}


class LeakDetector:
    """Collects all output, and searches it for secrets."""

    def __init__(self, *secrets: str) -> None:
        self.patterns = {
            **PATTERNS,
            **{f"secret {at}": re.compile(re.escape(it)) for at, it in enumerate(secrets)},
        }
        self.texts: list[tuple[str, str]] = []

    def text(self, way: str, text: object) -> None:
        self.texts.append((way, str(text)))

    def value(self, value: object) -> None:
        for way in (repr, str, format):
            self.text(f"{way.__name__} of {type(value).__name__}", way(value))
        page = getattr(value, "_repr_html_", None)
        if page is not None:
            self.text(f"page of {type(value).__name__}", page())
        if isinstance(value, mde.SessionResult):
            self.text("text of a result", session_result_text(value))
        if isinstance(value, list | tuple):
            for item in value:
                self.value(item)

    def error(self, error: BaseException | None) -> None:
        """Record an error: its causes, attributes and pickle, and the variables of our frames."""
        while error is not None:
            name = type(error).__name__
            self.text(f"error {name}", f"{error} {error!r} {error.args} {vars(error)}")
            self.text(f"pickle of {name}", pickle.dumps(error).decode("latin-1"))
            frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
            own = [pair for pair in frames if pair[0].f_code.co_filename.startswith(PACKAGE)]
            stack = traceback.StackSummary.extract(iter(own), capture_locals=True)
            self.text(f"traceback of {name}", "".join(stack.format()))
            error = error.__cause__ or error.__context__

    def leaks(self) -> set[tuple[str, str]]:
        return {
            (way, what)
            for way, text in self.texts
            for what, at in self.patterns.items()
            if at.search(text)
        }
