"""The commands `state show` and `state prune`, for operators of a state store."""

from __future__ import annotations

import argparse

from mde_live_response._cli.exit_codes import OK
from mde_live_response._cli.options import STATE_VARIABLE, add_command, age, state_address
from mde_live_response._cli.output import print_document, print_text
from mde_live_response._cli.words import count
from mde_live_response._native import prune_state, show_state
from mde_live_response.display import strip_unprintable

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["add_state"]

_MONTH = 30 * 86_400.0


def add_state(commands: Any) -> None:
    """Add `state show` and `state prune` to the command line."""
    state = commands.add_parser(
        "state",
        help="show the content of a state store, or remove old entries",
    )
    actions = state.add_subparsers(dest="action", required=True, metavar="show|prune")
    show = add_command(
        actions,
        "show",
        _show,
        help="show the limits in use, open sessions, submits and runs",
        example="mde-live-response state show sqlite:///runs.db",
    )
    prune = add_command(
        actions,
        "prune",
        _prune,
        help="remove old entries, unless a process uses them",
        example="mde-live-response state prune --older-than 30d",
    )
    prune.add_argument(
        "--older-than",
        type=age,
        default=_MONTH,
        metavar="AGE",
        help="age with a unit, such as 12h (default: 30d). After that, a submit can be found by "
        "its correlation id only as long as the service lists its action",
    )
    for action in (show, prune):
        action.add_argument(
            "address",
            nargs="?",
            metavar="ADDRESS",
            help="sqlite:///path or redis://host:6379/0. Default: the environment variable "
            f"{STATE_VARIABLE}, which keeps a password out of the process list",
        )
        action.add_argument("--state", metavar="ADDRESS", help="the same, as in other commands")


def _show(options: argparse.Namespace) -> int:
    quotas = show_state(state_address(options))
    if options.json:
        print_document(quotas)
    elif not quotas:
        print_text("The store is empty.")
    else:
        for quota in quotas:
            print_text("\n".join(_format_quota(quota)))
    return OK


def _prune(options: argparse.Namespace) -> int:
    removed = prune_state(state_address(options), options.older_than)
    if options.json:
        print_document(removed)
        return OK
    counts = (
        count(sum(quota[what] for quota in removed), thing)
        for what, thing in (("intents", "submit"), ("statuses", "status"), ("runs", "run"))
    )
    print_text(f"Removed: {', '.join(counts)}")
    return OK


def _format_quota(quota: dict[str, Any]) -> Iterator[str]:
    now = quota["now"]
    application, tenant, host = (
        strip_unprintable(quota[key]) for key in ("application", "tenant", "host")
    )
    yield f"Application {application} in tenant {tenant} at {host}"
    yield "  windows"
    for window in quota["windows"]:
        blocked_for = window["blocked_for"]
        blocked = f", blocked for {blocked_for:.0f} s" if blocked_for > 0 else ""
        counts = (
            f"{window['running']} running, {window['ended']} ended and still counted, "
            f"{window['waiting']} waiting"
        )
        yield f"    {window['name']:<16} {counts}{blocked}"
    yield f"  open sessions of all callers: {len(quota['slots'])}"
    for slot in quota["slots"]:
        expires_in = f"expires in {slot['until'] - now:.0f} s"
        yield f"    {slot['machine_id']}  {_describe_slot(slot)}, {expires_in}"
    yield f"  intents: {len(quota['intents'])}"
    for state in quota["intents"]:
        key, intent = state["key"], state["intent"]
        age = f"{now - intent['created']:.0f} s old"
        correlation_id = strip_unprintable(key["correlation_id"])
        yield f"    {key['machine_id']}  {correlation_id}  {_describe_stage(state)}, {age}"
    yield f"  runs: {len(quota['runs'])}"
    for run in quota["runs"]:
        yield f"    {_describe_run(run)}, {now - run['created']:.0f} s old"


def _describe_run(run: dict[str, Any]) -> str:
    cancelled = ", cancelled" if run["cancelled"] else ""
    counts = f"{run['done']} of {run['machines']} machines done, {run['ok']} ok{cancelled}"
    return f"{strip_unprintable(run['run_id'])}  {counts}, {strip_unprintable(run['comment'])}"


def _describe_slot(slot: dict[str, Any]) -> str:
    action = slot["action_id"] or (
        "in doubt" if slot["in_doubt"] is not None else "not submitted yet"
    )
    owner = (
        "another caller's session"
        if slot["correlation_id"] is None
        else f"correlation id {strip_unprintable(slot['correlation_id'])}"
    )
    return f"{action}, {owner}"


def _describe_stage(state: dict[str, Any]) -> str:
    intent = state["intent"]
    stage = intent["action_id"] or ("posted, action unknown" if intent["posted"] else "not posted")
    return f"{stage}, a process is working on it" if state["lease_held"] else str(stage)
