//! The live response service in a box, independent of the client's own logic.
//!
//! All that it knows is one [`state::State`] behind one short lock. No task runs on its own: each call first makes up
//! for the time that has passed ([`lifecycle`]), then is served. Doors: [`Transport`](crate::transport::Transport) in
//! process ([`in_process`]) and HTTP over TCP. What is not known of the service is a [`Switches`] field.

mod blob;
mod clock;
mod control;
mod inventory;
mod login;
mod odata;
mod quota;
mod session;
mod state;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

pub use clock::EmulatorClock;
pub use control::fault::{Fault, FaultKind};
pub use control::request_log::{LoggedRequest, RequestOutcome, Violations};
pub use control::settings::Settings;
pub use control::switches::{
    BusyResponse, CapCounts, Compression, ListOrder, MachineByName, MissingFile, NonzeroExit,
    ReadPermission, Switches, ThrottleResponse, TranscriptForm, UnnamedUpload, WindowKind,
};
pub use inventory::library::check_file_name;
pub use inventory::machine::NewMachine;
pub use inventory::machine_properties::check_property_names;
pub use login::tokens::ROLES;
#[cfg(any(test, fuzzing))]
pub use odata::fuzz_query;
pub use session::action::Content;
pub use session::script::{Behaviour, ScriptFn, ScriptOutcome};
pub use wire::routes::Route;
pub use wire::server::{Server, serve};

use crate::error::{Error, Result};
use clock::{RunningClock, Tick};
use state::State;

/// Who a foreign session's machine answers a submit with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForeignSessionResponse {
    /// 400 ActiveRequestAlreadyExists.
    #[default]
    Error,
    /// 201 with the foreign action.
    Foreign,
}

/// The service in a box. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Emulator {
    inner: Arc<SharedEmulator>,
}

#[derive(Debug)]
struct SharedEmulator {
    clock: RunningClock,
    state: Mutex<State>,
    /// A token with every role that does not expire within a year.
    token: String,
}

impl Emulator {
    /// Its clock is tokio's where it is made within a runtime: a paused one pauses it.
    pub fn new(settings: Settings) -> Result<Self> {
        let limits = settings.limits.validated()?;
        let mut rng = Rng::with_seed(settings.seed);
        let clock = RunningClock::start(settings.clock);
        let mut state = State::new(limits, settings.switches, clock.speed(), &mut rng);
        let now = clock.emulated_now();
        for number in 1..=settings.machines {
            state.add_machine(NewMachine::named(format!("ws-{number:04}.example.test")), now);
        }
        let token = state.long_lived_token(None, now, clock.wall_now());
        Ok(Self { inner: Arc::new(SharedEmulator { clock, state: Mutex::new(state), token }) })
    }

    /// The API's address, for the client's endpoint. A made-up host until a [server](serve) is started.
    pub fn url(&self) -> String {
        self.lock_state().addresses.api.clone()
    }

    /// The login host's address, for a credential's authority.
    pub fn login_url(&self) -> String {
        self.lock_state().addresses.login.clone()
    }

    pub fn blob_url(&self) -> String {
        self.lock_state().addresses.blob.clone()
    }

    pub fn tenant_id(&self) -> String {
        self.lock_state().tenant_id.clone()
    }

    pub fn client_id(&self) -> String {
        self.lock_state()
            .applications
            .first()
            .map_or_else(String::new, |first| first.client_id.clone())
    }

    pub fn client_secret(&self) -> String {
        self.lock_state()
            .applications
            .first()
            .map_or_else(String::new, |first| first.secret.clone())
    }

    /// A bearer token with every permission, good for a year of the emulator's time.
    pub fn token(&self) -> String {
        self.inner.token.clone()
    }

    /// A token with these roles alone.
    pub fn token_with<S: Into<String>>(&self, roles: impl IntoIterator<Item = S>) -> String {
        let (mut state, now) = self.lock_now();
        let wall_now = state.wall_now;
        state.long_lived_token(Some(roles.into_iter().map(Into::into).collect()), now, wall_now)
    }

    /// Another application of the tenant, with its own quotas and every role: its client id and secret.
    pub fn add_application(&self) -> (String, String) {
        let mut state = self.lock_state();
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
        if let Some(application) = self.lock_state().applications.first_mut() {
            application.certificates.push(der.to_vec());
        }
        Ok(())
    }

    /// What arrived, oldest first.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.lock_state().log.entries()
    }

    /// Calls by route, and `polls:<action id>`.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.lock_state().log.counters()
    }

    pub fn violations(&self) -> Violations {
        self.lock_state().log.violations
    }

    /// Forgets the log, the counters and the violations.
    pub fn clear_log(&self) {
        self.lock_state().log.clear();
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state and the emulated time. Events that are due may not have been applied yet.
    fn lock_now(&self) -> (MutexGuard<'_, State>, Tick) {
        let mut state = self.lock_state();
        state.wall_now = self.inner.clock.wall_now();
        let now = self.inner.clock.emulated_now() + state.clock_offset;
        (state, now)
    }

    /// Returns the state after every event that is due. Runs the scripts that are due, without the lock.
    fn lock_advanced(&self) -> (MutexGuard<'_, State>, Tick) {
        loop {
            let (mut state, now) = self.lock_now();
            let Some(due) = state.advance(now) else { return (state, now) };
            drop(state);
            self.run_script(&due);
        }
    }
}

/// Appends `value` as JSON. Writing to memory cannot fail.
fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let _ = serde_json::to_writer(out, value);
}
