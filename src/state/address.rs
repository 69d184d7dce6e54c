//! Addresses of stores: `memory:`, `sqlite:///path` and `redis://host:6379/0`.

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::QuotaKey;
use super::memory::MemoryStore;
use super::redis::RedisStore;
use super::settings::StoreSettings;
use super::sqlite::{self, SqliteStore};
use super::store::Store;
use crate::clock::Clock;
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The location of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Memory,
    /// `sqlite:///state.db` is relative to the working directory, `sqlite:////var/lib/state.db` is
    /// absolute.
    Sqlite(PathBuf),
    /// The URL to connect to, and the address to show, which has no password.
    Redis(Secret, String),
}

const HINT: &str = "use \"memory:\", \"sqlite:///file\" (four slashes for an absolute path), \
                    \"redis://user:password@host:6379/0\" or \"rediss://...\"";

impl Address {
    /// Parses an address. An error does not repeat the text, because it may contain a password.
    pub fn parse(text: &str) -> Result<Self> {
        let scheme = text.split(':').next().unwrap_or_default();
        match scheme.to_ascii_lowercase().as_str() {
            "memory" if text.len() == "memory:".len() => Ok(Self::Memory),
            "memory" => Err(address_error(
                "the address of the memory store is \"memory:\", with nothing \
                    after it",
            )),
            "sqlite" => parse_sqlite(text.get("sqlite:".len()..).unwrap_or_default()),
            // The redis crate knows only the redis schemes.
            "redis" | "valkey" => parse_redis(text, "redis"),
            "rediss" | "valkeys" => parse_redis(text, "rediss"),
            // A password may contain anything, so the scheme is repeated only if it is a plain
            // word.
            _ if text.contains(':') && scheme.chars().all(|char| char.is_ascii_alphanumeric()) => {
                Err(address_error(format!("unknown kind of state store: {scheme:?}")))
            }
            _ => Err(address_error("the address of the state store can't be parsed")),
        }
    }
}

fn address_error(message: impl Into<String>) -> Error {
    Error::invalid(message).with_hint(HINT)
}

fn parse_sqlite(rest: &str) -> Result<Address> {
    let path = rest.strip_prefix("///").filter(|path| !path.is_empty());
    match path {
        // An in-memory database would be a new one for every open. SQLite takes the path as a C
        // string, so it can't contain a NUL.
        Some(path) if path != ":memory:" && !path.ends_with('/') && !path.contains('\0') => {
            Ok(Address::Sqlite(PathBuf::from(path)))
        }
        _ => Err(address_error("the address of the state store has no file name")),
    }
}

fn parse_redis(text: &str, scheme: &str) -> Result<Address> {
    let rest = text.split_once(':').map(|(_, rest)| rest).unwrap_or_default();
    let refused =
        || address_error(format!("the address of the state store is not a valid {scheme} URL"));
    // The URL parser accepts a bad port if there is no host, so the host is checked too.
    let url = Url::parse(&format!("{scheme}:{rest}")).map_err(|_| refused())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(refused)?;
    let database = url.path().trim_start_matches('/');
    if !rest.starts_with("//") || (!database.is_empty() && database.parse::<u32>().is_err()) {
        return Err(address_error(
            "the database of the state store must be a number, as in redis://host:6379/0",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(address_error(
            "the address of the state store can't have anything after the \
                                  database",
        ));
    }
    // The address to show has no user and no password.
    let port = url.port().unwrap_or(6379);
    let shown =
        format!("{scheme}://{host}:{port}/{}", if database.is_empty() { "0" } else { database });
    Ok(Address::Redis(Secret::new(url.as_str()), shown))
}

/// Opens the store at `address` for `key`, with default options.
pub async fn open(
    address: &str,
    key: &QuotaKey,
    limits: &Limits,
    clock: Clock,
) -> Result<Arc<dyn Store>> {
    open_with(&Address::parse(address)?, StoreSettings::new(key, limits, clock)).await
}

/// Opens the store at `address` with the given options.
pub async fn open_with(address: &Address, settings: StoreSettings) -> Result<Arc<dyn Store>> {
    Ok(match address {
        Address::Memory => Arc::new(MemoryStore::new(settings)),
        Address::Sqlite(path) => Arc::new(SqliteStore::open(path.clone(), settings).await?),
        Address::Redis(url, shown) => {
            Arc::new(RedisStore::open(url, shown.clone(), settings).await?)
        }
    })
}

/// Returns the quota keys that the store holds.
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
    fn three_slashes_are_relative_and_four_absolute() {
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
    fn errors_do_not_contain_the_password() {
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
