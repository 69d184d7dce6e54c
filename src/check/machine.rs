//! What a check finds of the machine.

use super::{Check, platform};
use crate::model::{Machine, is_final};
use crate::pipeline::Pipeline;

pub(super) async fn check_machine(pipeline: &Pipeline, machine: &str, check: &mut Check) {
    let machine: Machine = match pipeline.resolve_machine(machine).await {
        Ok(machine) => machine,
        Err(error) => return check.add_error("machine", &error),
    };
    let name = machine.computer_dns_name.as_deref().unwrap_or(&machine.id).to_owned();
    check_health(&machine, &name, check);
    if let Some((reason, hint)) = machine
        .os_platform
        .as_deref()
        .and_then(|os| platform::unsupported_reason(os, machine.version.as_deref()))
    {
        check.add("warning", "os", format!("{name}: {reason}"), hint);
    }
    check_sessions(pipeline, &machine, &name, check).await;
}

fn check_health(machine: &Machine, name: &str, check: &mut Check) {
    if let Some(status) = machine
        .onboarding_status
        .as_deref()
        .filter(|status| !status.eq_ignore_ascii_case("Onboarded"))
    {
        let hint = "onboard the machine to Defender for Endpoint";
        check.add("error", "onboarding", format!("{name} is not onboarded: {status}"), hint);
    }
    if let Some(status) = machine.health_status.as_deref().filter(|status| *status != "Active") {
        let hint = "the session waits for the machine for up to two hours, and holds one of the session slots meanwhile";
        check.add("warning", "health", format!("{name} is {status}"), hint);
    }
}

/// No call tells a device group's remediation level, but a session that was once accepted does.
async fn check_sessions(pipeline: &Pipeline, machine: &Machine, name: &str, check: &mut Check) {
    let filter = format!("type eq 'LiveResponse' and machineId eq '{}'", machine.id);
    // That lists can't be read is told by then.
    let Ok(actions) = pipeline.list_machine_actions(Some(&filter), Some(1)).await else { return };
    match (actions.first(), machine.rbac_group_name.as_deref()) {
        (Some(action), _) if !is_final(&action.status) => {
            let message = format!("session {} is on {name}: {}", action.id, action.status);
            check.add("warning", "busy", message, "wait for it with on_busy=\"wait\", or cancel it");
        }
        (None, Some(group)) if !group.is_empty() => check.add(
            "warning",
            "remediation",
            format!("no call tells whether device group {group:?}, {name}'s, has a remediation level"),
            "without one a session is refused as DisallowedOperation: give the group a remediation level in the Defender \
             portal (page \"run-live-response\")",
        ),
        _ => {}
    }
}
