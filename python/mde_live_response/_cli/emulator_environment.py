"""The environment variables of an emulator, as lines for a shell."""

from __future__ import annotations

import json
import shlex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FORMATS", "environment_text"]

FORMATS = ("sh", "powershell", "json")

_POWERSHELL_QUOTES = "'\u2018\u2019\u201a\u201b"
"""PowerShell ends a text in single quotes at any of them. A doubled one is part of the text."""


def environment_text(variables: Mapping[str, str], form: str) -> str:
    """Return the lines that set the variables in a shell, or one JSON object."""
    if form == "json":
        return json.dumps(dict(variables))
    to_line = _sh_line if form == "sh" else _powershell_line
    return "\n".join(to_line(name, value) for name, value in variables.items())


def _sh_line(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"


def _powershell_line(name: str, value: str) -> str:
    quoted = "".join(c * 2 if c in _POWERSHELL_QUOTES else c for c in value)
    return f"$env:{name} = '{quoted}'"
