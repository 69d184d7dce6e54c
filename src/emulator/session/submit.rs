//! Run live response (facts.md, section 5).

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use crate::emulator::clock::Tick;
use crate::emulator::control::switches::{BusyResponse, CapCounts};
use crate::emulator::session::action::{Action, Command, Status, Step};
use crate::emulator::state::State;
use crate::emulator::wire::body::JsonObject;
use crate::emulator::wire::reply::{ApiError, Reply, status};
use crate::emulator::wire::request::IncomingRequest;

/// The body as the service's schema has it; capitals count (facts 3.3).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SubmitBody {
    commands: Option<Vec<JsonObject<WireCommand>>>,
    comment: Option<String>,
    external_id: Option<String>,
    request_source: Option<String>,
    title: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCommand {
    r#type: Option<String>,
    params: Option<Vec<JsonObject<WireParam>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireParam {
    key: String,
    value: Option<String>,
}

impl State {
    pub fn submit(
        &mut self,
        request: &IncomingRequest,
        machine_id: &str,
        application: u32,
        now: Tick,
    ) -> Result<Reply, ApiError> {
        let body: SubmitBody = self.read_body(request)?;
        let comment = body.comment.filter(|comment| !comment.is_empty());
        let comment = comment.ok_or_else(|| self.missing("Comment"))?;
        let steps = self.steps(body.commands.ok_or_else(|| self.missing("Commands"))?)?;
        if self.switches.live_response_disabled {
            let message = "Live response is not enabled in the tenant's settings.";
            return Err(ApiError::forbidden("DisabledFeature", message));
        }
        let machine_index = self.machines.by_id(machine_id);
        let machine_index = machine_index
            .ok_or_else(|| ApiError::not_found(format!("Machine {machine_id} was not found")))?;
        self.check_machine(machine_index)?;
        if let Some(missing) = self.missing_library_file(&steps) {
            return Err(ApiError::bad_request(
                "InvalidInput",
                format!("File {missing} was not found in the library"),
            ));
        }
        if let Some(reply) = self.check_busy(machine_index, application, now)? {
            return Ok(reply);
        }
        self.check_cap(application)?;
        self.log.record_submit(&comment);
        let (id, requestor) = (self.new_uuid(), self.requestor(application));
        let mut action = self.new_action(id, machine_index, &requestor, comment, now);
        action.application = Some(application);
        action.external_id = body.external_id;
        action.title = body.title;
        action.source = body.request_source.unwrap_or(action.source);
        action.steps = steps;
        let action = self.add_active_action(machine_index, action);
        self.session_counts.add_open(application);
        self.schedule_start(action, now);
        Ok(self.action_entity(action, status(self.switches.accepted_status), now))
    }

    /// An action of which nothing is known but who made it, on a machine.
    pub fn new_action(
        &self,
        id: Uuid,
        machine: u32,
        requestor: &str,
        comment: String,
        now: Tick,
    ) -> Action {
        let known = self.machines.get(machine);
        Action {
            id,
            machine,
            machine_id: known.map_or_else(String::new, |machine| machine.id.clone()),
            computer_name: known.map_or_else(String::new, |machine| machine.name.clone()),
            application: None,
            requestor: Arc::from(requestor),
            comment,
            external_id: None,
            title: None,
            source: "PublicApi".to_owned(),
            created: now,
            updated: now,
            ended: None,
            status: Status::Pending,
            steps: Vec::new(),
            current_step: 0,
            cancellation: None,
            listed: true,
            returned_for_other_submits: false,
        }
    }

    pub fn add_active_action(&mut self, machine: u32, action: Action) -> u32 {
        let action = self.actions.add(action);
        if let Some(machine) = self.machines.get_mut(machine) {
            machine.active = Some(action);
        }
        action
    }

    fn check_machine(&self, machine_index: u32) -> Result<(), ApiError> {
        let Some(machine) = self.machines.get(machine_index) else { return Ok(()) };
        if machine.stuck {
            // What a stuck action made of every later submit (kibana issue 226775).
            let mut error =
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "");
            error.raw = Some(("", bytes::Bytes::new()));
            return Err(error);
        }
        if !machine.supported {
            let message =
                "The operating system or the sensor of the device does not support live response.";
            return Err(ApiError::bad_request(&self.switches.unsupported_code, message));
        }
        if !machine.remediation_level {
            // The text of microsoft-365-docs issue 6054.
            let message = "This device has no automation level assigned to it. You'll need to at least enable the minimum Remediation Level for a given Device Group.";
            return Err(ApiError::forbidden("DisallowedOperation", message));
        }
        Ok(())
    }

    /// One session per machine: a second gets 400, or by a switch the first one's action as if it were its own.
    fn check_busy(
        &mut self,
        machine_index: u32,
        application: u32,
        now: Tick,
    ) -> Result<Option<Reply>, ApiError> {
        let Some(machine) = self.machines.get(machine_index) else { return Ok(None) };
        let Some(active) = machine.active.and_then(|active| self.actions.get(active)) else {
            return if now < machine.busy_until { Err(busy()) } else { Ok(None) };
        };
        if active.application == Some(application) {
            self.log.violations.machine_busy += 1;
        }
        let foreign = active.returned_for_other_submits
            || (self.switches.busy_answer == BusyResponse::Foreign && active.listed);
        let Some(active) = machine.active.filter(|_| foreign) else { return Err(busy()) };
        Ok(Some(self.action_entity(active, status(self.switches.accepted_status), now)))
    }

    /// The cap is the tenant's; a violation is what an application brought about alone.
    fn check_cap(&mut self, application: u32) -> Result<(), ApiError> {
        let count = |owner| match self.switches.cap_counts {
            CapCounts::Open => self.session_counts.open(owner),
            CapCounts::Running => self.session_counts.running(owner),
        };
        let (all, own) = (count(None), count(Some(application)));
        if own >= self.limits.sessions {
            self.log.violations.sessions += 1;
        }
        if all >= self.limits.sessions { Err(self.session_cap_error()) } else { Ok(()) }
    }

    pub fn missing(&self, name: &str) -> ApiError {
        let message = format!("The required parameter '{name}' is missing.");
        ApiError::bad_request(&self.switches.missing_field_code, message)
    }

    fn steps(&self, commands: Vec<JsonObject<WireCommand>>) -> Result<Vec<Step>, ApiError> {
        let invalid = |why: String| ApiError::bad_request(&self.switches.bad_commands_code, why);
        if commands.is_empty() {
            return Err(invalid("Commands must not be empty.".to_owned()));
        }
        let (mut steps, mut last_rank) = (Vec::with_capacity(commands.len()), 0);
        for JsonObject(command) in commands {
            let kind = command.r#type.ok_or_else(|| self.missing("type"))?;
            let (rank, parsed) =
                parse_command(&kind, command.params.unwrap_or_default(), &invalid, &|name| {
                    self.missing(name)
                })?;
            if rank < last_rank {
                return Err(invalid(
                    "Commands must be in the order PutFile, RunScript, GetFile.".to_owned(),
                ));
            }
            last_rank = rank;
            steps.push(Step::new(parsed));
        }
        Ok(steps)
    }
}

fn busy() -> ApiError {
    ApiError::bad_request("ActiveRequestAlreadyExists", "Action is already in progress")
}

/// A command, and its place in the order that commands must be in.
fn parse_command(
    kind: &str,
    params: Vec<JsonObject<WireParam>>,
    invalid: &impl Fn(String) -> ApiError,
    missing: &impl Fn(&str) -> ApiError,
) -> Result<(u8, Command), ApiError> {
    let (rank, needed, optional) = match kind {
        "PutFile" => (0, "FileName", None),
        "RunScript" => (1, "ScriptName", Some("Args")),
        "GetFile" => (2, "Path", None),
        _ => return Err(invalid(format!("'{kind}' is not a type of command."))),
    };
    let (mut main, mut args) = (None, None);
    for JsonObject(param) in params {
        let value = param.value.unwrap_or_default();
        let slot = if param.key == needed {
            &mut main
        } else if Some(param.key.as_str()) == optional {
            &mut args
        } else {
            return Err(invalid(format!("'{}' is not a parameter of {kind}.", param.key)));
        };
        if slot.replace(value).is_some() {
            return Err(invalid(format!("'{}' is given twice.", param.key)));
        }
    }
    let main = main.filter(|value| !value.is_empty()).ok_or_else(|| missing(needed))?;
    Ok((
        rank,
        match rank {
            0 => Command::PutFile { name: main },
            1 => Command::RunScript { name: main, args },
            _ => Command::GetFile { path: main },
        },
    ))
}
