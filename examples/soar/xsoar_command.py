"""A Cortex XSOAR command that runs a library script on a machine, and holds no worker meanwhile.

The first execution submits the script. Each further one reads the status, until the session has
ended. XSOAR stores the arguments of the next execution, and `action_id` is one of them. If the
first execution is repeated, the correlation id finds the session that it started.

In the integration's YAML, `mde-run-script` has `polling: true` and these arguments: machine,
script, args, comment, correlation_id and, with `hidden: true`, action_id.
"""
# ruff: noqa: F403, F405

import math

import demistomock as demisto
from CommonServerPython import *

import mde_live_response as mde

# A session is queued for up to two hours, and a script runs for up to ten minutes.
TIMEOUT = 2 * 3600 + 600


def start_or_find(client: mde.LiveResponseClient, args: dict[str, str]) -> mde.Session:
    """Return the session of this call: a new one, or the one that an earlier execution started."""
    if action_id := args.get("action_id"):
        return client.session(action_id)
    script = mde.Command.run_script(args["script"], args.get("args"))
    case, comment = args["correlation_id"], args["comment"]
    return client.submit(args["machine"], script, comment, timeout=60, correlation_id=case)


def run_script(client: mde.LiveResponseClient, args: dict[str, str]) -> CommandResults:
    """Return the result, or when to execute this command again."""
    session = start_or_find(client, args)
    if session.refresh().done:
        found = {"id": session.id, **session.result().raise_for_status().to_dict()}
        return CommandResults(outputs_prefix="MDE.Script", outputs_key_field="id", outputs=found)
    again = ScheduledCommand(
        command="mde-run-script",
        next_run_in_seconds=math.ceil(max(10, session.next_poll_in)),
        args={**args, "action_id": session.id},
        timeout_in_seconds=TIMEOUT,
    )
    return CommandResults(scheduled_command=again)


def main() -> None:
    params = demisto.params()
    login = params["credentials"]["identifier"], params["credentials"]["password"]
    host = params.get("login_host")
    try:
        credential = mde.ClientSecretCredential(params["tenant_id"], *login, authority=host)
        with mde.LiveResponseClient(credential) as client:
            return_results(run_script(client, demisto.args()))
    except mde.LiveResponseError as error:
        return_error(str(error))


if __name__ in ("__main__", "__builtin__", "builtins"):
    main()
