"""One thing in a notebook: the HTML of `_repr_html_`."""

from __future__ import annotations

import json

import mde_live_response as mde
from mde_live_response.evidence import Packed, Verification

from .clean import format_size, format_time, machine_label
from .columns import columns_of, is_bad
from .fleet import fleet_html, fleet_report_html, reason_colour
from .markup import AMBER, GREEN, GREY, MAX_ROWS, RED, Html, card, dot, html_table, output_block
from .session import command_card, session_result_html

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = ["to_html"]


def _rows_of(items: Iterable[object]) -> Html:
    found = list(items)
    columns = columns_of(type(found[0])) if found else None
    if columns is None:
        return Html("")
    rows = [[get(item) for _, get in columns] for item in found]
    return html_table([head for head, _ in columns], rows)


def _machine(machine: mde.Machine) -> Html:
    fields = (
        ("id", machine.id),
        ("OS", " ".join(filter(None, (machine.os_platform, machine.version)))),
        ("health", machine.health_status),
        ("onboarding", machine.onboarding_status),
        ("last seen", format_time(machine.last_seen)),
        ("device group", machine.rbac_group_name),
        ("tags", machine.machine_tags),
    )
    return card(machine.computer_dns_name or machine.id, fields)


def _library_file(file: mde.LibraryFile) -> Html:
    fields = (
        ("description", file.description),
        ("parameters", file.parameters_description),
        ("created", format_time(file.creation_time)),
        ("updated", format_time(file.last_updated_time)),
        ("created by", file.created_by),
        ("SHA-256", file.sha256),
    )
    return card(file.file_name, fields)


def _collected_file(file: mde.CollectedFile) -> Html:
    fields = (
        ("path on the machine", file.remote_path),
        ("size", format_size(file.size)),
        ("SHA-256", file.sha256),
        ("saved as", file.path),
    )
    return card(file.name, fields)


def _script_output(script: mde.ScriptOutput) -> Html:
    colour = RED if is_bad(script) else GREEN if script.exit_code == 0 else GREY
    code = "no exit code" if script.exit_code is None else f"exit code {script.exit_code}"
    outputs = [output_block(script.text)] if script.text else []
    if script.stderr_text:
        outputs.append(output_block(script.stderr_text, "stderr", RED))
    return card(script.script_name, [("result", dot(colour, code))], *outputs)


def _action(action: mde.MachineAction) -> Html:
    colour = RED if is_bad(action) else GREEN if action.status == "Succeeded" else AMBER
    fields = (
        ("status", dot(colour, action.status)),
        ("id", action.id),
        ("type", action.type),
        ("comment", action.requestor_comment),
        ("requested by", action.requestor),
        ("created", format_time(action.creation_date_time_utc)),
        ("updated", format_time(action.last_update_date_time_utc)),
        ("cancelled by", action.cancellation_requestor),
        ("reason of the cancel", action.cancellation_comment),
        ("error", action.error_name),
    )
    machine = action.computer_dns_name or action.machine_id or "machine action"
    return card(machine, fields, _rows_of(action.commands))


def _session(session: mde.Session) -> Html:
    action = session.action
    fields = (
        ("machine", (action and action.computer_dns_name) or session.machine_id),
        ("status", action and action.status),
        ("correlation id", session.correlation_id),
        ("adopted", "an earlier submit started it" if session.adopted else None),
    )
    return card(f"session {session.id}", fields)


def _outcome(outcome: mde.Outcome) -> Html:
    fields = (
        ("result", dot(reason_colour(outcome.reason), outcome.reason)),
        ("message", None if outcome.ok else outcome.message),
        ("hint", getattr(outcome.error, "hint", None)),
        ("status", outcome.status),
        ("session", outcome.action_id),
        ("machine id", outcome.machine_id),
        ("start", format_time(outcome.start_time)),
        ("end", format_time(outcome.end_time)),
    )
    return card(machine_label(outcome), fields)


def _run(run: mde.Run) -> Html:
    fields = (
        ("comment", run.comment),
        ("started", format_time(run.created)),
        ("machines", run.machines),
        ("done", run.done),
        ("ok", run.ok),
        ("cancelled", run.cancelled),
    )
    return card(f"run {run.run_id}", fields)


def _check(check: mde.Check) -> Html:
    title = dot(GREEN, "nothing would prevent a session") if check.ok else dot(RED, "not ready")
    return card(title, (), _rows_of(check.findings))


def _profile(profile: mde.Profile) -> Html:
    counts = profile.counts
    rows = [[name, json.dumps(value), counts[name]] for name, value in profile.observed.items()]
    table = html_table(("switch", "observed", "times"), rows)
    return card(f"profile: {len(rows)} switches", (), table)


def _finding(finding: mde.Finding) -> Html:
    colour = RED if is_bad(finding) else AMBER
    fields = (("hint", finding.hint), ("code", finding.code))
    return card(dot(colour, f"{finding.level}: {finding.message}"), fields)


def _library_plan(plan: mde.LibraryPlan) -> Html:
    kinds = ("add", "replace", "describe", "delete", "conflicts")
    changes = [(kind.rstrip("s"), file) for kind in kinds for file in getattr(plan, kind)]
    rows = [html_table(("action", "file"), changes)] if changes else []
    return card("library plan" if changes else "nothing to do", (), *rows)


def _verification(found: Verification) -> Html:
    count = len(found.problems)
    problems = "1 problem" if count == 1 else f"{count} problems"
    title = dot(GREEN, "nothing wrong") if found.ok else dot(RED, problems)
    fields = (
        ("files", found.files),
        ("SHA-256 of the last line", found.last),
        ("audit log", found.audit and ", ".join(f"{n} {word}" for word, n in found.audit.items())),
    )
    shown = [[problem] for problem in found.problems[:MAX_ROWS]]
    rows = [html_table(["problem"], shown, left_out=count - len(shown))] if shown else []
    return card(title, fields, *rows)


def _packed(packed: Packed) -> Html:
    if packed.path is None:
        return _verification(packed.verification)
    fields = (
        ("size", format_size(packed.size)),
        ("SHA-256", packed.sha256),
        ("files", packed.verification.files),
        ("SHA-256 of the last line", packed.verification.last),
    )
    return card(packed.path, fields)


def _error(error: mde.LiveResponseError) -> Html:
    fields = [(name.replace("_", " "), value) for name, value in error.to_dict().items()]
    shown = [(n, v) for n, v in fields if n != "message" and not isinstance(v, (dict, list))]
    return card(dot(RED, type(error).__name__), [("message", error.message), *shown])


def _any(item: Any) -> Html:
    """Show what has no card of its own by its fields."""
    fields = [
        (name.replace("_", " "), value)
        for name, value in item.to_dict().items()
        if not isinstance(value, (dict, list))
    ]
    return card(type(item).__name__, fields)


_CARDS: dict[type, Callable[[Any], str]] = {
    mde.Machine: _machine,
    mde.LibraryFile: _library_file,
    mde.CollectedFile: _collected_file,
    mde.ScriptOutput: _script_output,
    mde.CommandResult: command_card,
    mde.MachineAction: _action,
    mde.SessionResult: session_result_html,
    mde.Session: _session,
    mde.Outcome: _outcome,
    mde.Fleet: fleet_html,
    mde.FleetReport: fleet_report_html,
    mde.Run: _run,
    mde.Check: _check,
    mde.Finding: _finding,
    mde.Profile: _profile,
    mde.LibraryPlan: _library_plan,
    Packed: _packed,
    Verification: _verification,
}


def to_html(item: object) -> str:
    """Return a result, a model or an error as HTML, for its `_repr_html_`."""
    own: Callable[[Any], str] = _error if isinstance(item, mde.LiveResponseError) else _any
    return str(_CARDS.get(type(item), own)(item))
