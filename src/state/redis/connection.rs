//! The connection to Redis. Every operation is one call of a script, retried while Redis is down.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::lua_scripts::LuaScripts;
use super::redis_error::to_error;
use super::{server, tls};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::state::QuotaKey;
use crate::state::settings::StoreSettings;
use crate::state::store::Notice;
use crate::state::store_error::{unavailable_error, unusable_error};

/// The version of the keys and the scripts.
pub const VERSION: u32 = 1;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

pub struct RedisConnection {
    /// Without the password.
    pub address: String,
    pub settings: StoreSettings,
    pub manager: ConnectionManager,
    scripts: LuaScripts,
    pub key_prefix: String,
    /// The epoch of the data that this process knows. Empty before the first call.
    epoch: Mutex<String>,
    /// The highest number of operations that an answer named.
    count: AtomicU64,
    /// The run id of the server that was checked last.
    pub run_id: Mutex<String>,
    /// The connection was lost: what answers next may be another server.
    pub is_unchecked: AtomicBool,
    pub notices: Mutex<Vec<Notice>>,
}

#[derive(Deserialize)]
pub struct ScriptReply {
    #[serde(default)]
    lost: bool,
    #[serde(default)]
    epoch: Option<String>,
    #[serde(default)]
    count: Option<String>,
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
        let key_prefix = server::key_prefix(&settings.key);
        let connection = Self {
            address,
            settings,
            manager,
            scripts: LuaScripts::new(),
            key_prefix,
            epoch: Mutex::default(),
            count: AtomicU64::new(0),
            run_id: Mutex::default(),
            is_unchecked: AtomicBool::new(false),
            notices: Mutex::default(),
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
            self.check_after_reconnect().await?;
            let answer = self.send(operation, arguments).await?;
            if answer.lost {
                self.init_epoch().await?;
                continue;
            }
            if let Some(epoch) = answer.epoch {
                self.set_epoch(epoch, answer.count.as_deref());
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
    /// If this process knew an epoch before, the data was lost for certain.
    async fn init_epoch(&self) -> Result<()> {
        self.check_server().await?;
        self.take_over_other_names().await?;
        let had_epoch = !self.known_epoch().is_empty();
        let key = &self.settings.key;
        let arguments = serde_json::json!({
            "id": uuid::Uuid::new_v4().to_string(),
            "loss_certain": if had_epoch { "1" } else { "0" },
            "is_new": !had_epoch,
            "run_id": self.known_run_id(),
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
        // A process that had an epoch keeps it: with its next call the script sees that the data
        // was lost.
        if let Some(epoch) = initialized.epoch.filter(|_| !had_epoch) {
            self.set_epoch(epoch, None);
        }
        Ok(())
    }

    pub async fn send(&self, operation: &str, arguments: &Value) -> Result<ScriptReply> {
        let now = self.settings.now.as_ref().map(|now| now().to_string()).unwrap_or_default();
        let mut connection = self.manager.clone();
        let mut call = self.scripts.of(operation).key(&self.key_prefix);
        let (epoch, count) = (self.known_epoch(), self.count.load(Ordering::SeqCst));
        call.arg(operation).arg(epoch).arg(now).arg(arguments.to_string()).arg(count);
        let answer: String = call.invoke_async(&mut connection).await.map_err(|error| {
            let error = to_error(&self.address, &error);
            if error.retryable {
                self.is_unchecked.store(true, Ordering::SeqCst);
            }
            error
        })?;
        serde_json::from_str(&answer).map_err(|error| self.unreadable_reply(&error.to_string()))
    }

    fn known_run_id(&self) -> String {
        self.run_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn known_epoch(&self) -> String {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_epoch(&self, epoch: String, count: Option<&str>) {
        let mut known = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let count = count.and_then(|count| count.parse().ok()).unwrap_or(0);
        if *known == epoch {
            self.count.fetch_max(count, Ordering::SeqCst);
        } else {
            *known = epoch;
            self.count.store(count, Ordering::SeqCst);
        }
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
