"""The commands `machines` and `check`."""

from __future__ import annotations

import mde_live_response as mde
from mde_live_response._cli.exit_codes import FAILED, OK
from mde_live_response._cli.options import (
    add_command,
    connection_options,
    make_client,
    seconds,
    whole_number,
)
from mde_live_response._cli.output import print_document, print_list, print_text
from mde_live_response._cli.words import count, to_option_words

# Importing `typing` would take most of the time of `import mde_live_response`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

__all__ = ["add_inventory", "add_selection", "has_selection", "select_machines"]

_CONDITIONS = {
    "tag": "machines with this tag",
    "group": "machines of this device group",
    "os": "machines with this platform, such as Windows11",
    "health": "machines with this health status, such as Active",
    "ip": "machines that last had this IP address",
}


def add_inventory(commands: Any) -> None:
    """Add `machines` and `check` to the command line."""
    machines = add_command(
        commands,
        "machines",
        _machines,
        help="list the tenant's machines",
        example="mde-live-response machines --filter \"healthStatus eq 'Active'\" --top 20",
        parents=(connection_options(),),
    )
    add_selection(machines)
    check = add_command(
        commands,
        "check",
        _check,
        help="report what would prevent a session; it starts nothing",
        example="mde-live-response check ws-0042",
        parents=(connection_options(),),
    )
    check.add_argument(
        "machine", nargs="?", metavar="MACHINE", help="a machine id or a computer name"
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add the options that select machines."""
    add = parser.add_argument_group("selection").add_argument
    add("--filter", metavar="ODATA", help="an OData filter that the service applies")
    add("--top", type=whole_number, metavar="N", help="at most N machines")
    for name, what in _CONDITIONS.items():
        add(f"--{name}", metavar=name.upper(), help=what)
    add("--seen-within", type=seconds, metavar="S", help="machines seen in the last S seconds")


def has_selection(options: argparse.Namespace) -> bool:
    """Return whether an option selects machines."""
    names = ("filter", "top", "seen_within", *_CONDITIONS)
    return any(getattr(options, name) is not None for name in names)


def select_machines(
    client: mde.LiveResponseClient, options: argparse.Namespace
) -> tuple[mde.Machine, ...]:
    """Return the machines that satisfy all conditions."""
    conditions = {name: getattr(options, name) for name in _CONDITIONS}
    return client.list_machines(
        options.filter, top=options.top, seen_within=options.seen_within, **conditions
    )


def _machines(options: argparse.Namespace) -> int:
    with make_client(options) as client:
        machines = select_machines(client, options)
    heads = ("NAME", "ID", "OS", "HEALTH", "LAST SEEN", "TAGS")
    print_list(
        machines,
        mde.Machine.to_dict,
        heads,
        _machine_row,
        empty="no machines",
        as_json=options.json,
    )
    return OK


def _machine_row(machine: mde.Machine) -> tuple[object, ...]:
    return (
        machine.computer_dns_name,
        machine.id,
        machine.os_platform,
        machine.health_status,
        machine.last_seen and machine.last_seen.strftime("%Y-%m-%d %H:%M"),
        ", ".join(machine.machine_tags),
    )


def _check(options: argparse.Namespace) -> int:
    with make_client(options) as client:
        check = client.check(options.machine)
    if options.json:
        document = check.to_dict()
        for finding in document["findings"]:
            finding["hint"] = to_option_words(finding["hint"])
        print_document(document)
    else:
        for finding in check.findings:
            print_text(f"{finding.level}: {to_option_words(finding.message)}")
            print_text(f"  {to_option_words(finding.hint)}")
        print_text(_verdict(check))
    return OK if check.ok else FAILED


def _verdict(check: mde.Check) -> str:
    if not check.findings:
        return "nothing would prevent a session"
    levels = [finding.level for finding in check.findings]
    return ", ".join(count(levels.count(level), level) for level in ("error", "warning"))
