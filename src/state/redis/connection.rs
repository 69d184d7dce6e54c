//! The connection: one script, sent again over an outage of at most the patience, and what Redis says in our words.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{ErrorKind, RedisError, Script, ServerErrorKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{server, tls};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::state::QuotaKey;
use crate::state::recovery::{unavailable_error, unusable_error};
use crate::state::store::{Notice, Settings};

/// What our keys and scripts mean.
pub const VERSION: u32 = 1;
const PERMISSIONS_HINT: &str =
    "the user needs EVALSHA, EVAL, SCRIPT LOAD, INFO, TIME, and to read and write all keys mlr:*";
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

pub struct RedisConnection {
    /// Less the password.
    pub address: String,
    settings: Settings,
    manager: ConnectionManager,
    script: Script,
    key_prefix: String,
    /// The epoch that this process knows.
    epoch: Mutex<String>,
    notices: Mutex<Vec<Notice>>,
}

#[derive(Deserialize)]
struct ScriptReply {
    #[serde(default)]
    lost: bool,
    #[serde(default)]
    epoch: Option<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    done: Option<Value>,
}

impl RedisConnection {
    pub async fn open(url: &Secret, address: String, settings: Settings) -> Result<Self> {
        let client = tls::client(url, &address, settings.ca_bundle.as_deref())?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(200))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_connection_timeout(Some(Duration::from_secs_f64(
                settings.timeout.clamp(0.1, 5.0),
            )));
        let manager = client
            .get_connection_manager_lazy(config)
            .map_err(|error| to_error(&address, &error))?;
        let code = concat!(
            include_str!("base.lua"),
            include_str!("queue.lua"),
            include_str!("sessions.lua"),
            include_str!("runs.lua")
        );
        let key_prefix = server::key_prefix(&settings.key);
        let (epoch, notices) = (Mutex::default(), Mutex::default());
        let connection = Self {
            address,
            settings,
            manager,
            script: Script::new(code),
            key_prefix,
            epoch,
            notices,
        };
        let mut outage = RetryDeadline::new(&connection.settings);
        loop {
            match connection.init_epoch().await {
                Err(error) if outage.should_retry(&error).await => {}
                found => return found.map(|()| connection),
            }
        }
    }

    /// The quota keys that the server holds.
    pub async fn quota_keys(url: &Secret, address: &str) -> Result<Vec<QuotaKey>> {
        let refused = |error| to_error(address, &error);
        let client = tls::client(url, address, None)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let mut manager = client.get_connection_manager_lazy(config).map_err(refused)?;
        let names: Vec<String> = redis::cmd("SMEMBERS")
            .arg("mlr:quotas")
            .query_async(&mut manager)
            .await
            .map_err(refused)?;
        let keys = names.iter().filter_map(|name| serde_json::from_str::<[String; 3]>(name).ok());
        Ok(keys.map(|[host, tenant, application]| QuotaKey { host, tenant, application }).collect())
    }

    pub fn notices(&self) -> Vec<Notice> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does one operation, again over an outage: each is such that twice is as good as once.
    pub async fn call<T: DeserializeOwned>(&self, operation: &str, arguments: &Value) -> Result<T> {
        let mut outage = RetryDeadline::new(&self.settings);
        loop {
            match self.call_once(operation, arguments).await {
                Err(error) if outage.should_retry(&error).await => {}
                done => return done,
            }
        }
    }

    /// Does one operation, once. A store that was lost is initialized again.
    pub async fn call_once<T: DeserializeOwned>(
        &self,
        operation: &str,
        arguments: &Value,
    ) -> Result<T> {
        for _ in 0..3 {
            let answer = self.send(operation, arguments).await?;
            if answer.lost {
                self.init_epoch().await?;
                continue;
            }
            if let Some(epoch) = answer.epoch {
                self.set_epoch(epoch);
            }
            let done = answer.done.unwrap_or_default();
            return serde_json::from_value(done)
                .map_err(|error| self.unreadable_reply(&error.to_string()));
        }
        Err(unavailable_error(
            format!("the state store {} forgets what it is told", self.address),
            "look for what deletes its keys, or evicts them",
        ))
    }

    /// Looks the server over, and founds the store where there is none.
    async fn init_epoch(&self) -> Result<()> {
        let mut connection = self.manager.clone();
        let info: String = redis::cmd("INFO")
            .arg("everything")
            .query_async(&mut connection)
            .await
            .map_err(|error| to_error(&self.address, &error))?;
        let report = server::check_info(&self.address, &info)?;
        let knew = !self.known_epoch().is_empty();
        let limits = &self.settings.limits;
        let known_for = if knew { 0.0 } else { report.known_for };
        let sessions_unknown =
            known_for < limits.queue_time + limits.settle_time + 2.0 * limits.script_time;
        let key = &self.settings.key;
        let arguments = serde_json::json!({
            "id": uuid::Uuid::new_v4().to_string(),
            "known_for": known_for,
            "loss_certain": if knew { "1" } else { "0" },
            "sessions_unknown": if sessions_unknown { "1" } else { "0" },
            "version": VERSION.to_string(),
            "quota": serde_json::json!([key.host, key.tenant, key.application]).to_string(),
        });
        let initialized = self.send("init", &arguments).await?;
        let version = initialized.version.unwrap_or_default();
        if version != VERSION.to_string() {
            return Err(unusable_error(
                format!(
                    "the state store {} is of version {version}, and this library reads version {VERSION}",
                    self.address
                ),
                "use one version of the library for all who share it, or another database of the server",
            ));
        }
        if knew {
            log::warn!(
                target: crate::trace::LOG_TARGET,
                "the state store {} lost what it knew: its windows count as full for their length", self.address
            );
        }
        *self.notices.lock().unwrap_or_else(PoisonError::into_inner) = report.notices;
        if let Some(epoch) = initialized.epoch.filter(|_| !knew) {
            self.set_epoch(epoch);
        }
        Ok(())
    }

    async fn send(&self, operation: &str, arguments: &Value) -> Result<ScriptReply> {
        let now = self.settings.now.as_ref().map(|now| now().to_string()).unwrap_or_default();
        let mut connection = self.manager.clone();
        let mut call = self.script.key(&self.key_prefix);
        call.arg(operation).arg(self.known_epoch()).arg(now).arg(arguments.to_string());
        let answer: String = call
            .invoke_async(&mut connection)
            .await
            .map_err(|error| to_error(&self.address, &error))?;
        serde_json::from_str(&answer).map_err(|error| self.unreadable_reply(&error.to_string()))
    }

    fn known_epoch(&self) -> String {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_epoch(&self, epoch: String) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
    }

    fn unreadable_reply(&self, error: &str) -> Error {
        unusable_error(
            format!("the state store {} gave an answer that can't be read: {error}", self.address),
            "give the state store a database of its own",
        )
    }
}

/// A server that does not answer is waited for, until the patience is over.
struct RetryDeadline {
    clock: Clock,
    give_up: f64,
    pause: f64,
}

impl RetryDeadline {
    fn new(settings: &Settings) -> Self {
        Self {
            clock: settings.clock,
            give_up: settings.clock.now() + settings.timeout,
            pause: 0.05,
        }
    }

    /// Waits where waiting may help.
    async fn should_retry(&mut self, error: &Error) -> bool {
        if !error.retryable || self.clock.now() + self.pause >= self.give_up {
            return false;
        }
        log::debug!(target: crate::trace::LOG_TARGET, "{error}; trying again in {:.2} s", self.pause);
        self.clock.sleep(self.pause * (0.5 + fastrand::f64())).await;
        self.pause = (self.pause * 2.0).min(1.0);
        true
    }
}

/// What Redis says, in the caller's terms. Its own words never hold the password.
pub fn to_error(address: &str, error: &RedisError) -> Error {
    if let Some(error) = tls::handshake_error(address, error) {
        return error;
    }
    let passing = matches!(
        error.kind(),
        ErrorKind::Io
            | ErrorKind::Server(
                ServerErrorKind::BusyLoading
                    | ServerErrorKind::TryAgain
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ReadOnly
            )
    );
    if passing || error.is_io_error() || error.is_connection_dropped() || error.is_timeout() {
        let message = format!("the state store {address} can't be reached: {error}");
        return unavailable_error(
            message,
            "see that Redis runs, can be reached from here, and speaks TLS there if the address begins with rediss://; \
             nothing was sent to the service",
        );
    }
    let message = format!("the state store {address} refused: {error}");
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => unusable_error(
            message,
            "give user and password in the address: redis://user:password@host:6379/0",
        ),
        (_, Some("OOM")) => {
            unavailable_error(message, "give Redis more memory, or prune the store")
        }
        (_, Some("NOPERM")) => unusable_error(message, PERMISSIONS_HINT),
        // From within a script, Redis 7.0 has no code for it.
        _ if message.contains("The user executing the script") => {
            unusable_error(message, PERMISSIONS_HINT)
        }
        _ => unusable_error(
            message,
            "give the state store a Redis 7 or a Valkey of its own, or a database of it",
        ),
    }
}
