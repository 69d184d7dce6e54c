//! Checks whether a server is fit for the store, by its INFO.

use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::state::QuotaKey;
use crate::state::store::Notice;
use crate::state::store_error::unusable_error;

/// The result of the check.
pub struct ServerReport {
    /// Another one means that the server was restarted or replaced.
    pub run_id: String,
    pub notices: Vec<Notice>,
}

/// Returns the prefix of all Redis keys of a quota key.
///
/// It is one hash tag, so that a cluster keeps the keys on one node, where a script can use them
/// all.
pub fn key_prefix(key: &QuotaKey) -> String {
    let mut hash = Sha256::new();
    for part in [&key.host, &key.tenant, &key.application] {
        // The length keeps ("ab", "c") apart from ("a", "bc").
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hex: String = hash.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("mlr:{{{hex}}}")
}

/// Checks the answer of `INFO everything`. Fails if the server may evict keys or is too old.
pub fn check_info(address: &str, info: &str) -> Result<ServerReport> {
    let field = |name: &str| {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::trim)
    };
    // A server that does not report its policy is accepted.
    if let Some(policy) = field("maxmemory_policy").filter(|policy| *policy != "noeviction") {
        return Err(unusable_error(
            format!(
                "the state store {address} evicts keys when memory is full (maxmemory-policy \
                 {policy})"
            ),
            "set maxmemory-policy to noeviction, or use a separate Redis server: evicted keys \
             break the limits",
        ));
    }
    // Valkey reports the Redis version that it is compatible with.
    let major =
        field("redis_version").and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    if let Some(major) = major.filter(|major| *major < 6) {
        return Err(unusable_error(
            format!("the state store {address} is Redis {major}, which is too old"),
            "use Redis 7 or later, or Valkey",
        ));
    }
    let mut notices = Vec::new();
    if field("aof_enabled") == Some("0") {
        notices.push(Notice {
            code: "redis-aof".to_owned(),
            message: format!(
                "the state store {address} has no append-only file: a restart loses limits and \
                 intents"
            ),
            hint: "set appendonly to yes; after a loss, each window counts as full for one window \
                   length"
                .to_owned(),
        });
    }
    Ok(ServerReport { run_id: field("run_id").unwrap_or_default().to_owned(), notices })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_loses_data_is_refused_or_reported() {
        let info = "redis_version:7.0.15\r\nrun_id:77\r\n\
                    maxmemory_policy:allkeys-lru\r\naof_enabled:0\r\n";
        assert!(
            check_info("redis://h", info).is_err_and(|error| error.message.contains("allkeys-lru"))
        );
        let kept = info.replace("allkeys-lru", "noeviction");
        let report = check_info("redis://h", &kept).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((report.run_id.as_str(), report.notices.len()), ("77", 1));
        let report = check_info("redis://h", &kept.replace("aof_enabled:0", "aof_enabled:1"));
        assert!(report.is_ok_and(|report| report.notices.is_empty()));
        assert!(check_info("redis://h", &kept.replace("7.0.15", "5.0.3")).is_err());
    }
}
