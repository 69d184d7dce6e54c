//! `memory:`, `sqlite:///path`, `redis://host:6379/0`: which store an address means.

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::QuotaKey;
use super::memory_store::MemoryStore;
use super::redis::RedisStore;
use super::sqlite::{self, SqliteStore};
use super::store::{Settings, Store};
use crate::clock::Clock;
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Where a store lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Memory,
    /// `sqlite:///state.db` is in the working directory, `sqlite:////var/lib/state.db` is not.
    Sqlite(PathBuf),
    /// What the client connects by, and what is shown of it.
    Redis(Secret, String),
}

const HINT: &str = "use \"memory:\", \"sqlite:///file\" (four slashes for a path from the root), \
                    \"redis://user:password@host:6379/0\" or \"rediss://...\"";

impl Address {
    /// Reads an address. An error does not repeat it: it may hold a password.
    pub fn parse(text: &str) -> Result<Self> {
        let scheme = text.split(':').next().unwrap_or_default();
        match scheme.to_ascii_lowercase().as_str() {
            "memory" if text.len() == "memory:".len() => Ok(Self::Memory),
            "memory" => {
                Err(address_error("the state store in memory is \"memory:\" and nothing more"))
            }
            "sqlite" => parse_sqlite(text.get("sqlite:".len()..).unwrap_or_default()),
            "redis" | "valkey" => parse_redis(text, "redis"),
            "rediss" | "valkeys" => parse_redis(text, "rediss"),
            _ if text.contains(':') && scheme.chars().all(|char| char.is_ascii_alphanumeric()) => {
                Err(address_error(format!("there is no state store of the kind {scheme:?}")))
            }
            _ => Err(address_error("the state store has no address that can be read")),
        }
    }
}

fn address_error(message: impl Into<String>) -> Error {
    Error::invalid(message).with_hint(HINT)
}

fn parse_sqlite(rest: &str) -> Result<Address> {
    let path = rest.strip_prefix("///").filter(|path| !path.is_empty());
    match path {
        Some(path) if path != ":memory:" && !path.ends_with('/') && !path.contains('\0') => {
            Ok(Address::Sqlite(PathBuf::from(path)))
        }
        _ => Err(address_error("the state store's address names no file")),
    }
}

fn parse_redis(text: &str, scheme: &str) -> Result<Address> {
    let rest = text.split_once(':').map(|(_, rest)| rest).unwrap_or_default();
    let refused =
        || address_error(format!("the state store's address is not one of a {scheme} server"));
    // The parser of URLs finds a port's error only where there is a host.
    let url = Url::parse(&format!("{scheme}:{rest}")).map_err(|_| refused())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(refused)?;
    let database = url.path().trim_start_matches('/');
    if !rest.starts_with("//") || (!database.is_empty() && database.parse::<u32>().is_err()) {
        return Err(address_error(
            "the state store's database is a number, as in redis://host:6379/0",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(address_error("the state store's address takes nothing after the database"));
    }
    let port = url.port().unwrap_or(6379);
    let shown =
        format!("{scheme}://{host}:{port}/{}", if database.is_empty() { "0" } else { database });
    Ok(Address::Redis(Secret::new(url.as_str()), shown))
}

/// Opens the store of `key` at `address`.
pub async fn open(
    address: &str,
    key: &QuotaKey,
    limits: &Limits,
    clock: Clock,
) -> Result<Arc<dyn Store>> {
    open_with(&Address::parse(address)?, Settings::new(key, limits, clock)).await
}

pub async fn open_with(address: &Address, settings: Settings) -> Result<Arc<dyn Store>> {
    Ok(match address {
        Address::Memory => Arc::new(MemoryStore::new(settings)),
        Address::Sqlite(path) => Arc::new(SqliteStore::open(path.clone(), settings).await?),
        Address::Redis(url, shown) => {
            Arc::new(RedisStore::open(url, shown.clone(), settings).await?)
        }
    })
}

/// The quota keys of which a store knows, for an operator.
pub async fn quota_keys(address: &str) -> Result<Vec<QuotaKey>> {
    match Address::parse(address)? {
        Address::Memory => Ok(Vec::new()),
        Address::Sqlite(path) => sqlite::quota_keys(&path),
        Address::Redis(url, shown) => RedisStore::quota_keys(&url, &shown).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_custom() {
        assert_eq!(
            Address::parse("sqlite:///state.db").unwrap(),
            Address::Sqlite("state.db".into())
        );
        assert_eq!(
            Address::parse("sqlite:////var/lib/s.db").unwrap(),
            Address::Sqlite("/var/lib/s.db".into())
        );
        assert_eq!(Address::parse("memory:").unwrap(), Address::Memory);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        let wrong = [
            "",
            "memory",
            "memory:x",
            "sqlite:",
            "sqlite://x",
            "sqlite:///",
            "sqlite:///:memory:",
            "postgres://u:hunter2@h/1",
            "redis:",
            "redis://",
            "redis://:hunter2@/0",
            "redis://:hunter2@h/one",
            "redis://:hunter2@h:x/0",
            "redis://:hunter2@h/0?x=1",
            "/tmp/hunter2",
        ];
        for address in wrong {
            let error = Address::parse(address).expect_err(address);
            assert_eq!(error.kind, crate::error::Kind::InvalidRequest);
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        let redis = Address::parse("valkeys://me:hunter2@h/2").unwrap();
        assert!(!format!("{redis:?}").contains("hunter2"));
        assert!(matches!(redis, Address::Redis(_, shown) if shown == "rediss://h:6379/2"));
    }
}
