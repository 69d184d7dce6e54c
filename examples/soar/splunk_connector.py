"""A Splunk SOAR app whose action `run script` returns at once, and a playbook that calls it again.

The first call submits the script. Its summary has the session's id, and the seconds until the next
call makes sense: `splunk_playbook.py` passes both on. If the first call is repeated, the
correlation id finds the session that it started.

In the app's JSON, the action has the identifier `run_script` and the parameters machine, script,
args, comment, correlation_id and action_id.
"""

import phantom.app as phantom
from phantom.action_result import ActionResult
from phantom.base_connector import BaseConnector

import mde_live_response as mde


def start_or_find(client: mde.LiveResponseClient, param: dict[str, str]) -> mde.Session:
    """Return the session of this call: a new one, or the one that an earlier call started."""
    if action_id := param.get("action_id"):
        return client.session(action_id)
    script = mde.Command.run_script(param["script"], param.get("args"))
    case, comment = param["correlation_id"], param["comment"]
    return client.submit(param["machine"], script, comment, timeout=60, correlation_id=case)


class LiveResponseConnector(BaseConnector):
    def handle_action(self, param: dict[str, str]) -> bool:
        """Return the result, or when to call this action again."""
        action_result = self.add_action_result(ActionResult(dict(param)))
        config = self.get_config()
        login = [config[key] for key in ("tenant_id", "client_id", "client_secret")]
        try:
            credential = mde.ClientSecretCredential(*login, authority=config.get("login_host"))
            with mde.LiveResponseClient(credential) as client:
                session = start_or_find(client, param)
                summary = {"action_id": session.id, "done": session.refresh().done}
                action_result.set_summary({**summary, "next_poll_in": session.next_poll_in})
                if summary["done"]:
                    action_result.add_data(session.result().raise_for_status().to_dict())
        except mde.LiveResponseError as error:
            return action_result.set_status(phantom.APP_ERROR, str(error))
        return action_result.set_status(phantom.APP_SUCCESS)
