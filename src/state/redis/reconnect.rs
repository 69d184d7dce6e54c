//! Checks the server at the first connection, and again after each one that was lost.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::connection::RedisConnection;
use super::server;
use crate::error::Result;

impl RedisConnection {
    /// Checks the server's settings. Returns whether it is not the one that was checked before.
    pub async fn check_server(&self) -> Result<bool> {
        let info: String = self.query(&redis::cmd("INFO")).await?;
        let report = server::check_info(&self.address, &info)?;
        *self.notices.lock().unwrap_or_else(PoisonError::into_inner) = report.notices;
        let mut run_id = self.run_id.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *run_id, report.run_id);
        Ok(!before.is_empty() && before != *run_id)
    }

    /// Checks the server again if the connection was lost.
    pub async fn check_after_reconnect(&self) -> Result<()> {
        if !self.is_unchecked.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let checked = async {
            if self.check_server().await? {
                self.send("distrust", &json!({})).await?;
            }
            Ok(())
        };
        let checked = checked.await;
        if checked.is_err() {
            self.is_unchecked.store(true, Ordering::SeqCst);
        }
        checked
    }
}
