"""What the dict of a model must be: its attributes, made JSON-ready one by one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

#: The attributes that `to_dict` returns, in order. A command's dict is the service's JSON.
DICT_NAMES = {
    "Rate": "count per",
    "Limits": "submit read sessions queue_time script_time settle_time upload_size",
    "MachineAction": "id type status done machine_id computer_dns_name requestor "
    "requestor_comment creation_date_time_utc last_update_date_time_utc cancellation_requestor "
    "cancellation_comment cancellation_date_time_utc error_hresult error_name external_id "
    "request_source commands",
    "CommandResult": "index command status errors start_time end_time skipped script file error",
    "SessionResult": "action commands ok reason message",
    "ScriptOutput": "script_name exit_code stdout stderr",
    "CollectedFile": "remote_path path name size sha256 payload received_size received_sha256",
    "Machine": "id computer_dns_name os_platform version health_status onboarding_status "
    "last_seen rbac_group_name machine_tags",
    "LibraryFile": "file_name sha256 description creation_time last_updated_time created_by "
    "has_parameters parameters_description changed",
    "LibraryPlan": "add replace describe delete leave others conflicts",
    "Run": "run_id comment created machines done ok cancelled",
    "Session": "id machine_id correlation_id adopted action",
    "Finding": "code level message hint",
    "Check": "ok findings",
    "Profile": "observed counts facts",
    "Outcome": "row machine computer_dns_name machine_id tenant_id action_id correlation_id status "
    "ok reason message start_time end_time error",
    "FleetReport": "run_id ok outcomes",
}


def dict_of_attributes(model: Any) -> dict[str, Any]:
    """Return what `model.to_dict()` must return."""
    if type(model).__name__ == "Command":
        params = [{"key": key, "value": value} for key, value in model.params.items()]
        return {"type": model.type, "params": params}
    names = DICT_NAMES[type(model).__name__].split()
    fields = {name: json_ready(getattr(model, name)) for name in names}
    if type(model).__name__ == "SessionResult":
        # The result has the commands itself, with what was fetched.
        del fields["action"]["commands"]
    return fields


def json_ready(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return value
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, tuple):
        return [json_ready(item) for item in value]
    if type(value).__name__ in {*DICT_NAMES, "Command"}:
        return dict_of_attributes(value)
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return {"message": str(value)} if isinstance(value, BaseException) else str(value)
