//! Starting a run, and resuming one.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Fleet;
use super::shared::{Shared, WorkerState};
use super::stage::Counts;
use super::until::{Until, check_library, withdraw_outcomes};
use super::worker::{run_worker, send_heartbeat};
use crate::digest::sha256_hex;
use crate::error::{Error, Result};
use crate::library::check_content_sizes;
use crate::model::{Command, check_commands, is_machine_id};
use crate::session::{SaveTo, Sessions};
use crate::state::run_store::{NewRow, RunHeader, RunSummary};
use crate::state::unknown_run;

/// Longest run id, in characters: each correlation id contains it.
const MAX_RUN_ID_LENGTH: usize = 100;

/// What to run, and on which machines.
#[derive(Clone, Debug, Default)]
pub struct RunSpec {
    /// Each machine, as an id or a name, with the index of its commands in `commands`.
    pub machines: Vec<(String, usize)>,
    /// By machine id, the name that outcomes show in place of the id.
    pub names: HashMap<String, String>,
    pub commands: Vec<Vec<Command>>,
    pub comment: String,
    pub save_to: Option<String>,
    pub save_transcripts: bool,
    /// None: a new id.
    pub run_id: Option<String>,
    /// Seconds.
    pub cancel_pending_after: Option<f64>,
    /// None: a machine that is not reached within the queue time is not tried again.
    pub until: Option<Until>,
}

impl RunSpec {
    /// Refuses a spec that can never run, before any request.
    pub fn check(&self) -> Result<()> {
        self.commands.iter().try_for_each(|commands| check_commands(commands))?;
        if self.comment.trim().is_empty() {
            return Err(Error::invalid("a run needs a comment")
                .with_hint("give the reason: the service stores it with each action"));
        }
        match self.run_id.as_deref().map_or(1, |run_id| run_id.chars().count()) {
            1..=MAX_RUN_ID_LENGTH => Ok(()),
            length => Err(Error::invalid(format!(
                "the run id has {length} characters; it must have 1 to {MAX_RUN_ID_LENGTH}"
            ))),
        }
    }

    fn header(&self, until: Option<f64>) -> Result<RunHeader> {
        let rows = u32::try_from(self.machines.len())
            .map_err(|_| Error::invalid("a run takes at most 4,294,967,295 machines"))?;
        let content = serde_json::to_vec(&(&self.machines, &self.commands)).map_err(|error| {
            Error::invalid(format!("the machines could not be written as JSON: {error}"))
        })?;
        Ok(RunHeader {
            run_id: self.run_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            generated: self.run_id.is_none(),
            comment: self.comment.clone(),
            // The content is in the library before the run is stored.
            commands: self
                .commands
                .iter()
                .map(|commands| commands.iter().map(Command::without_content).collect())
                .collect(),
            rows,
            fingerprint: sha256_hex(&content),
            save_to: self.save_to.clone(),
            save_transcripts: self.save_transcripts,
            cancel_pending_after: self.cancel_pending_after,
            until,
        })
    }

    fn rows(&self) -> Vec<NewRow> {
        let row = |(machine, commands): &(String, usize)| {
            let id = machine.trim().to_ascii_lowercase();
            let machine_id = is_machine_id(&id).then_some(id);
            NewRow {
                machine: self.names.get(machine).unwrap_or(machine).clone(),
                machine_id,
                commands: u32::try_from(*commands).unwrap_or_default(),
            }
        };
        self.machines.iter().map(row).collect()
    }
}

impl Fleet {
    /// Starts a run, or resumes the run with this id. Returns once the run is in the run store.
    pub async fn start(sessions: &Arc<Sessions>, spec: RunSpec) -> Result<Self> {
        spec.check()?;
        if let Some(folder) = &spec.save_to {
            SaveTo::from(PathBuf::from(folder)).make_folder().await?;
        }
        let until = spec.until.map(|until| until.resolve(now(sessions))).transpose()?;
        let header = spec.header(until)?;
        check_content_sizes(spec.commands.iter().flatten(), &sessions.pipeline.options.limits)?;
        let (_, quota) = sessions.pipeline.shared_quota().await?;
        let mut contents = spec.commands.iter().flatten().filter_map(Command::content);
        // A run that is stored has its files in the library already.
        if contents.next().is_some()
            && quota.store().run_store().get_run(&header.run_id).await?.is_none()
        {
            let commands = spec.commands.iter().flatten();
            sessions.local_files.upload(&sessions.pipeline, commands).await?;
        }
        let known = quota.store().run_store().create_run(header.clone(), spec.rows()).await?;
        match (known, until) {
            // Two different runs under one id would mix their outcomes.
            (Some(known), _) if known.fingerprint != header.fingerprint => Err(Error::invalid(
                format!("run {:?} exists already, with other machines or commands", header.run_id),
            )
            .with_hint("continue it with resume(run_id), or choose a new run_id")),
            (Some(known), Some(until)) => Self::prolong(sessions, &known.run_id, until).await,
            (known, _) => Self::attach(sessions, known.unwrap_or(header)).await,
        }
    }

    /// Resumes a run from the state store, no matter which process started it.
    pub async fn resume(sessions: &Arc<Sessions>, run_id: &str) -> Result<Self> {
        Self::resume_until(sessions, run_id, None).await
    }

    /// Resumes a run with another `until`. Without one, the run keeps the time that it has.
    pub async fn resume_until(
        sessions: &Arc<Sessions>,
        run_id: &str,
        until: Option<Until>,
    ) -> Result<Self> {
        if let Some(until) = until {
            let until = until.resolve(now(sessions))?;
            return Self::prolong(sessions, run_id, until).await;
        }
        let (_, quota) = sessions.pipeline.shared_quota().await?;
        let run = quota.store().run_store().get_run(run_id).await?;
        Self::attach(sessions, run.ok_or_else(|| unknown_run(run_id))?.head).await
    }

    /// Resumes a run that tries machines again until the given time, also those that had been given
    /// up.
    async fn prolong(sessions: &Arc<Sessions>, run_id: &str, until: f64) -> Result<Self> {
        let (_, quota) = sessions.pipeline.shared_quota().await?;
        let runs = quota.store().run_store();
        if let Some(run) = runs.get_run(run_id).await? {
            check_library(&sessions.pipeline, &run).await?;
        }
        runs.set_until(run_id, until).await?;
        let run = runs.get_run(run_id).await?.ok_or_else(|| unknown_run(run_id))?;
        if run.stopped.is_none() && until > now(sessions) {
            withdraw_outcomes(&quota, &run).await?;
        }
        Self::attach(sessions, run.head).await
    }

    /// Lists the runs of the state store, newest first.
    pub async fn list(sessions: &Sessions) -> Result<Vec<RunSummary>> {
        let (_, quota) = sessions.pipeline.shared_quota().await?;
        quota.store().run_store().list_runs().await
    }

    async fn attach(sessions: &Arc<Sessions>, header: RunHeader) -> Result<Self> {
        let (_, quota) = sessions.pipeline.shared_quota().await?;
        let shared = Arc::new(Shared {
            sessions: sessions.clone(),
            quota,
            counts: Mutex::new(Counts { waiting: header.rows, ..Counts::default() }),
            until: Mutex::new(header.until),
            next_listing: Mutex::default(),
            header,
            worker: fastrand::u64(..),
            stop: Mutex::default(),
            worker_state: watch::channel(WorkerState::Active).0,
            known_outcomes: OnceLock::new(),
            names: Arc::default(),
            refetched: Mutex::default(),
        });
        // Before the first claim: without a lease, other workers could claim the rows immediately.
        send_heartbeat(&shared).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(run_worker(shared.clone()));
        Ok(Self { shared, tasks: Mutex::new(tasks), runtime: Handle::current() })
    }
}

fn now(sessions: &Sessions) -> f64 {
    sessions.pipeline.clock.now()
}
