//! How a run begins, and how it is gone on with.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Fleet;
use super::outage::outlive;
use super::shared::{Counts, Shared, Standing, journal_of};
use crate::error::{Error, Result};
use crate::model::{Command, check_commands, is_machine_id};
use crate::session::{Sessions, check_folder};
use crate::state::journal::{NewRow, RunHead};
use crate::state::no_run;
use crate::trace::LOG;
use crate::transfer::sha256_hex;

/// A worker that does not tell within so many seconds that it is there is dead, and its rows are the others'.
const LEASE: f64 = 15.0;
const HEARTBEAT: f64 = 5.0;
/// Characters of a run id: correlation ids are made of it.
const LONGEST: usize = 100;

/// What is to be run, on which machines.
#[derive(Clone, Debug, Default)]
pub struct Order {
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

impl Order {
    /// Refuses what could never run, before any request.
    pub fn check(&self) -> Result<()> {
        self.commands.iter().try_for_each(|commands| check_commands(commands))?;
        if self.comment.trim().is_empty() {
            return Err(Error::invalid("a run needs a comment").with_hint("say why: it is kept with each action"));
        }
        match self.run_id.as_deref().map_or(1, |run_id| run_id.chars().count()) {
            1..=LONGEST => Ok(()),
            length => Err(Error::invalid(format!("a run id of {length} characters; it takes 1 to {LONGEST}"))),
        }
    }

    fn head(&self) -> Result<RunHead> {
        let rows = u32::try_from(self.machines.len()).map_err(|_| Error::invalid("a run takes 4 billion machines"))?;
        let print = serde_json::to_vec(&(&self.machines, &self.commands))
            .map_err(|error| Error::invalid(format!("the machines could not be noted: {error}")))?;
        Ok(RunHead {
            run_id: self.run_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            generated: self.run_id.is_none(),
            comment: self.comment.clone(),
            commands: self.commands.clone(),
            rows,
            print: sha256_hex(&print),
            save_to: self.save_to.clone(),
            cancel_pending_after: self.cancel_pending_after,
        })
    }

    fn rows(&self) -> Vec<NewRow> {
        let row = |(machine, commands): &(String, usize)| {
            let id = machine.trim().to_ascii_lowercase();
            let machine_id = is_machine_id(&id).then_some(id);
            NewRow { machine: machine.clone(), machine_id, commands: u32::try_from(*commands).unwrap_or_default() }
        };
        self.machines.iter().map(row).collect()
    }
}

impl Fleet {
    /// Begins a run, or goes on with the one of this id. Returns when the run is in the journal.
    pub async fn start(sessions: &Arc<Sessions>, order: Order) -> Result<Self> {
        order.check()?;
        if let Some(folder) = &order.save_to {
            check_folder(Path::new(folder)).await?;
        }
        let head = order.head()?;
        let (_, quota) = sessions.pipeline.state().await?;
        let known = journal_of(&quota)?.begin_run(head.clone(), order.rows()).await?;
        match known {
            Some(known) if known.print != head.print => {
                Err(Error::invalid(format!("run {:?} was started with other machines or commands", head.run_id))
                    .with_hint("go on with it by resume(run_id), or give a new run_id"))
            }
            known => Self::take_up(sessions, known.unwrap_or(head)).await,
        }
    }

    /// Goes on with a run that is in the store, whoever began it.
    pub async fn resume(sessions: &Arc<Sessions>, run_id: &str) -> Result<Self> {
        let (_, quota) = sessions.pipeline.state().await?;
        let run = journal_of(&quota)?.run(run_id).await?;
        Self::take_up(sessions, run.ok_or_else(|| no_run(run_id))?.head).await
    }

    async fn take_up(sessions: &Arc<Sessions>, head: RunHead) -> Result<Self> {
        let (_, quota) = sessions.pipeline.state().await?;
        let shared = Arc::new(Shared {
            sessions: sessions.clone(),
            quota,
            counts: Mutex::new(Counts { waiting: head.rows, ..Counts::default() }),
            head,
            worker: fastrand::u64(..),
            stop: Mutex::default(),
            standing: watch::channel(Standing::AtWork).0,
        });
        shared.journal()?.attend(&shared.head.run_id, shared.worker, LEASE).await?;
        let mut tasks = JoinSet::new();
        let at_work = shared.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = outlive(&at_work) => {}
                () = attend(&at_work) => {}
            }
            at_work.leave().await;
        });
        Ok(Self { shared, tasks: Mutex::new(tasks), runtime: Handle::current() })
    }
}

/// Tells the others that this worker lives.
async fn attend(shared: &Shared) {
    loop {
        shared.sessions.pipeline.clock.sleep(HEARTBEAT).await;
        let attended = async { shared.journal()?.attend(&shared.head.run_id, shared.worker, LEASE).await };
        if let Err(error) = attended.await {
            log::warn!(target: LOG, "could not note that run {} is being worked at: {error}", shared.head.run_id);
        }
    }
}
