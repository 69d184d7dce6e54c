//! Checks the machine: onboarding, health, operating system and open sessions.

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
        let hint = "the service waits for the machine for up to two hours, and the session takes a \
                    session slot during that time";
        check.add("warning", "health", format!("{name} is {status}"), hint);
    }
}

/// Checks whether the machine has an open session, or ever had one.
async fn check_sessions(pipeline: &Pipeline, machine: &Machine, name: &str, check: &mut Check) {
    let filter = format!("type eq 'LiveResponse' and machineId eq '{}'", machine.id);
    // If the list cannot be read, the check of the API reports that.
    let Ok(actions) = pipeline.list_machine_actions(Some(&filter), Some(1)).await else { return };
    match (actions.first(), machine.rbac_group_name.as_deref()) {
        (Some(action), _) if !is_final(&action.status) => {
            let message = format!("{name} is busy: session {} is {}", action.id, action.status);
            let hint = "wait for the session with on_busy=\"wait\", or cancel it";
            check.add("warning", "busy", message, hint);
        }
        // No API call returns the remediation level of a device group. An earlier session proves
        // that there is one.
        (None, Some(group)) if !group.is_empty() => check.add(
            "warning",
            "remediation",
            format!(
                "it is not known whether device group {group:?} of {name} has a remediation level"
            ),
            "without a remediation level the service refuses sessions as DisallowedOperation: set \
             one for the group in the Defender portal (page \"run-live-response\")",
        ),
        _ => {}
    }
}
