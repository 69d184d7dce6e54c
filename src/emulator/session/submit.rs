//! The submit call, "run live response" (docs/service.md, section 5).

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use crate::emulator::clock::Tick;
use crate::emulator::control::switches::{BusyResponse, CapCounts};
use crate::emulator::session::action::{Action, Command, Status, Step};
use crate::emulator::session::comment::shown_comment;
use crate::emulator::state::State;
use crate::emulator::wire::body::JsonObject;
use crate::emulator::wire::not_emulated::machine_not_found;
use crate::emulator::wire::reply::{ApiError, Reply, status};
use crate::emulator::wire::request::IncomingRequest;

/// The request body, after the service's schema (docs/service.md, section 17). Its keys are
/// case-sensitive (section 3.3).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SubmitBody {
    commands: Option<Vec<JsonObject<CommandBody>>>,
    comment: Option<String>,
    external_id: Option<String>,
    request_source: Option<String>,
    title: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommandBody {
    r#type: Option<String>,
    params: Option<Vec<JsonObject<ParamBody>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ParamBody {
    key: String,
    value: Option<String>,
}

impl State {
    /// Validates a submit and creates its action, or returns the service's error.
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
        let steps = self.parse_steps(body.commands.ok_or_else(|| self.missing("Commands"))?)?;
        if self.switches.live_response_disabled {
            let message = "Live response is not enabled in the tenant's settings.";
            return Err(ApiError::forbidden("DisabledFeature", message));
        }
        let machine_index = self
            .machines
            .by_id(machine_id)
            .filter(|index| self.machines.get(*index).is_some_and(|known| !known.is_merged()))
            .ok_or_else(|| machine_not_found(machine_id))?;
        self.check_machine(machine_index)?;
        self.check_portal_characters(&steps)?;
        if let Some(missing) = self.missing_library_file(&steps) {
            return Err(ApiError::bad_request(
                "InvalidInput",
                format!("File {missing} was not found in the library"),
            ));
        }
        // The cap comes last: a submit to a busy machine gets its 400 even if the cap is full.
        if let Some(reply) = self.check_busy(machine_index, application, now)? {
            return Ok(reply);
        }
        self.check_cap(application)?;
        let (id, requestor) = (self.new_uuid(), self.requestor(application));
        let mut action = self.new_action(id, machine_index, &requestor, comment, now);
        action.application = Some(application);
        action.external_id = body.external_id;
        action.title = body.title;
        action.source = body.request_source.unwrap_or(action.source);
        action.steps = steps;
        Ok(self.accept(machine_index, application, action, now))
    }

    /// Opens the session of an action, and answers its submit.
    fn accept(&mut self, machine: u32, application: u32, action: Action, now: Tick) -> Reply {
        let commands = action.steps.iter().map(|step| step.command.clone()).collect();
        let comment = action.comment.clone();
        let shown = shown_comment(&comment, now, now, &self.switches);
        let is_changed = shown.as_deref() != Some(comment.as_str());
        let index = self.add_active_action(machine, action);
        self.submits.record(index, application, machine, commands, &comment);
        self.session_counts.add_open(application);
        self.schedule_start(index, now);
        let mut reply = self.action_entity(index, status(self.switches.accepted_status), now);
        reply.accepted = Some(index).filter(|_| !is_changed && reply.status.is_success());
        reply
    }

    /// Returns a pending action on a machine, without commands and application.
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

    /// Stores an action as the machine's active one and returns its position.
    pub fn add_active_action(&mut self, machine: u32, action: Action) -> u32 {
        let action = self.actions.add(action);
        if let Some(machine) = self.machines.get_mut(machine) {
            machine.active = Some(action);
        }
        action
    }

    /// Returns the error of a machine that cannot run live response.
    fn check_machine(&self, machine_index: u32) -> Result<(), ApiError> {
        let Some(machine) = self.machines.get(machine_index) else { return Ok(()) };
        if machine.stuck {
            // A stuck action made every later submit a 500 without a body (kibana issue 226775).
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
            // The message is the one captured in microsoft-365-docs issue 6054.
            let message = "This device has no automation level assigned to it. You'll need to at \
                           least enable the minimum Remediation Level for a given Device Group.";
            return Err(ApiError::forbidden("DisallowedOperation", message));
        }
        Ok(())
    }

    /// Answers a submit to a busy machine: a 400, or with a switch 201 and the active action.
    fn check_busy(
        &mut self,
        machine_index: u32,
        application: u32,
        now: Tick,
    ) -> Result<Option<Reply>, ApiError> {
        let Some(machine) = self.machines.get(machine_index) else { return Ok(None) };
        let Some(active) = machine.active.and_then(|active| self.actions.get(active)) else {
            return if now < machine.busy_until { Err(self.busy_error()) } else { Ok(None) };
        };
        // A client can know its own sessions, but not those of others.
        if active.application == Some(application) {
            self.log.violations.machine_busy += 1;
        }
        // In production, a busy machine was also answered with 201 and another caller's action
        // (docs/service.md, section 18).
        let foreign = active.returned_for_other_submits
            || (self.switches.busy_answer == BusyResponse::Foreign && active.listed);
        let Some(active) = machine.active.filter(|_| foreign) else {
            return Err(self.busy_error());
        };
        Ok(Some(self.action_entity(active, status(self.switches.accepted_status), now)))
    }

    fn busy_error(&self) -> ApiError {
        ApiError::bad_request(&self.switches.busy_code, "Action is already in progress")
    }

    /// Checks the session cap of the tenant.
    fn check_cap(&mut self, application: u32) -> Result<(), ApiError> {
        let count = |owner| match self.switches.cap_counts {
            CapCounts::Open => self.session_counts.open(owner),
            CapCounts::Running => self.session_counts.running(owner),
        };
        let (all, own) = (count(None), count(Some(application)));
        // An application breaks a rule only if its own sessions fill the cap.
        if own >= self.limits.sessions {
            self.log.violations.sessions += 1;
        }
        if all >= self.limits.sessions { Err(self.session_cap_error()) } else { Ok(()) }
    }

    /// Returns the error for a body that lacks the required field `name`.
    pub fn missing(&self, name: &str) -> ApiError {
        let message = format!("The required parameter '{name}' is missing.");
        ApiError::bad_request(&self.switches.missing_field_code, message)
    }

    /// Parses the commands and checks their order.
    fn parse_steps(&self, commands: Vec<JsonObject<CommandBody>>) -> Result<Vec<Step>, ApiError> {
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

/// Parses a command, and returns it with its rank: commands must come in order of rank.
fn parse_command(
    kind: &str,
    params: Vec<JsonObject<ParamBody>>,
    invalid: &impl Fn(String) -> ApiError,
    missing: &impl Fn(&str) -> ApiError,
) -> Result<(u8, Command), ApiError> {
    let (rank, required, optional) = match kind {
        "PutFile" => (0, "FileName", None),
        "RunScript" => (1, "ScriptName", Some("Args")),
        "GetFile" => (2, "Path", None),
        _ => return Err(invalid(format!("'{kind}' is not a command type."))),
    };
    let (mut main, mut args) = (None, None);
    for JsonObject(param) in params {
        let value = param.value.unwrap_or_default();
        let slot = if param.key == required {
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
    let main = main.filter(|value| !value.is_empty()).ok_or_else(|| missing(required))?;
    Ok((
        rank,
        match rank {
            0 => Command::PutFile { name: main },
            1 => Command::RunScript { name: main, args },
            _ => Command::GetFile { path: main },
        },
    ))
}
