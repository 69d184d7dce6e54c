//! The emulator's data, behind one lock, and the helpers that its handlers share.
//!
//! Handlers are `impl State` blocks in the files of their route. This file imports only data types.

use std::collections::HashMap;

use fastrand::Rng;
use http::StatusCode;
use uuid::Uuid;

use super::blob::store::ResultStore;
use super::clock::{DateHeader, Tick};
use super::control::fault_rules::FaultRules;
use super::control::raw_properties::RawProperties;
use super::control::request_log::{RequestLog, Violations};
use super::control::submit_log::SubmitLog;
use super::control::switches::{Requestor, Switches};
use super::inventory::library::LibraryStore;
use super::inventory::machine::{Machine, Machines, NewMachine};
use super::inventory::remote_files::RemoteFiles;
use super::login::sign_ins::SignIns;
use super::login::tokens::{Application, ROLES, TokenStore};
use super::quota::Quotas;
use super::session::action::Action;
use super::session::action_json::View;
use super::session::action_store::Actions;
use super::session::events::EventQueue;
use super::session::script::Behaviour;
use super::session::session_counts::SessionCounts;
use super::wire::addresses::Addresses;
use super::wire::reply::{EntityRef, Reply};
use crate::config::Limits;
use crate::error::{Error, Kind, Result};

/// How many machines an error names if it does not find one.
const MAX_NAMES_SHOWN: usize = 10;

#[derive(Debug)]
pub(super) struct State {
    pub limits: Limits,
    pub switches: Switches,
    pub addresses: Addresses,
    /// Emulated seconds per second of wall time.
    pub speed: f64,
    pub tenant_id: String,
    pub applications: Vec<Application>,
    pub tokens: TokenStore,
    pub sign_ins: SignIns,
    /// How often each action and machine was read, as long as a switch counts it.
    pub early_reads: HashMap<EntityRef, u32>,
    /// The person whose call is served, if it is not the application's own.
    pub caller: Option<String>,
    pub machines: Machines,
    pub actions: Actions,
    pub events: EventQueue,
    pub session_counts: SessionCounts,
    pub library: LibraryStore,
    /// What each script does, by its name in lower case.
    pub scripts: HashMap<String, Behaviour>,
    pub files: RemoteFiles,
    pub results: ResultStore,
    pub quotas: Quotas,
    pub faults: FaultRules,
    pub raw_properties: RawProperties,
    pub log: RequestLog,
    pub submits: SubmitLog,
    pub rng: Rng,
    /// Sum of the jumps of the emulated clock.
    pub clock_offset: Tick,
    pub date_header: DateHeader,
    /// Wall time of the call that holds the lock, in seconds since the Unix epoch.
    pub wall_now: f64,
}

impl State {
    pub fn new(limits: Limits, switches: Switches, speed: f64, rng: &mut Rng) -> Self {
        let key = |rng: &mut Rng| rng.u128(..).to_le_bytes();
        // The order of the draws from `rng` decides which ids and secrets a seed gives.
        let mut state = Self {
            limits,
            switches,
            addresses: Addresses::in_process(),
            speed,
            tenant_id: String::new(),
            applications: Vec::new(),
            tokens: TokenStore::new(key(rng)),
            sign_ins: SignIns::default(),
            early_reads: HashMap::new(),
            caller: None,
            machines: Machines::default(),
            actions: Actions::default(),
            events: EventQueue::default(),
            session_counts: SessionCounts::default(),
            library: LibraryStore::default(),
            scripts: HashMap::new(),
            files: RemoteFiles::default(),
            results: ResultStore::new(key(rng)),
            quotas: Quotas::default(),
            faults: FaultRules::new(rng.fork()),
            raw_properties: RawProperties::default(),
            log: RequestLog::default(),
            submits: SubmitLog::default(),
            // Faults have their own generator: a fault must not change the ids that follow.
            rng: rng.fork(),
            clock_offset: 0,
            date_header: DateHeader::default(),
            wall_now: 0.0,
        };
        state.tenant_id = state.new_uuid().to_string();
        let application = state.new_application();
        state.applications.push(application);
        state
    }

    /// Returns a new application with every role. The caller adds it.
    pub fn new_application(&mut self) -> Application {
        let client_id = self.new_uuid().to_string();
        let secret: String = std::iter::repeat_with(|| self.rng.alphanumeric()).take(40).collect();
        let roles = ROLES.iter().map(|role| (*role).to_owned()).collect();
        let name = format!("Response playbook {}", self.applications.len() + 1);
        Application { client_id, name, secret, roles, certificates: Vec::new() }
    }

    /// Adds a machine and returns its index.
    pub fn add_machine(&mut self, machine: NewMachine, now: Tick) -> u32 {
        let id = self.new_machine_id();
        self.machines.add(machine, id, now)
    }

    /// Returns the id of a new machine.
    pub fn new_machine_id(&mut self) -> String {
        std::iter::repeat_with(|| format!("{:08x}", self.rng.u32(..))).take(5).collect()
    }

    /// Returns the index of the machine with this id or name, or an error that names known
    /// machines.
    pub fn resolve_machine(&self, key: &str) -> Result<u32> {
        self.machines.find(key).ok_or_else(|| {
            let mut names: Vec<&str> = self
                .machines
                .iter()
                .take(MAX_NAMES_SHOWN + 1)
                .map(|known| known.name.as_str())
                .collect();
            if names.len() > MAX_NAMES_SHOWN {
                names.truncate(MAX_NAMES_SHOWN);
                names.push("...");
            }
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Error::new(
                Kind::NotFound,
                format!("the emulator has no machine {key:?}; it has {names}"),
            )
        })
    }

    /// Returns a UUID drawn from the seed, so that runs with the same seed have the same ids.
    pub fn new_uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.u128(..).to_le_bytes()).into_uuid()
    }

    /// Returns how often clients broke each rule.
    pub fn violations(&self) -> Violations {
        Violations { duplicate_submit: self.submits.duplicates(), ..self.log.violations }
    }

    /// Returns what an action's visible form depends on.
    pub fn view(&self, now: Tick) -> View<'_> {
        View { now, switches: &self.switches, raw: &self.raw_properties }
    }

    /// Begins a JSON body with the `@odata.context` of an entity set. The caller adds the rest.
    pub fn open_odata_body(&self, set: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(b"{\"@odata.context\":\"");
        let api = self.switches.context_host.as_ref().unwrap_or(&self.addresses.api);
        out.extend_from_slice(api.as_bytes());
        out.extend_from_slice(b"/api/$metadata#");
        out.extend_from_slice(set.as_bytes());
        out.push(b'"');
        out
    }

    /// Returns a machine as a single entity.
    pub fn machine_entity(&self, machine: &Machine) -> Reply {
        let mut out = self.open_odata_body("Machines/$entity");
        out.push(b',');
        machine.write(&mut out, &self.raw_properties);
        out.push(b'}');
        let mut reply = Reply::entity(StatusCode::OK, out);
        reply.entity = self.machines.by_id(&machine.id).map(EntityRef::Machine);
        reply
    }

    /// Returns an action as a single entity.
    pub fn action_entity(&self, action_index: u32, status: StatusCode, now: Tick) -> Reply {
        let Some(action) = self.actions.get(action_index) else { return Reply::empty(status) };
        let mut reply = self.entity_of_action(action, status, now);
        reply.entity = Some(EntityRef::Action(action_index));
        reply
    }

    /// Returns an action as a single entity, which may be one that no call finds.
    pub fn entity_of_action(&self, action: &Action, status: StatusCode, now: Tick) -> Reply {
        let mut out = self.open_odata_body("MachineActions/$entity");
        out.push(b',');
        action.write(&mut out, self.view(now));
        out.push(b'}');
        Reply::entity(status, out)
    }

    /// Returns what actions and files show as the requestor of the present call (docs/service.md,
    /// section 6.1).
    pub fn requestor(&self, application: u32) -> String {
        if let Some(person) = &self.caller {
            return person.clone();
        }
        let known = self.applications.get(application as usize);
        let shown = known.map(|known| match self.switches.requestor {
            Requestor::Id => &known.client_id,
            Requestor::Name => &known.name,
        });
        shown.cloned().unwrap_or_default()
    }
}
