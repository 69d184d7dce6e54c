//! The data of the memory stores of a process. It outlives their clients.

use std::sync::{Arc, Mutex, PoisonError};

use super::MemoryStore;
use super::run_store::RunRecords;
use super::tables::MemoryTables;
use crate::state::QuotaKey;
use crate::state::settings::StoreSettings;

/// The most quota keys without a client whose data is kept.
const MAX_UNUSED: usize = 16;
/// The most runs, and the most rows of all runs, that are kept when the last client has closed.
const MAX_RUNS: usize = 100;
const MAX_ROWS: usize = 20_000;

/// All data of one quota key.
#[derive(Default)]
pub struct MemoryData {
    pub tables: Mutex<MemoryTables>,
    pub runs: Arc<RunRecords>,
}

/// The data of every quota key of the process, the one that was opened last at the end.
#[derive(Default)]
pub struct KeptMemory(Mutex<Vec<(QuotaKey, Arc<MemoryData>)>>);

impl KeptMemory {
    /// Opens the store of a quota key that no client uses now.
    ///
    /// The data is that of earlier clients, because the service goes on counting their calls.
    pub fn open(&self, settings: StoreSettings) -> MemoryStore {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().position(|(key, _)| *key == settings.key);
        let data = known.map(|at| kept.remove(at).1).unwrap_or_default();
        data.tidy();
        let is_unused = |data: &Arc<MemoryData>| Arc::strong_count(data) == 1;
        let unused = kept.iter().filter(|(_, data)| is_unused(data)).count();
        if unused > MAX_UNUSED
            && let Some(oldest) = kept.iter().position(|(_, data)| is_unused(data))
        {
            kept.remove(oldest);
        }
        kept.push((settings.key.clone(), data.clone()));
        MemoryStore::with_data(settings, data)
    }
}

impl MemoryData {
    /// Removes what earlier clients left in the queues, and the oldest of too many runs.
    fn tidy(&self) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        for queue in tables.queues.values_mut() {
            queue.waiting.clear();
        }
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut newest: Vec<_> =
            runs.iter().map(|(id, run)| (run.created, run.rows.len(), id.clone())).collect();
        newest.sort_by(|one, other| other.0.total_cmp(&one.0));
        let mut rows = 0;
        for (at, (_, count, id)) in newest.into_iter().enumerate() {
            rows += count;
            if at >= MAX_RUNS || (at > 0 && rows > MAX_ROWS) {
                runs.remove(&id);
            }
        }
    }
}
