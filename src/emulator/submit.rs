//! Run live response (facts.md, section 5).

use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use uuid::Uuid;

use super::action::{Action, Order, Status, Step};
use super::body::Object;
use super::clock::Tick;
use super::open::OTHERS;
use super::reply::{Refusal, Reply, status};
use super::state::{Call, State};
use super::switches::{BusyAnswer, CapCounts};

/// The body as the service's schema has it; capitals count (facts 3.3).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct SubmitBody {
    commands: Option<Vec<Object<WireCommand>>>,
    comment: Option<String>,
    external_id: Option<String>,
    request_source: Option<String>,
    title: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCommand {
    r#type: Option<String>,
    params: Option<Vec<Object<WireParam>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireParam {
    key: String,
    value: Option<String>,
}

impl State {
    pub fn submit(&mut self, call: &Call, machine_id: &str, application: u32, now: Tick) -> Result<Reply, Refusal> {
        let body: SubmitBody = self.read_body(call)?;
        let comment = body.comment.filter(|comment| !comment.is_empty());
        let comment = comment.ok_or_else(|| self.missing("Comment"))?;
        let steps = self.steps(body.commands.ok_or_else(|| self.missing("Commands"))?)?;
        if self.switches.live_response_disabled {
            let message = "Live response is not enabled in the tenant's settings.";
            return Err(Refusal::forbidden("DisabledFeature", message));
        }
        let at = self.machines.by_id(machine_id);
        let at = at.ok_or_else(|| Refusal::not_found(format!("Machine {machine_id} was not found")))?;
        self.check_machine(at)?;
        if let Some(missing) = self.refuses_missing(&steps) {
            return Err(Refusal::bad_request("InvalidInput", format!("File {missing} was not found in the library")));
        }
        if let Some(reply) = self.check_busy(at, application, now)? {
            return Ok(reply);
        }
        self.check_cap(application)?;
        self.log.accepted(&comment);
        let (id, requestor) = (self.new_uuid(), self.requestor(application));
        let mut action = self.new_action(id, at, &requestor, comment, now);
        action.application = Some(application);
        action.external_id = body.external_id;
        action.title = body.title;
        action.source = body.request_source.unwrap_or(action.source);
        action.steps = steps;
        let action = self.occupy(at, action);
        self.open.accepted(application);
        self.accepted(action, now);
        Ok(self.action_entity(action, status(self.switches.accepted_status), now))
    }

    /// An action of which nothing is known but who made it, on a machine.
    pub fn new_action(&self, id: Uuid, machine: u32, requestor: &str, comment: String, now: Tick) -> Action {
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
            at: 0,
            cancellation: None,
            listed: true,
            answers_for_others: false,
        }
    }

    pub fn occupy(&mut self, machine: u32, action: Action) -> u32 {
        let action = self.actions.add(action);
        if let Some(machine) = self.machines.get_mut(machine) {
            machine.active = Some(action);
        }
        action
    }

    fn check_machine(&self, at: u32) -> Result<(), Refusal> {
        let Some(machine) = self.machines.get(at) else { return Ok(()) };
        if machine.stuck {
            // What a stuck action made of every later submit (kibana issue 226775).
            let mut refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "");
            refusal.raw = Some(("", bytes::Bytes::new()));
            return Err(refusal);
        }
        if !machine.supported {
            let message = "The operating system or the sensor of the device does not support live response.";
            return Err(Refusal::bad_request(&self.switches.unsupported_code, message));
        }
        if !machine.remediation_level {
            // The text of microsoft-365-docs issue 6054.
            let message = "This device has no automation level assigned to it. You'll need to at least enable the minimum Remediation Level for a given Device Group.";
            return Err(Refusal::forbidden("DisallowedOperation", message));
        }
        Ok(())
    }

    /// One session per machine: a second gets 400, or by a switch the first one's action as if it were its own.
    fn check_busy(&mut self, at: u32, application: u32, now: Tick) -> Result<Option<Reply>, Refusal> {
        let Some(machine) = self.machines.get(at) else { return Ok(None) };
        let Some(active) = machine.active.and_then(|active| self.actions.get(active)) else {
            return if now < machine.busy_until { Err(busy()) } else { Ok(None) };
        };
        if active.application == Some(application) {
            self.log.violations.machine_busy += 1;
        }
        let foreign = active.answers_for_others || (self.switches.busy_answer == BusyAnswer::Foreign && active.listed);
        let Some(active) = machine.active.filter(|_| foreign) else { return Err(busy()) };
        Ok(Some(self.action_entity(active, status(self.switches.accepted_status), now)))
    }

    /// The cap is the tenant's; a violation is what an application brought about alone.
    fn check_cap(&mut self, application: u32) -> Result<(), Refusal> {
        let count = |whose| match self.switches.cap_counts {
            CapCounts::Open => self.open.open(whose),
            CapCounts::Running => self.open.running(whose),
        };
        let (all, own) = (count(None), count(Some(application)));
        if own >= self.limits.sessions {
            self.log.violations.sessions += 1;
        }
        if all >= self.limits.sessions { Err(self.over_cap()) } else { Ok(()) }
    }

    pub fn missing(&self, name: &str) -> Refusal {
        let message = format!("The required parameter '{name}' is missing.");
        Refusal::bad_request(&self.switches.missing_field_code, message)
    }

    fn steps(&self, commands: Vec<Object<WireCommand>>) -> Result<Vec<Step>, Refusal> {
        let wrong = |why: String| Refusal::bad_request(&self.switches.bad_commands_code, why);
        if commands.is_empty() {
            return Err(wrong("Commands must not be empty.".to_owned()));
        }
        let (mut steps, mut furthest) = (Vec::with_capacity(commands.len()), 0);
        for Object(command) in commands {
            let kind = command.r#type.ok_or_else(|| self.missing("type"))?;
            let (place, order) = order(&kind, command.params.unwrap_or_default(), &wrong, &|name| self.missing(name))?;
            if place < furthest {
                return Err(wrong("Commands must be in the order PutFile, RunScript, GetFile.".to_owned()));
            }
            furthest = place;
            steps.push(Step::new(order));
        }
        Ok(steps)
    }
}

fn busy() -> Refusal {
    Refusal::bad_request("ActiveRequestAlreadyExists", "Action is already in progress")
}

/// A command, and its place in the order that commands must be in.
fn order(
    kind: &str,
    params: Vec<Object<WireParam>>,
    wrong: &impl Fn(String) -> Refusal,
    missing: &impl Fn(&str) -> Refusal,
) -> Result<(u8, Order), Refusal> {
    let (place, needed, optional) = match kind {
        "PutFile" => (0, "FileName", None),
        "RunScript" => (1, "ScriptName", Some("Args")),
        "GetFile" => (2, "Path", None),
        _ => return Err(wrong(format!("'{kind}' is not a type of command."))),
    };
    let (mut main, mut args) = (None, None);
    for Object(param) in params {
        let value = param.value.unwrap_or_default();
        let slot = if param.key == needed {
            &mut main
        } else if Some(param.key.as_str()) == optional {
            &mut args
        } else {
            return Err(wrong(format!("'{}' is not a parameter of {kind}.", param.key)));
        };
        if slot.replace(value).is_some() {
            return Err(wrong(format!("'{}' is given twice.", param.key)));
        }
    }
    let main = main.filter(|value| !value.is_empty()).ok_or_else(|| missing(needed))?;
    Ok((
        place,
        match place {
            0 => Order::PutFile { name: main },
            1 => Order::RunScript { name: main, args },
            _ => Order::GetFile { path: main },
        },
    ))
}

impl State {
    /// Another's session on a machine: from the portal, or of another application.
    pub fn add_foreign_session(&mut self, machine: u32, length: Tick, listed: bool, foreign: bool, now: Tick) -> Uuid {
        let id = self.new_uuid();
        let comment = "Session of an analyst".to_owned();
        let mut action = self.new_action(id, machine, "analyst@example.test", comment, now);
        action.application = listed.then_some(OTHERS);
        action.status = Status::InProgress;
        action.listed = listed;
        action.answers_for_others = foreign;
        if !listed {
            "Portal".clone_into(&mut action.source);
        }
        let mut step = Step::new(Order::RunScript { name: "analyst.ps1".to_owned(), args: None });
        step.submitted = Some(now);
        step.start = Some(now);
        action.steps.push(step);
        let at = self.occupy(machine, action);
        if listed {
            self.open.accepted_running(OTHERS);
        }
        self.occupied(at, now + length);
        id
    }
}
