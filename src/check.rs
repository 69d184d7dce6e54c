//! Finds what would prevent or limit a session, before it starts. Starts nothing.

mod commands;
mod machine;
mod permissions;
mod platform;
mod results;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::limits::Quota;
use crate::model::Command;
use crate::operation::Operation;
use crate::pipeline::Pipeline;
use crate::state::memory_warning;

/// One problem, and how to solve it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub code: String,
    /// `error` or `warning`.
    pub level: String,
    pub message: String,
    pub hint: String,
}

/// All problems that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub findings: Vec<Finding>,
}

impl Check {
    /// Returns whether there are only warnings.
    pub fn is_ok(&self) -> bool {
        self.findings.iter().all(|finding| finding.level != "error")
    }

    fn add(
        &mut self,
        level: &str,
        code: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.findings.push(Finding {
            code: code.to_owned(),
            level: level.to_owned(),
            message: message.into(),
            hint: hint.into(),
        });
    }

    fn add_error(&mut self, code: &str, error: &Error) {
        self.add("error", code, &error.message, error.hint.as_deref().unwrap_or_default());
    }
}

/// Checks the token, the state store, the permissions and the API. Also checks the machine and the
/// commands if they are given.
pub async fn check(
    pipeline: &Pipeline,
    machine: Option<&str>,
    commands: Option<&[Command]>,
) -> Check {
    let mut check = Check::default();
    if let Err(error) = pipeline.tokens().get_token().await {
        check.add_error("token", &error);
        // Without a token every other check would only repeat this error.
        return check;
    }
    match pipeline.shared_quota().await {
        Ok((_, quota)) => check_state(&quota, pipeline.options.limits.sessions, &mut check).await,
        Err(error) => {
            check.add_error("state", &error);
            return check;
        }
    }
    permissions::check_permissions(pipeline, commands, &mut check).await;
    match pipeline.list_machine_actions(Some("type eq 'LiveResponse'"), Some(20)).await {
        Ok(actions) => results::check_results_host(pipeline, &actions, &mut check).await,
        Err(error) => check.add_error("api", &error),
    }
    if let Some(machine) = machine {
        machine::check_machine(pipeline, machine, &mut check).await;
    }
    if let Some(commands) = commands {
        commands::check_library_commands(pipeline, commands, &mut check).await;
    }
    check
}

/// Checks whether the store is shared with other processes, and how much of the limits is free.
async fn check_state(quota: &Quota, sessions: u32, check: &mut Check) {
    let store = quota.store();
    if let (false, Some(engine)) = (store.is_shared(), memory_warning::detect_engine()) {
        check.add("warning", "state", memory_warning::message(engine), memory_warning::HINT);
    } else if !store.is_shared() {
        check.add(
            "warning",
            "state",
            "the state store is in memory: other processes do not share its limits, sessions and \
             intents",
            "if several processes use the same application, give each of them \
             state=\"sqlite:///path\" or state=\"redis://host:6379/0\"",
        );
    }
    for notice in store.notices() {
        check.add("warning", "state", notice.message, notice.hint);
    }
    match quota.window_usage(Operation::RunLiveResponse).await {
        Ok(view) if view.wait > 0.0 => check.add(
            "warning",
            "limits",
            format!("the next submit has to wait {:.0} s for the submit limit", view.wait),
            "other submits of this application used up the limit; the next one waits in the queue",
        ),
        Ok(_) => {}
        Err(error) => check.add_error("state", &error),
    }
    match store.slots().await {
        Ok(slots) if slots.len() >= sessions as usize => check.add(
            "warning",
            "limits",
            format!(
                "all {sessions} session slots are taken: the next submit waits for a session to end"
            ),
            "client.list_sessions() lists the open sessions; the next submit waits for a free slot",
        ),
        Ok(_) => {}
        Err(error) => check.add_error("state", &error),
    }
}
