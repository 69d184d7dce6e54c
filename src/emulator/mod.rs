//! The live response service in a box, independent of the client's own logic.
//!
//! All that it knows is one [`state::State`] behind one short lock. No task runs on its own: each call first makes up
//! for the time that has passed ([`life`]), then is served. Doors: [`Transport`](crate::transport::Transport) in
//! process ([`in_process`]) and HTTP over TCP. What is not known of the service is a [`Switches`] field.

mod access;
mod action;
mod action_fields;
mod actions;
mod assertion;
mod body;
mod cancel;
mod clock;
mod compress;
mod exchange;
mod faults;
mod files;
mod furnish;
mod in_process;
mod library;
mod life;
mod lists;
mod log;
mod login;
mod machine;
mod machine_fields;
mod multipart;
mod odata;
mod open;
mod quota;
mod ranges;
mod reading;
mod reply;
mod results;
mod routes;
mod script;
mod server;
mod settings;
mod spool;
mod state;
mod submit;
mod switches;
mod tls;
mod upload;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

pub use access::ROLES;
pub use action::Content;
pub use clock::EmulatorClock;
pub use faults::{Fault, FaultKind};
pub use library::check_file_name;
pub use log::{Ended, LoggedRequest, Violations};
pub use machine::NewMachine;
pub use machine_fields::check_property_names;
#[cfg(any(test, fuzzing))]
pub use odata::fuzz_query;
pub use routes::Route;
pub use script::{Behaviour, ScriptCall, ScriptOutcome};
pub use server::{Server, serve};
pub use settings::Settings;
pub use switches::{
    Answer429, BusyAnswer, CapCounts, Compression, ListOrder, MachineByName, MissingFile, NonzeroExit, ReadPermission,
    Switches, TranscriptForm, UnnamedUpload, Windows,
};

use crate::error::{Error, Result};

/// Who a foreign session's machine answers a submit with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForeignAnswer {
    /// 400 ActiveRequestAlreadyExists.
    #[default]
    Error,
    /// 201 with the foreign action.
    Foreign,
}

/// The service in a box. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Emulator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    times: clock::Times,
    state: Mutex<state::State>,
    /// A token with every role that does not expire within a year.
    token: String,
}

impl Emulator {
    /// Its clock is tokio's where it is made within a runtime: a paused one pauses it.
    pub fn new(settings: Settings) -> Result<Self> {
        let limits = settings.limits.checked()?;
        let mut rng = Rng::with_seed(settings.seed);
        let times = clock::Times::start(settings.clock);
        let mut state = state::State::new(limits, settings.switches, times.speed(), &mut rng);
        let now = times.own();
        for number in 1..=settings.machines {
            state.add_machine(NewMachine::named(format!("ws-{number:04}.example.test")), now);
        }
        let token = state.lasting_token(None, now, times.wall());
        Ok(Self { inner: Arc::new(Inner { times, state: Mutex::new(state), token }) })
    }

    /// The API's address, for the client's endpoint. A made-up host until a [server](serve) is started.
    pub fn url(&self) -> String {
        self.state().addresses.api.clone()
    }

    /// The login host's address, for a credential's authority.
    pub fn login_url(&self) -> String {
        self.state().addresses.login.clone()
    }

    pub fn blob_url(&self) -> String {
        self.state().addresses.blob.clone()
    }

    pub fn tenant_id(&self) -> String {
        self.state().tenant_id.clone()
    }

    pub fn client_id(&self) -> String {
        self.state().applications.first().map_or_else(String::new, |first| first.client_id.clone())
    }

    pub fn client_secret(&self) -> String {
        self.state().applications.first().map_or_else(String::new, |first| first.secret.clone())
    }

    /// A bearer token with every permission, good for a year of the emulator's time.
    pub fn token(&self) -> String {
        self.inner.token.clone()
    }

    /// A token with these roles alone.
    pub fn token_with<S: Into<String>>(&self, roles: impl IntoIterator<Item = S>) -> String {
        let (mut state, now) = self.at_now();
        let wall = state.wall;
        state.lasting_token(Some(roles.into_iter().map(Into::into).collect()), now, wall)
    }

    /// Another application of the tenant, with its own quotas and every role: its client id and secret.
    pub fn add_application(&self) -> (String, String) {
        let mut state = self.state();
        let application = state.new_application();
        let (client_id, secret) = (application.client_id.clone(), application.secret.clone());
        state.applications.push(application);
        (client_id, secret)
    }

    /// Registers a certificate, PEM or DER, by which the application may sign assertions in place of its secret. As long
    /// as none is registered, an assertion's signature is taken on trust.
    pub fn add_certificate(&self, certificate: &[u8]) -> Result<()> {
        let der = if certificate.windows(11).any(|text| text == b"-----BEGIN ") {
            CertificateDer::from_pem_slice(certificate)
                .map_err(|error| Error::invalid(format!("the certificate is not PEM: {error}")))?
        } else {
            CertificateDer::from(certificate).into_owned()
        };
        if let Some(application) = self.state().applications.first_mut() {
            application.certificates.push(der.to_vec());
        }
        Ok(())
    }

    /// What arrived, oldest first.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.state().log.entries()
    }

    /// Calls by route, and `polls:<action id>`.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.state().log.counters()
    }

    pub fn violations(&self) -> Violations {
        self.state().log.violations
    }

    /// Forgets the log, the counters and the violations.
    pub fn clear_log(&self) {
        self.state().log.clear();
    }

    /// The state, all time made up for; scripts that are due are called here.
    fn settled(&self) -> (std::sync::MutexGuard<'_, state::State>, clock::Tick) {
        loop {
            let (mut state, now) = self.at_now();
            let Some(due) = state.advance(now) else { return (state, now) };
            drop(state);
            self.call_script(&due);
        }
    }
}

/// Appends `value` as JSON. Writing to memory cannot fail.
fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let _ = serde_json::to_writer(out, value);
}
