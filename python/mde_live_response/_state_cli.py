"""`python -m mde_live_response state`: what a state store holds, for an operator."""

from __future__ import annotations

import argparse
import os

from mde_live_response import InvalidRequestError
from mde_live_response._native import prune_state, show_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["add_commands"]

_STATE_VARIABLE = "MDE_LIVE_RESPONSE_STATE"
_DAY = 86_400.0


def _days(text: str) -> float:
    days = float(text)
    if not days >= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of days")
    return days * _DAY


def add_commands(commands: Any) -> None:
    """Add `state show` and `state prune` to the command line."""
    state = commands.add_parser(
        "state",
        allow_abbrev=False,
        help="show what a state store holds, or remove what is old from it",
    )
    actions = state.add_subparsers(dest="action", required=True, metavar="show|prune")
    show = actions.add_parser(
        "show", allow_abbrev=False, help="windows, open sessions and intents: who holds what"
    )
    prune = actions.add_parser(
        "prune", allow_abbrev=False, help="remove what is old and over; what is open stays"
    )
    prune.add_argument(
        "--older-than",
        type=_days,
        default=30 * _DAY,
        metavar="DAYS",
        help="an older submit with the same correlation id is found in the service's list alone (default: 30)",
    )
    for action in (show, prune):
        action.add_argument(
            "address",
            nargs="?",
            metavar="ADDRESS",
            help=f"sqlite:///path, redis://host:6379/0 (default: ${_STATE_VARIABLE}, which keeps a password out of sight)",
        )
        action.add_argument("--json", action="store_true", help="print it as JSON")
    show.set_defaults(call=_show)
    prune.set_defaults(call=_prune)


def _address(options: argparse.Namespace) -> str:
    address = options.address or os.environ.get(_STATE_VARIABLE, "")
    if not address:
        raise InvalidRequestError(
            "no state store is named", hint=f"give its address, or set {_STATE_VARIABLE}"
        )
    if address == "memory:":
        raise InvalidRequestError(
            "a memory store is its own process's: there is nothing to see from here",
            hint="use sqlite:///path or redis://host:6379/0",
        )
    return str(address)


def _show(options: argparse.Namespace) -> int:
    quotas = show_state(_address(options))
    if options.json:
        _print_json(quotas)
    elif not quotas:
        print("The store holds nothing.")
    else:
        for quota in quotas:
            print("\n".join(_format_quota(quota)))
    return 0


def _prune(options: argparse.Namespace) -> int:
    removed = prune_state(_address(options), options.older_than)
    if options.json:
        _print_json(removed)
        return 0
    counts = (
        f"{sum(quota[what] for quota in removed)} {what}"
        for what in ("intents", "statuses", "runs")
    )
    print(f"Removed: {', '.join(counts)}")
    return 0


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2))


def _format_quota(quota: dict[str, Any]) -> Iterator[str]:
    now = quota["now"]
    yield f"Application {_strip_unprintable(quota['application'])} in tenant {_strip_unprintable(quota['tenant'])} at {_strip_unprintable(quota['host'])}"
    yield "  windows"
    for window in quota["windows"]:
        held = f", held back for {window['blocked_for']:.0f} s" if window["blocked_for"] > 0 else ""
        counted = f"{window['running']} under way, {window['ended']} over and counted, {window['waiting']} waiting"
        yield f"    {window['name']:<16} {counted}{held}"
    yield f"  open sessions: {len(quota['slots'])}"
    for slot in quota["slots"]:
        yield f"    {slot['machine_id']}  {_describe_slot(slot)}, for {slot['until'] - now:.0f} s at the most"
    yield f"  intents: {len(quota['intents'])}"
    for state in quota["intents"]:
        key, intent = state["key"], state["intent"]
        age = f"{now - intent['created']:.0f} s old"
        yield f"    {key['machine_id']}  {_strip_unprintable(key['correlation_id'])}  {_describe_stage(state)}, {age}"


def _describe_slot(slot: dict[str, Any]) -> str:
    action = slot["action_id"] or (
        "in doubt" if slot["in_doubt"] is not None else "not submitted yet"
    )
    owner = (
        "another's"
        if slot["correlation_id"] is None
        else f"correlation id {_strip_unprintable(slot['correlation_id'])}"
    )
    return f"{action}, {owner}"


def _describe_stage(state: dict[str, Any]) -> str:
    intent = state["intent"]
    stage = intent["action_id"] or (
        "posted, action not known" if intent["posted"] else "not posted"
    )
    return f"{stage}, a process is at it" if state["lease_held"] else str(stage)


def _strip_unprintable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())
