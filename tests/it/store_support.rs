//! Fixtures for the store tests: each kind of store with a controlled time, and a Redis server.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mde_live_response::clock::Clock;
use mde_live_response::config::{Limits, Rate};
use mde_live_response::operation::Operation;
use mde_live_response::state::QuotaKey;
use mde_live_response::state::address::{Address, open_with};
use mde_live_response::state::store::{
    AdmissionRequest, AdmissionResponse, IntentKey, QueueEntry, SlotRequest, Store, StoreSettings,
    Ticket,
};
use tokio::net::TcpSocket;

pub const READ: Operation = Operation::ListMachineActions;
pub const SUBMIT: Operation = Operation::RunLiveResponse;

/// A directory that is deleted with the test.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("mde-store-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A Redis server started for one test.
pub struct Redis {
    child: Child,
    pub port: u16,
    folder: TempDir,
    options: Vec<String>,
    _reservation: Option<TcpSocket>,
}

impl Redis {
    /// Starts a server. Returns `None` and prints why if there is no redis-server; fails in CI.
    pub fn start(options: &[&str]) -> Option<Self> {
        Self::start_on("--port", options)
    }

    /// Starts a server that accepts only TLS.
    pub fn start_tls(options: &[&str]) -> Option<Self> {
        Self::start_on("--tls-port", &[options, &["--port", "0"]].concat())
    }

    fn start_on(port_option: &str, options: &[&str]) -> Option<Self> {
        let folder = TempDir::new();
        let reservation = reserve_port();
        let port = reservation.local_addr().unwrap().port();
        let mut options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        options.extend([port_option.to_owned(), port.to_string()]);
        match spawn(&folder, &options) {
            Ok(child) => {
                let _reservation = cfg!(target_os = "linux").then_some(reservation);
                Some(Self { child, port, folder, options, _reservation }.ready())
            }
            Err(error) => {
                let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
                assert!(!in_ci, "redis-server is needed in CI: {error}");
                println!("skipped: redis-server can't be started ({error})");
                None
            }
        }
    }

    /// Writes the dump that a restart loads.
    pub async fn save(&self) {
        let client = ::redis::Client::open(self.address()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        ::redis::cmd("SAVE").exec_async(&mut connection).await.unwrap();
    }

    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts the server again, with the data it has saved.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.folder, &self.options).unwrap();
        self.wait_until_ready();
    }

    /// Sets an option of the next start.
    pub fn set_option(&mut self, name: &str, value: &str) {
        self.options.extend([name.to_owned(), value.to_owned()]);
    }

    fn ready(self) -> Self {
        self.wait_until_ready();
        self
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Binds a free port so that Redis can listen on it, also after a restart, and nothing else can.
///
/// Linux allows both while this socket does not listen. Other systems may not.
fn reserve_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket
}

fn spawn(folder: &TempDir, options: &[String]) -> std::io::Result<Child> {
    let program =
        std::env::var("REDIS_SERVER").unwrap_or_else(|_| "/usr/bin/redis-server".to_owned());
    Command::new(program)
        .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(&folder.0)
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Runs each case against every kind of store.
macro_rules! store_suite {
    ($($case:ident),* $(,)?) => {
        mod memory {
            use super::*;
            $(#[tokio::test]
            async fn $case() {
                super::$case(&StoreFixture::memory().await).await;
            })*
        }
        mod sqlite {
            use super::*;
            $(#[tokio::test]
            async fn $case() {
                super::$case(&StoreFixture::sqlite().await).await;
            })*
        }
        mod redis {
            use super::*;
            $(#[tokio::test]
            async fn $case() {
                let Some(redis) = Redis::start(&[]) else { return };
                super::$case(&StoreFixture::redis(&redis).await).await;
            })*
        }
    };
}
pub(crate) use store_suite;

/// One store as several processes see it, with a time that the test controls.
pub struct StoreFixture {
    pub kind: &'static str,
    address: Address,
    key: QuotaKey,
    limits: Limits,
    time: Arc<Mutex<f64>>,
    shared: Mutex<Option<Arc<dyn Store>>>,
    _folder: TempDir,
}

pub fn limits() -> Limits {
    Limits {
        submit: vec![Rate::new(3, 10.0).unwrap()],
        read: vec![Rate::new(3, 10.0).unwrap(), Rate::new(7, 60.0).unwrap()],
        sessions: 2,
        ..Limits::default()
    }
}

static COUNT: AtomicU64 = AtomicU64::new(0);

impl StoreFixture {
    pub async fn new(kind: &'static str, address: &str, folder: TempDir, limits: Limits) -> Self {
        let tenant = format!("tenant-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let key = QuotaKey { host: "api.test".into(), tenant, application: "app".into() };
        let fixture = Self {
            kind,
            address: Address::parse(address).unwrap(),
            key,
            limits,
            time: Arc::new(Mutex::new(1_790_000_000.25)),
            shared: Mutex::default(),
            _folder: folder,
        };
        fixture.open().await;
        fixture.advance_time(20_000.0);
        fixture
    }

    pub async fn memory() -> Self {
        Self::new("memory", "memory:", TempDir::new(), limits()).await
    }

    pub async fn sqlite() -> Self {
        let folder = TempDir::new();
        let address = format!("sqlite:///{}", folder.file("state.db").display());
        Self::new("sqlite", &address, folder, limits()).await
    }

    pub async fn redis(redis: &Redis) -> Self {
        Self::new("redis", &redis.address(), TempDir::new(), limits()).await
    }

    /// Opens the store as another process would. A memory store is opened only once.
    pub async fn open(&self) -> Arc<dyn Store> {
        if let (Some(store), "memory") = (&*self.shared.lock().unwrap(), self.kind) {
            return store.clone();
        }
        let time = self.time.clone();
        let mut settings = StoreSettings::new(&self.key, &self.limits, Clock::new());
        settings.now = Some(Arc::new(move || *time.lock().unwrap()));
        let store = open_with(&self.address, settings).await.unwrap();
        // A new store, or one that nobody used just now, is closed for submits until then.
        store.record_check(Default::default()).await.unwrap();
        *self.shared.lock().unwrap() = Some(store.clone());
        store
    }

    pub fn advance_time(&self, seconds: f64) {
        *self.time.lock().unwrap() += seconds;
    }
}

pub fn ticket(owner: u64, number: u64) -> Ticket {
    Ticket { owner, number }
}

pub fn slot_request(machine: &str, wait: bool) -> SlotRequest {
    SlotRequest {
        machine_id: machine.to_owned(),
        correlation_id: format!("of-{machine}"),
        lease: 1000.0,
        wait,
    }
}

pub fn key(machine: &str) -> IntentKey {
    IntentKey { machine_id: machine.to_owned(), correlation_id: format!("of-{machine}") }
}

pub fn admission_request(window: Operation, owner: u64) -> AdmissionRequest {
    AdmissionRequest {
        window,
        owner,
        call_lease: 5.0,
        join: Vec::new(),
        is_retry: false,
        leave: Vec::new(),
    }
}

/// Adds one read with each number to the queue.
pub async fn read(
    store: &Arc<dyn Store>,
    owner: u64,
    numbers: impl IntoIterator<Item = u64>,
) -> AdmissionResponse {
    let join = numbers
        .into_iter()
        .map(|number| QueueEntry { ticket: ticket(owner, number), slot_request: None })
        .collect();
    store
        .request_admission(AdmissionRequest { join, ..admission_request(READ, owner) })
        .await
        .unwrap()
}

/// Adds a submit to the queue.
pub async fn submit(
    store: &Arc<dyn Store>,
    owner: u64,
    number: u64,
    slot_request: SlotRequest,
) -> AdmissionResponse {
    let join = vec![QueueEntry { ticket: ticket(owner, number), slot_request: Some(slot_request) }];
    store
        .request_admission(AdmissionRequest { join, ..admission_request(SUBMIT, owner) })
        .await
        .unwrap()
}
