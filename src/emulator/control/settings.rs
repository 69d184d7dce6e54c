//! The settings of an emulator, and its initial state.

use std::collections::HashMap;

use fastrand::Rng;

use crate::config::Limits;
use crate::emulator::blob::results::Results;
use crate::emulator::clock::{EmulatorClock, Tick};
use crate::emulator::control::faults::Faults;
use crate::emulator::control::request_log::RequestLog;
use crate::emulator::control::switches::Switches;
use crate::emulator::inventory::library::Library;
use crate::emulator::inventory::machine::{Machines, NewMachine};
use crate::emulator::inventory::remote_files::RemoteFiles;
use crate::emulator::login::token_endpoint::default_audience;
use crate::emulator::login::tokens::{Application, ROLES, TokenStore};
use crate::emulator::quota::Quotas;
use crate::emulator::session::action_store::Actions;
use crate::emulator::session::lifecycle::EventQueue;
use crate::emulator::session::session_counts::SessionCounts;
use crate::emulator::state::{Addresses, State};
use crate::error::{Error, Kind, Result};

/// How many machine names the error for an unknown machine lists.
const MAX_NAMES_SHOWN: usize = 10;

/// The settings of an emulator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The number of machines: `ws-0001.example.test` and so on, all online. The default is 3.
    pub machines: usize,
    pub limits: Limits,
    /// The seed of ids, durations and random faults. The default is 0.
    pub seed: u64,
    pub switches: Switches,
    pub clock: EmulatorClock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            machines: 3,
            limits: Limits::default(),
            seed: 0,
            switches: Switches::default(),
            clock: EmulatorClock::default(),
        }
    }
}

impl State {
    /// Returns the state of a new tenant with one application.
    pub fn new(limits: Limits, switches: Switches, speed: f64, rng: &mut Rng) -> Self {
        let key = |rng: &mut Rng| rng.u128(..).to_le_bytes();
        let addresses = Addresses {
            api: "https://api.emulator.test".to_owned(),
            login: "https://login.emulator.test".to_owned(),
            blob: "https://store1.blob.emulator.test".to_owned(),
            wildcard_bind: None,
        };
        let mut state = Self {
            limits,
            switches,
            addresses,
            speed,
            tenant_id: String::new(),
            applications: Vec::new(),
            tokens: TokenStore::new(key(rng)),
            machines: Machines::default(),
            actions: Actions::default(),
            events: EventQueue::default(),
            session_counts: SessionCounts::default(),
            library: Library::default(),
            scripts: HashMap::new(),
            files: RemoteFiles::default(),
            results: Results::new(key(rng)),
            quotas: Quotas::default(),
            faults: Faults::new(rng.fork()),
            log: RequestLog::default(),
            // Faults have their own generator: a fault must not change the ids that follow.
            rng: rng.fork(),
            clock_offset: 0,
            wall_now: 0.0,
        };
        state.tenant_id = state.new_uuid().to_string();
        let application = state.new_application();
        state.applications.push(application);
        state
    }

    /// Returns a new application that has every permission.
    pub fn new_application(&mut self) -> Application {
        let client_id = self.new_uuid().to_string();
        let secret: String = std::iter::repeat_with(|| self.rng.alphanumeric()).take(40).collect();
        let roles = ROLES.iter().map(|role| (*role).to_owned()).collect();
        Application { client_id, secret, roles, certificates: Vec::new() }
    }

    /// Adds a machine and returns its position.
    pub fn add_machine(&mut self, machine: NewMachine, now: Tick) -> u32 {
        let id: String =
            std::iter::repeat_with(|| format!("{:08x}", self.rng.u32(..))).take(5).collect();
        self.machines.add(machine, id, now)
    }

    /// Finds a machine by id or name.
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

    /// Issues a token of the first application that expires in a year.
    pub fn long_lived_token(
        &mut self,
        roles: Option<Vec<String>>,
        now: Tick,
        wall_now: f64,
    ) -> String {
        const YEAR: f64 = 365.0 * 86_400.0;
        self.issue_token(0, roles, default_audience(), YEAR, now, wall_now)
    }
}
