"""What a table shows of each kind of thing: its columns, and a row."""

from __future__ import annotations

import mde_live_response as mde

from .clean import format_size, format_time, machine_label

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    _Columns: TypeAlias = tuple[tuple[str, Callable[[Any], object]], ...]

__all__ = ["COLUMNS", "columns_of", "is_bad"]


def _duration(outcome: mde.Outcome) -> str | None:
    if outcome.start_time is None:
        return None
    return f"{(outcome.end_time - outcome.start_time).total_seconds():.0f} s"


def _machine_of(action: mde.MachineAction) -> str | None:
    return action.computer_dns_name or action.machine_id


def _session_machine(session: mde.Session) -> str | None:
    return (session.action and _machine_of(session.action)) or session.machine_id


def _command_text(command: mde.CommandResult) -> str:
    from .session import command_text

    return command_text(command)


def _command_details(command: mde.CommandResult) -> str:
    from .session import command_details

    return "; ".join(command_details(command))


COLUMNS: dict[type, _Columns] = {
    mde.Machine: (
        ("name", lambda it: it.computer_dns_name),
        ("id", lambda it: it.id),
        ("OS", lambda it: it.os_platform),
        ("health", lambda it: it.health_status),
        ("last seen", lambda it: format_time(it.last_seen)),
        ("tags", lambda it: ", ".join(it.machine_tags)),
    ),
    mde.LibraryFile: (
        ("name", lambda it: it.file_name),
        ("updated", lambda it: format_time(it.last_updated_time)),
        ("created by", lambda it: it.created_by),
        ("description", lambda it: it.description),
        ("SHA-256", lambda it: it.sha256),
    ),
    mde.MachineAction: (
        ("id", lambda it: it.id),
        ("machine", _machine_of),
        ("status", lambda it: it.status),
        ("created", lambda it: format_time(it.creation_date_time_utc)),
        ("comment", lambda it: it.requestor_comment),
        ("error", lambda it: it.error_name),
    ),
    mde.Session: (
        ("id", lambda it: it.id),
        ("status", lambda it: it.action and it.action.status),
        ("machine", _session_machine),
        ("correlation id", lambda it: it.correlation_id),
    ),
    mde.CommandResult: (
        ("#", lambda it: it.index),
        ("command", _command_text),
        ("status", lambda it: it.status),
        ("details", _command_details),
    ),
    mde.Outcome: (
        ("machine", machine_label),
        ("status", lambda it: it.status),
        ("reason", lambda it: it.reason),
        ("duration", _duration),
        ("message", lambda it: None if it.ok else it.message),
    ),
    mde.SessionResult: (
        ("machine", lambda it: _machine_of(it.action)),
        ("status", lambda it: it.action.status),
        ("reason", lambda it: it.reason),
        ("message", lambda it: None if it.ok else it.message),
    ),
    mde.CollectedFile: (
        ("path on the machine", lambda it: it.remote_path),
        ("size", lambda it: format_size(it.size)),
        ("SHA-256", lambda it: it.sha256),
        ("saved as", lambda it: it.path),
    ),
    mde.ScriptOutput: (
        ("script", lambda it: it.script_name),
        ("exit code", lambda it: it.exit_code),
        ("output", lambda it: it.text),
        ("stderr", lambda it: it.stderr_text),
    ),
    mde.Run: (
        ("id", lambda it: it.run_id),
        ("started", lambda it: format_time(it.created)),
        ("machines", lambda it: it.machines),
        ("done", lambda it: it.done),
        ("ok", lambda it: it.ok),
        ("cancelled", lambda it: it.cancelled),
        ("comment", lambda it: it.comment),
    ),
    mde.Check: (
        ("ok", lambda it: it.ok),
        ("findings", lambda it: "; ".join(finding.message for finding in it.findings)),
    ),
    mde.Finding: (
        ("level", lambda it: it.level),
        ("message", lambda it: it.message),
        ("hint", lambda it: it.hint),
    ),
    mde.Profile: (
        ("switches", lambda it: len(it.observed)),
        ("observed", lambda it: ", ".join(f"{name}: {it.observed[name]}" for name in it.counts)),
        ("facts", lambda it: len(it.facts)),
    ),
}


_ERROR_COLUMNS: _Columns = (
    ("error", lambda it: type(it).__name__),
    ("machine", lambda it: it.machine_id),
    ("message", lambda it: it.message),
    ("hint", lambda it: it.hint),
)


def columns_of(kind: type) -> _Columns | None:
    """Return the columns of a class, or None if it has none of its own."""
    return _ERROR_COLUMNS if issubclass(kind, mde.LiveResponseError) else COLUMNS.get(kind)


def is_bad(item: object) -> bool:
    """Return whether something went wrong with this."""
    if isinstance(item, mde.MachineAction):
        return item.status in ("Failed", "TimeOut")
    if isinstance(item, mde.Finding):
        return item.level == "error"
    if isinstance(item, mde.ScriptOutput):
        return item.exit_code not in (0, None)
    if isinstance(item, (mde.SessionResult, mde.Outcome, mde.Check)):
        return not item.ok
    return isinstance(item, mde.LiveResponseError)
