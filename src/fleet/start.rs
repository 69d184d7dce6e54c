//! How a run begins, and how it is gone on with.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Fleet;
use super::outage::run_until_done;
use super::shared::{Counts, Shared, WorkerState};
use crate::error::{Error, Result};
use crate::model::{Command, check_commands, is_machine_id};
use crate::session::{Sessions, check_folder};
use crate::state::run_store::{NewRow, RunHeader};
use crate::state::unknown_run;
use crate::trace::LOG_TARGET;
use crate::transfer::sha256_hex;

/// A worker that does not tell within so many seconds that it is there is dead, and its rows are the others'.
const LEASE: f64 = 15.0;
const HEARTBEAT: f64 = 5.0;
/// Characters of a run id: correlation ids are made of it.
const MAX_RUN_ID_LENGTH: usize = 100;

/// What is to be run, on which machines.
#[derive(Clone, Debug, Default)]
pub struct RunSpec {
    /// Each machine, an id or a name, and the place of its commands.
    pub machines: Vec<(String, usize)>,
    pub commands: Vec<Vec<Command>>,
    pub comment: String,
    pub save_to: Option<String>,
    /// None: a new one.
    pub run_id: Option<String>,
    /// Seconds.
    pub cancel_pending_after: Option<f64>,
}

impl RunSpec {
    /// Refuses what could never run, before any request.
    pub fn check(&self) -> Result<()> {
        self.commands.iter().try_for_each(|commands| check_commands(commands))?;
        if self.comment.trim().is_empty() {
            return Err(Error::invalid("a run needs a comment")
                .with_hint("say why: it is kept with each action"));
        }
        match self.run_id.as_deref().map_or(1, |run_id| run_id.chars().count()) {
            1..=MAX_RUN_ID_LENGTH => Ok(()),
            length => Err(Error::invalid(format!(
                "a run id of {length} characters; it takes 1 to {MAX_RUN_ID_LENGTH}"
            ))),
        }
    }

    fn head(&self) -> Result<RunHeader> {
        let rows = u32::try_from(self.machines.len())
            .map_err(|_| Error::invalid("a run takes 4 billion machines"))?;
        let print = serde_json::to_vec(&(&self.machines, &self.commands))
            .map_err(|error| Error::invalid(format!("the machines could not be noted: {error}")))?;
        Ok(RunHeader {
            run_id: self.run_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            generated: self.run_id.is_none(),
            comment: self.comment.clone(),
            commands: self.commands.clone(),
            rows,
            fingerprint: sha256_hex(&print),
            save_to: self.save_to.clone(),
            cancel_pending_after: self.cancel_pending_after,
        })
    }

    fn rows(&self) -> Vec<NewRow> {
        let row = |(machine, commands): &(String, usize)| {
            let id = machine.trim().to_ascii_lowercase();
            let machine_id = is_machine_id(&id).then_some(id);
            NewRow {
                machine: machine.clone(),
                machine_id,
                commands: u32::try_from(*commands).unwrap_or_default(),
            }
        };
        self.machines.iter().map(row).collect()
    }
}

impl Fleet {
    /// Begins a run, or goes on with the one of this id. Returns when the run is in the journal.
    pub async fn start(sessions: &Arc<Sessions>, spec: RunSpec) -> Result<Self> {
        spec.check()?;
        if let Some(folder) = &spec.save_to {
            check_folder(Path::new(folder)).await?;
        }
        let head = spec.head()?;
        let (_, quota) = sessions.pipeline.shared_quota().await?;
        let known = quota.store().run_store().create_run(head.clone(), spec.rows()).await?;
        match known {
            Some(known) if known.fingerprint != head.fingerprint => Err(Error::invalid(format!(
                "run {:?} was started with other machines or commands",
                head.run_id
            ))
            .with_hint("go on with it by resume(run_id), or give a new run_id")),
            known => Self::attach(sessions, known.unwrap_or(head)).await,
        }
    }

    /// Goes on with a run that is in the store, whoever began it.
    pub async fn resume(sessions: &Arc<Sessions>, run_id: &str) -> Result<Self> {
        let (_, quota) = sessions.pipeline.shared_quota().await?;
        let run = quota.store().run_store().get_run(run_id).await?;
        Self::attach(sessions, run.ok_or_else(|| unknown_run(run_id))?.head).await
    }

    async fn attach(sessions: &Arc<Sessions>, head: RunHeader) -> Result<Self> {
        let (_, quota) = sessions.pipeline.shared_quota().await?;
        let shared = Arc::new(Shared {
            sessions: sessions.clone(),
            quota,
            counts: Mutex::new(Counts { waiting: head.rows, ..Counts::default() }),
            head,
            worker: fastrand::u64(..),
            stop: Mutex::default(),
            worker_state: watch::channel(WorkerState::Active).0,
        });
        shared.run_store().heartbeat(&shared.head.run_id, shared.worker, LEASE).await?;
        let mut tasks = JoinSet::new();
        let task_shared = shared.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = run_until_done(&task_shared) => {}
                () = send_heartbeats(&task_shared) => {}
            }
            task_shared.release_rows().await;
        });
        Ok(Self { shared, tasks: Mutex::new(tasks), runtime: Handle::current() })
    }
}

/// Tells the others that this worker lives.
async fn send_heartbeats(shared: &Shared) {
    loop {
        shared.sessions.pipeline.clock.sleep(HEARTBEAT).await;
        let sent =
            async { shared.run_store().heartbeat(&shared.head.run_id, shared.worker, LEASE).await };
        if let Err(error) = sent.await {
            log::warn!(target: LOG_TARGET, "could not note that run {} is being worked at: {error}", shared.head.run_id);
        }
    }
}
