//! The stores to measure: files, a Redis server, and how to open them.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mde_live_response::clock::Clock;
use mde_live_response::config::Limits;
use mde_live_response::error::{Error, Result};
use mde_live_response::state::QuotaKey;
use mde_live_response::state::address::{Address, open_with};
use mde_live_response::state::store::{Store, StoreSettings, TimeSource};

/// A directory that is deleted at the end.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("mde-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(Self(path))
    }

    pub fn sqlite(&self, name: &str) -> String {
        format!("sqlite:///{}", self.0.join(name).display())
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A Redis server started for the benchmark, without persistence.
pub struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    pub fn start(folder: &TempDir) -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .ok()?
            .port();
        let child = Command::new("/usr/bin/redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"])
            .arg(&folder.0)
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            println!("Redis is skipped: there is no /usr/bin/redis-server");
            return None;
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err()
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self { child, port })
    }

    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens the store at `address` for one measurement. `now` replaces its clock.
pub async fn open(
    address: &str,
    name: &str,
    limits: &Limits,
    now: Option<TimeSource>,
) -> Result<Arc<dyn Store>> {
    let key = QuotaKey { host: "h".into(), tenant: name.into(), application: "a".into() };
    let mut settings = StoreSettings::new(&key, limits, Clock::new());
    settings.now = now;
    open_with(&Address::parse(address)?, settings).await
}
