//! The store of the processes of one machine: a file.

mod books;
mod file;
mod journal;
mod line;
mod machine_clock;
mod operator;
mod place;
mod reboot;
mod runs;
mod sessions;
mod worker;

use std::path::PathBuf;

use rusqlite::params;

pub use file::VERSION;
pub use operator::quota_keys;

use self::books::Durable;
use self::sessions::Right;
use self::worker::Worker;
use super::journal::Journal;
use super::lost::{lost_slot, lost_turn};
use super::store::*;
use crate::error::Result;
use crate::model::Command;
use crate::operation::Operation;

pub struct SqliteStore {
    address: String,
    worker: Worker,
}

impl SqliteStore {
    pub async fn open(path: PathBuf, settings: Settings) -> Result<Self> {
        let address = format!("sqlite:///{}", path.display());
        Ok(Self { address, worker: Worker::open(path, settings).await? })
    }
}

impl Store for SqliteStore {
    fn address(&self) -> &str {
        &self.address
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn ask(&self, ask: Ask) -> Reply<'_, Answer> {
        self.worker.run(Durable::Soon, move |books, now| books.ask(&ask, now))
    }

    fn later(&self, what: Later) {
        self.worker.soon(what);
    }

    fn flush(&self) -> Reply<'_, ()> {
        self.worker.run(Durable::NeedNotBe, |_, _| Ok(()))
    }

    fn hold(&self, window: Operation, seconds: f64) -> Reply<'_, ()> {
        self.worker.run(Durable::Yes, move |books, now| {
            let hold =
                "INSERT INTO holds VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = max(until, excluded.until)";
            books.execute(hold, params![books.quota, window.name(), now + seconds]).map(drop)
        })
    }

    fn view(&self, window: Operation) -> Reply<'_, View> {
        self.worker.run(Durable::NeedNotBe, move |books, now| books.view(window, now))
    }

    fn close<'a>(&'a self, action_id: &'a str) -> Reply<'a, bool> {
        let action_id = action_id.to_owned();
        self.worker.run(Durable::NeedNotBe, move |books, _| books.close(&action_id))
    }

    fn clear_doubt(&self, machine_id: String, seconds: f64) -> Reply<'_, bool> {
        self.worker.run(Durable::NeedNotBe, move |books, now| books.clear_doubt(&machine_id, seconds, now))
    }

    fn slots(&self) -> Reply<'_, Vec<Slot>> {
        self.worker.run(Durable::NeedNotBe, |books, now| books.slots(now))
    }

    fn learn(&self, sessions: Vec<Learned>) -> Reply<'_, ()> {
        self.worker.run(Durable::Yes, move |books, now| books.learn(&sessions, now))
    }

    fn intent(&self, key: IntentKey, commands: Vec<Command>, comment: String) -> Reply<'_, Found> {
        self.worker.run(Durable::Yes, move |books, now| books.intent(&key, &commands, &comment, now))
    }

    fn known_intent(&self, key: IntentKey) -> Reply<'_, Option<Intent>> {
        self.worker.run(Durable::NeedNotBe, move |books, _| books.known_intent(&key))
    }

    fn take_turn(&self, key: IntentKey, token: u64, lease: f64) -> Reply<'_, bool> {
        self.worker.run(Durable::NeedNotBe, move |books, now| books.take_turn(&key, token, lease, now))
    }

    fn posted(&self, key: IntentKey, token: u64, posted: bool) -> Reply<'_, ()> {
        Box::pin(async move {
            let about = key.clone();
            let noted = self.worker.run(Durable::Yes, move |books, now| books.posted(&key, token, posted, now));
            match noted.await? {
                Right::Held => Ok(()),
                Right::NoTurn => Err(lost_turn(&about)),
                Right::NoSlot => Err(lost_slot(&about)),
            }
        })
    }

    fn settled(&self, key: IntentKey, action_id: String, lease: Option<f64>) -> Reply<'_, ()> {
        self.worker.run(Durable::Yes, move |books, now| books.settled(&key, &action_id, lease, now))
    }

    fn withdraw(&self, key: IntentKey) -> Reply<'_, ()> {
        self.worker.run(Durable::Yes, move |books, _| books.withdraw(&key))
    }

    fn put_looks(&self, looks: Vec<(String, String)>) -> Reply<'_, ()> {
        self.worker.run(Durable::NeedNotBe, move |books, now| books.put_looks(&looks, now))
    }

    fn looks(&self, action_ids: Vec<String>, max_age: f64) -> Reply<'_, Vec<(String, Look)>> {
        self.worker.run(Durable::NeedNotBe, move |books, now| books.looks(action_ids, max_age, now))
    }

    fn journal(&self) -> Option<&dyn Journal> {
        Some(self)
    }

    fn snapshot(&self) -> Reply<'_, Snapshot> {
        self.worker.run(Durable::NeedNotBe, |books, now| books.snapshot(now))
    }

    fn prune(&self, seconds: f64) -> Reply<'_, Pruned> {
        self.worker.run(Durable::NeedNotBe, move |books, now| books.prune(seconds, now))
    }

    fn quiesce(&self) {
        self.worker.quiesce();
    }

    fn reopen(&self) {
        self.worker.reopen();
    }
}
