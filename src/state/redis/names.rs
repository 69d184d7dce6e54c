//! Takes over what was stored for the quota key under other host names of its service.

use redis::{FromRedisValue, Script};
use serde_json::json;

use super::connection::RedisConnection;
use super::redis_error::to_error;
use super::server;
use crate::error::Result;
use crate::state::{QuotaKey, service_name};

/// Moves one key. What both names have is that of the present name.
const MOVE: &str = include_str!("move.lua");

impl RedisConnection {
    /// Moves the keys of the other names.
    ///
    /// Every process does so before its first operation, until the other name is gone from the list
    /// at the end. So nobody works with a part of the data.
    pub async fn take_over_other_names(&self) -> Result<()> {
        let key = &self.settings.key;
        let names: Vec<String> = self.query(redis::cmd("SMEMBERS").arg("mlr:quotas")).await?;
        for name in names {
            let Ok([host, tenant, application]) = serde_json::from_str::<[String; 3]>(&name) else {
                continue;
            };
            let other = QuotaKey { host, tenant, application };
            let is_same = other.tenant == key.tenant && other.application == key.application;
            if is_same && other.host != key.host && service_name(&other.host) == key.host {
                self.take_over(&server::key_prefix(&other)).await?;
                let present = json!([key.host, key.tenant, key.application]).to_string();
                let _: i64 = self.query(redis::cmd("SADD").arg("mlr:quotas").arg(present)).await?;
                let _: i64 = self.query(redis::cmd("SREM").arg("mlr:quotas").arg(&name)).await?;
            }
        }
        Ok(())
    }

    async fn take_over(&self, prefix: &str) -> Result<()> {
        let pattern = format!("{prefix}:*");
        let script = Script::new(MOVE);
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
            let (next, keys): (u64, Vec<String>) = self.query(&scan).await?;
            for key in keys {
                let moved = key.replacen(prefix, &self.key_prefix, 1);
                let mut connection = self.manager.clone();
                let mut call = script.key(&key);
                let moving = call.key(moved).invoke_async::<i64>(&mut connection);
                moving.await.map_err(|error| to_error(&self.address, &error))?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    pub async fn query<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T> {
        let mut connection = self.manager.clone();
        let answer = command.query_async(&mut connection).await;
        answer.map_err(|error| to_error(&self.address, &error))
    }
}
