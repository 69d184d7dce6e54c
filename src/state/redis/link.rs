//! The connection: one script, sent again over an outage of at most the patience, and what Redis says in our words.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{ErrorKind, RedisError, Script, ServerErrorKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{connect, server};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::state::QuotaKey;
use crate::state::lost::{unfit, unreachable};
use crate::state::store::{Notice, Settings};

/// What our keys and scripts mean.
pub const VERSION: u32 = 1;
const RIGHTS: &str = "the user needs EVALSHA, EVAL, SCRIPT LOAD, INFO, TIME, and to read and write all keys mlr:*";
const ANSWER: Duration = Duration::from_secs(5);

pub struct Link {
    /// Less the password.
    pub address: String,
    settings: Settings,
    manager: ConnectionManager,
    script: Script,
    base: String,
    /// The epoch that this process knows.
    epoch: Mutex<String>,
    notices: Mutex<Vec<Notice>>,
}

#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    lost: bool,
    #[serde(default)]
    epoch: Option<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    done: Option<Value>,
}

impl Link {
    pub async fn open(url: &Secret, address: String, settings: Settings) -> Result<Self> {
        let client = connect::client(url, &address, settings.ca_bundle.as_deref())?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(200))
            .set_response_timeout(Some(ANSWER))
            .set_connection_timeout(Some(Duration::from_secs_f64(settings.patience.clamp(0.1, 5.0))));
        let manager = client.get_connection_manager_lazy(config).map_err(|error| tell(&address, &error))?;
        let code = concat!(
            include_str!("base.lua"),
            include_str!("line.lua"),
            include_str!("sessions.lua"),
            include_str!("runs.lua")
        );
        let base = server::base(&settings.key);
        let (epoch, notices) = (Mutex::default(), Mutex::default());
        let link = Self { address, settings, manager, script: Script::new(code), base, epoch, notices };
        let mut outage = Outage::new(&link.settings);
        loop {
            match link.find().await {
                Err(error) if outage.is_borne(&error).await => {}
                found => return found.map(|()| link),
            }
        }
    }

    /// The quota keys that the server holds.
    pub async fn quota_keys(url: &Secret, address: &str) -> Result<Vec<QuotaKey>> {
        let refused = |error| tell(address, &error);
        let client = connect::client(url, address, None)?;
        let config = ConnectionManagerConfig::new().set_number_of_retries(1).set_response_timeout(Some(ANSWER));
        let mut manager = client.get_connection_manager_lazy(config).map_err(refused)?;
        let names: Vec<String> =
            redis::cmd("SMEMBERS").arg("mlr:quotas").query_async(&mut manager).await.map_err(refused)?;
        let keys = names.iter().filter_map(|name| serde_json::from_str::<[String; 3]>(name).ok());
        Ok(keys.map(|[host, tenant, application]| QuotaKey { host, tenant, application }).collect())
    }

    pub fn notices(&self) -> Vec<Notice> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does one operation, again over an outage: each is such that twice is as good as once.
    pub async fn call<T: DeserializeOwned>(&self, operation: &str, arguments: &Value) -> Result<T> {
        let mut outage = Outage::new(&self.settings);
        loop {
            match self.once(operation, arguments).await {
                Err(error) if outage.is_borne(&error).await => {}
                done => return done,
            }
        }
    }

    /// Does one operation, once. A store that was lost is founded again.
    pub async fn once<T: DeserializeOwned>(&self, operation: &str, arguments: &Value) -> Result<T> {
        for _ in 0..3 {
            let answer = self.send(operation, arguments).await?;
            if answer.lost {
                self.find().await?;
                continue;
            }
            if let Some(epoch) = answer.epoch {
                self.learn_epoch(epoch);
            }
            let done = answer.done.unwrap_or_default();
            return serde_json::from_value(done).map_err(|error| self.strange(&error.to_string()));
        }
        Err(unreachable(
            format!("the state store {} forgets what it is told", self.address),
            "look for what deletes its keys, or evicts them",
        ))
    }

    /// Looks the server over, and founds the store where there is none.
    async fn find(&self) -> Result<()> {
        let mut connection = self.manager.clone();
        let info: String = redis::cmd("INFO")
            .arg("everything")
            .query_async(&mut connection)
            .await
            .map_err(|error| tell(&self.address, &error))?;
        let report = server::examine(&self.address, &info)?;
        let knew = !self.known_epoch().is_empty();
        let limits = &self.settings.limits;
        let known_for = if knew { 0.0 } else { report.known_for };
        let learn = known_for < limits.queue_time + limits.settle_time + 2.0 * limits.script_time;
        let key = &self.settings.key;
        let arguments = serde_json::json!({
            "id": uuid::Uuid::new_v4().to_string(),
            "known_for": known_for,
            "certain": if knew { "1" } else { "0" },
            "learn": if learn { "1" } else { "0" },
            "version": VERSION.to_string(),
            "quota": serde_json::json!([key.host, key.tenant, key.application]).to_string(),
        });
        let founded = self.send("found", &arguments).await?;
        let version = founded.version.unwrap_or_default();
        if version != VERSION.to_string() {
            return Err(unfit(
                format!(
                    "the state store {} is of version {version}, and this library reads version {VERSION}",
                    self.address
                ),
                "use one version of the library for all who share it, or another database of the server",
            ));
        }
        if knew {
            log::warn!(
                target: crate::trace::LOG,
                "the state store {} lost what it knew: its windows count as full for their length", self.address
            );
        }
        *self.notices.lock().unwrap_or_else(PoisonError::into_inner) = report.notices;
        if let Some(epoch) = founded.epoch.filter(|_| !knew) {
            self.learn_epoch(epoch);
        }
        Ok(())
    }

    async fn send(&self, operation: &str, arguments: &Value) -> Result<Answered> {
        let now = self.settings.now.as_ref().map(|now| now().to_string()).unwrap_or_default();
        let mut connection = self.manager.clone();
        let mut call = self.script.key(&self.base);
        call.arg(operation).arg(self.known_epoch()).arg(now).arg(arguments.to_string());
        let answer: String = call.invoke_async(&mut connection).await.map_err(|error| tell(&self.address, &error))?;
        serde_json::from_str(&answer).map_err(|error| self.strange(&error.to_string()))
    }

    fn known_epoch(&self) -> String {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn_epoch(&self, epoch: String) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
    }

    fn strange(&self, error: &str) -> Error {
        unfit(
            format!("the state store {} gave an answer that can't be read: {error}", self.address),
            "give the state store a database of its own",
        )
    }
}

/// A server that does not answer is waited for, until the patience is over.
struct Outage {
    clock: Clock,
    give_up: f64,
    pause: f64,
}

impl Outage {
    fn new(settings: &Settings) -> Self {
        Self { clock: settings.clock, give_up: settings.clock.now() + settings.patience, pause: 0.05 }
    }

    /// Waits where waiting may help.
    async fn is_borne(&mut self, error: &Error) -> bool {
        if !error.retryable || self.clock.now() + self.pause >= self.give_up {
            return false;
        }
        log::debug!(target: crate::trace::LOG, "{error}; trying again in {:.2} s", self.pause);
        self.clock.sleep(self.pause * (0.5 + fastrand::f64())).await;
        self.pause = (self.pause * 2.0).min(1.0);
        true
    }
}

/// What Redis says, in the caller's terms. Its own words never hold the password.
pub fn tell(address: &str, error: &RedisError) -> Error {
    if let Some(error) = connect::tell_tls(address, error) {
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
        return unreachable(
            message,
            "see that Redis runs, can be reached from here, and speaks TLS there if the address begins with rediss://; \
             nothing was sent to the service",
        );
    }
    let message = format!("the state store {address} refused: {error}");
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => {
            unfit(message, "give user and password in the address: redis://user:password@host:6379/0")
        }
        (_, Some("OOM")) => unreachable(message, "give Redis more memory, or prune the store"),
        (_, Some("NOPERM")) => unfit(message, RIGHTS),
        // From within a script, Redis 7.0 has no code for it.
        _ if message.contains("The user executing the script") => unfit(message, RIGHTS),
        _ => unfit(message, "give the state store a Redis 7 or a Valkey of its own, or a database of it"),
    }
}
