//! An emulator of the live response service, independent of the client's own logic.
//!
//! All data is one [`state::State`] behind one lock, which is held only for short work. No task
//! runs on its own: each call first applies the events that are due ([`session::lifecycle`]), then
//! is served. Clients reach it in process through [`Transport`](crate::transport::Transport)
//! ([`wire::in_process`]) or by HTTP over TCP ([`serve`]). Where the service's behaviour is not
//! known, it is a field of [`Switches`].

mod blob;
mod clock;
mod config_file;
mod control;
mod http_control;
mod inventory;
mod login;
mod odata;
mod proxy;
mod quota;
mod session;
mod state;
mod tls;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;

pub use clock::EmulatorClock;
pub use config_file::EmulatorConfig;
pub use control::call_feed::EndedCall;
pub use control::entries::{Entry, Section};
pub use control::fault::{Fault, FaultKind};
pub use control::request_log::{LoggedRequest, RequestOutcome, Violations};
pub use control::settings::Settings;
pub use control::switches::{
    BusyResponse, CapCounts, CommentForm, Compression, ListOrder, MachineByName, MergedMachine,
    MissingFile, MissingRoleText, NonzeroExit, ReadPermission, Requestor, Switches, TenantState,
    ThrottleResponse, TranscriptForm, UnnamedUpload, WindowKind,
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
pub use wire::server::{Server, serve, serve_with};
pub use wire::server_settings::ServerSettings;

use crate::error::{Error, Result};
use clock::{RunningClock, Tick};
use state::State;

/// How a submit to the machine of a foreign session is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForeignSessionResponse {
    /// 400 ActiveRequestAlreadyExists.
    #[default]
    Error,
    /// 201 with the action of the foreign session.
    Foreign,
}

/// A running emulator. Clones share its state.
#[derive(Clone, Debug)]
pub struct Emulator {
    inner: Arc<SharedEmulator>,
}

#[derive(Debug)]
struct SharedEmulator {
    clock: RunningClock,
    state: Mutex<State>,
    /// A token with every role, valid for a year.
    token: String,
    /// The seed, for a config that gives the same emulator.
    seed: u64,
}

impl Emulator {
    /// Returns an emulator with its first machines. Its clock follows tokio's, so a test that
    /// pauses tokio's clock pauses the emulator too.
    ///
    /// # Errors
    ///
    /// Returns an error if the limits are not valid.
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
        let (state, seed) = (Mutex::new(state), settings.seed);
        Ok(Self { inner: Arc::new(SharedEmulator { clock, state, token, seed }) })
    }

    /// Returns the API's URL, for the client's endpoint. The host is made up until a
    /// [server](serve) starts.
    pub fn url(&self) -> String {
        self.lock_state().addresses.api.clone()
    }

    /// Returns the login host's URL, for a credential's authority.
    pub fn login_url(&self) -> String {
        self.lock_state().addresses.login.clone()
    }

    /// Returns the blob host's URL.
    pub fn blob_url(&self) -> String {
        self.lock_state().addresses.blob.clone()
    }

    /// Returns the tenant's id.
    pub fn tenant_id(&self) -> String {
        self.lock_state().tenant_id.clone()
    }

    /// Returns the client id of the first application.
    pub fn client_id(&self) -> String {
        self.lock_state()
            .applications
            .first()
            .map_or_else(String::new, |first| first.client_id.clone())
    }

    /// Returns the client secret of the first application.
    pub fn client_secret(&self) -> String {
        self.lock_state()
            .applications
            .first()
            .map_or_else(String::new, |first| first.secret.clone())
    }

    /// Returns a bearer token with every permission, valid for a year of emulated time.
    pub fn token(&self) -> String {
        self.inner.token.clone()
    }

    /// Returns a bearer token with only these roles.
    pub fn token_with<S: Into<String>>(&self, roles: impl IntoIterator<Item = S>) -> String {
        let (mut state, now) = self.lock_now();
        let wall_now = state.wall_now;
        state.long_lived_token(Some(roles.into_iter().map(Into::into).collect()), now, wall_now)
    }

    /// Adds an application with its own quotas and every role. Returns its client id and secret.
    pub fn add_application(&self) -> (String, String) {
        let mut state = self.lock_state();
        let application = state.new_application();
        let (client_id, secret) = (application.client_id.clone(), application.secret.clone());
        state.applications.push(application);
        (client_id, secret)
    }

    /// Registers a certificate (PEM or DER) that the first application may sign assertions with.
    ///
    /// As long as no certificate is registered, signatures are not checked.
    ///
    /// # Errors
    ///
    /// Returns an error if the certificate is PEM that cannot be parsed.
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

    /// Returns the logged requests, oldest first.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.lock_state().log.entries()
    }

    /// Returns the number of calls by route, and of polls by `polls:<action id>`.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        self.lock_state().log.counters()
    }

    /// Returns how often clients broke each rule.
    pub fn violations(&self) -> Violations {
        self.lock_state().violations()
    }

    /// Clears the log, the counters and the violations.
    pub fn clear_log(&self) {
        let mut state = self.lock_state();
        state.log.clear();
        state.submits.clear();
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock fails one test or request. The others still need the emulator.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state and the emulated time. Events that are due may not have been applied yet.
    fn lock_now(&self) -> (MutexGuard<'_, State>, Tick) {
        let mut state = self.lock_state();
        state.wall_now = self.inner.clock.wall_now();
        let now = self.inner.clock.emulated_now() + state.clock_offset;
        (state, now)
    }

    /// Returns the state after every event that is due.
    fn lock_advanced(&self) -> (MutexGuard<'_, State>, Tick) {
        loop {
            let (mut state, now) = self.lock_now();
            let Some(due) = state.advance(now) else { return (state, now) };
            // A script may call the emulator itself, so it runs without the lock.
            drop(state);
            self.run_script(&due);
        }
    }
}

/// Appends `value` as JSON.
fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}
