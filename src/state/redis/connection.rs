//! The connection to Redis. Every operation is one call of one script, retried while Redis is down.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::Script;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::redis_error::to_error;
use super::{server, tls};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::state::QuotaKey;
use crate::state::settings::StoreSettings;
use crate::state::store::Notice;
use crate::state::store_error::{unavailable_error, unusable_error};

/// The version of the keys and the script.
pub const VERSION: u32 = 1;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

pub struct RedisConnection {
    /// Without the password.
    pub address: String,
    settings: StoreSettings,
    manager: ConnectionManager,
    script: Script,
    key_prefix: String,
    /// The epoch of the data that this process knows. Empty before the first call.
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
    /// Connects, checks the server, and creates the data if there is none.
    pub async fn open(url: &Secret, address: String, settings: StoreSettings) -> Result<Self> {
        let client = tls::client(url, &address, settings.ca_bundle.as_deref())?;
        let config = ConnectionManagerConfig::new()
            // The retries are in RetryDeadline, which knows the timeout of the store.
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(200))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_connection_timeout(Some(Duration::from_secs_f64(
                settings.timeout.clamp(0.1, 5.0),
            )));
        // The first call connects, so that the loop below retries it.
        let manager = client
            .get_connection_manager_lazy(config)
            .map_err(|error| to_error(&address, &error))?;
        let code = concat!(
            include_str!("base.lua"),
            include_str!("windows.lua"),
            include_str!("queue.lua"),
            include_str!("actions.lua"),
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
        let mut deadline = RetryDeadline::new(&connection.settings);
        loop {
            match connection.init_epoch().await {
                Err(error) if deadline.should_retry(&error).await => {}
                opened => return opened.map(|()| connection),
            }
        }
    }

    /// Returns the quota keys that the server holds.
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

    /// Returns the weaknesses found when the server was checked last.
    pub fn notices(&self) -> Vec<Notice> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls one operation, and retries it while Redis is down. Every operation is idempotent.
    pub async fn call<T: DeserializeOwned>(&self, operation: &str, arguments: &Value) -> Result<T> {
        let mut deadline = RetryDeadline::new(&self.settings);
        loop {
            match self.call_once(operation, arguments).await {
                Err(error) if deadline.should_retry(&error).await => {}
                done => return done,
            }
        }
    }

    /// Calls one operation without retries. If the data was lost, creates it and calls again.
    pub async fn call_once<T: DeserializeOwned>(
        &self,
        operation: &str,
        arguments: &Value,
    ) -> Result<T> {
        // Data can be lost again between two calls, but hardly three times in a row.
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
            format!("the state store {} loses its keys as soon as they are written", self.address),
            "find out what deletes or evicts its keys",
        ))
    }

    /// Checks the server, and creates the data if there is none.
    ///
    /// The server's uptime shows for how long it can't have lost data. If this process knew
    /// an epoch before, the data was lost for certain.
    async fn init_epoch(&self) -> Result<()> {
        let mut connection = self.manager.clone();
        let info: String = redis::cmd("INFO")
            // Only this section has the command counts that show a flush.
            .arg("everything")
            .query_async(&mut connection)
            .await
            .map_err(|error| to_error(&self.address, &error))?;
        let report = server::check_info(&self.address, &info)?;
        let had_epoch = !self.known_epoch().is_empty();
        let limits = &self.settings.limits;
        let known_for = if had_epoch { 0.0 } else { report.known_for };
        // If the server kept everything for longer than a session can last, every open session is
        // recorded.
        let sessions_unknown =
            known_for < limits.queue_time + limits.settle_time + 2.0 * limits.script_time;
        let key = &self.settings.key;
        let arguments = serde_json::json!({
            "id": uuid::Uuid::new_v4().to_string(),
            "known_for": known_for,
            "loss_certain": if had_epoch { "1" } else { "0" },
            "sessions_unknown": if sessions_unknown { "1" } else { "0" },
            "version": VERSION.to_string(),
            "quota": serde_json::json!([key.host, key.tenant, key.application]).to_string(),
        });
        let initialized = self.send("init", &arguments).await?;
        let version = initialized.version.unwrap_or_default();
        if version != VERSION.to_string() {
            return Err(unusable_error(
                format!(
                    "the state store {} has version {version}, but this library reads version \
                     {VERSION}",
                    self.address
                ),
                "use the same version of the library in all processes that share it, or another \
                 database",
            ));
        }
        if had_epoch {
            log::warn!(
                target: crate::trace::LOG_TARGET,
                "the state store {} lost its data: each window counts as full for one window \
                 length",
                self.address
            );
        }
        *self.notices.lock().unwrap_or_else(PoisonError::into_inner) = report.notices;
        // A process that had an epoch keeps it: with its next call the script sees that the data
        // was lost.
        if let Some(epoch) = initialized.epoch.filter(|_| !had_epoch) {
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
            format!("the answer of the state store {} can't be read: {error}", self.address),
            "use a separate database for the state store",
        )
    }
}

/// Retries with a growing pause until the timeout is over.
struct RetryDeadline {
    clock: Clock,
    deadline: f64,
    pause: f64,
}

impl RetryDeadline {
    fn new(settings: &StoreSettings) -> Self {
        Self {
            clock: settings.clock,
            deadline: settings.clock.now() + settings.timeout,
            pause: 0.05,
        }
    }

    /// Returns whether to try again, after a pause.
    async fn should_retry(&mut self, error: &Error) -> bool {
        if !error.retryable || self.clock.now() + self.pause >= self.deadline {
            return false;
        }
        log::debug!(target: crate::trace::LOG_TARGET, "{error}; retrying in {:.2} s", self.pause);
        // A random pause keeps processes from retrying in step.
        self.clock.sleep(self.pause * (0.5 + fastrand::f64())).await;
        self.pause = (self.pause * 2.0).min(1.0);
        true
    }
}
