//! The journal of many machines: what any process of them can go on with.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{RedisStore, wire};
use crate::error::Result;
use crate::state::journal::*;
use crate::state::lost::{no_run, unfit};
use crate::state::store::Reply;

/// Rows in one call: a script holds the server up for as long as it runs.
const CHUNK: usize = 500;

/// What the script answers about a run, or that there is none.
#[derive(Deserialize)]
struct About<T> {
    #[serde(default)]
    gone: bool,
    #[serde(flatten)]
    told: T,
}

#[derive(Deserialize)]
struct Begun {
    #[serde(default)]
    head: Option<String>,
    #[serde(default)]
    stopped: Option<String>,
}

#[derive(Deserialize)]
struct Rows {
    #[serde(default, deserialize_with = "wire::list")]
    rows: Vec<WireRow>,
}

#[derive(Deserialize)]
struct Claimed {
    #[serde(default)]
    row: Option<WireRow>,
}

#[derive(Deserialize)]
struct WireRow {
    row: u32,
    machine: String,
    #[serde(default)]
    machine_id: Option<String>,
    commands: u32,
    #[serde(default)]
    progress: Option<String>,
    done: bool,
}

#[derive(Deserialize)]
struct Owners {
    #[serde(default, deserialize_with = "wire::list")]
    owners: Vec<(u32, u32)>,
}

#[derive(Deserialize)]
struct Noted {
    #[serde(default)]
    before: Option<String>,
}

#[derive(Deserialize)]
struct First {
    #[serde(default)]
    first: bool,
}

#[derive(Deserialize)]
struct Outcomes {
    #[serde(default, deserialize_with = "wire::list")]
    outcomes: Vec<String>,
}

#[derive(Deserialize)]
struct ResultOf {
    #[serde(default)]
    result: Option<String>,
}

#[derive(Deserialize)]
struct Void {}

impl RedisStore {
    async fn of_run<T: DeserializeOwned>(&self, operation: &str, run_id: &str, mut arguments: Value) -> Result<T> {
        if let Some(fields) = arguments.as_object_mut() {
            fields.insert("run".to_owned(), run_id.into());
        }
        let about: About<T> = self.link.call(operation, &arguments).await?;
        if about.gone { Err(no_run(run_id)) } else { Ok(about.told) }
    }

    fn read<T: DeserializeOwned>(&self, json: &str) -> Result<T> {
        serde_json::from_str(json).map_err(|_| {
            let message = format!("a run in the state store {} can't be read", self.link.address);
            unfit(message, "give the state store a database of its own")
        })
    }

    fn state(&self, row: WireRow) -> Result<RowState> {
        let progress = row.progress.as_deref().map_or_else(|| Ok(Progress::default()), |json| self.read(json))?;
        let WireRow { row, machine, machine_id, commands, done, .. } = row;
        Ok(RowState { row, machine, machine_id, commands, progress, done })
    }

    /// The rows are there before the run is, so that a run that is there is whole.
    async fn draft(&self, draft: &str, rows: &[NewRow]) -> Result<()> {
        for (at, chunk) in rows.chunks(CHUNK).enumerate() {
            let texts: Vec<String> = chunk.iter().map(json_of).collect();
            let arguments = json!({"draft": draft, "from": at * CHUNK, "rows": texts});
            self.link.call::<Void>("draft_rows", &arguments).await?;
        }
        Ok(())
    }
}

fn json_of(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn name(worker: u64) -> String {
    format!("{worker:016x}")
}

impl Journal for RedisStore {
    fn begin_run(&self, head: RunHead, rows: Vec<NewRow>) -> Reply<'_, Option<RunHead>> {
        Box::pin(async move {
            if let Some(known) = self.run(&head.run_id).await? {
                return Ok(Some(known.head));
            }
            let draft = uuid::Uuid::new_v4().to_string();
            self.draft(&draft, &rows).await?;
            let arguments = json!({"draft": draft, "head": json_of(&head)});
            let begun: Begun = self.of_run("begin_run", &head.run_id, arguments).await?;
            if let Some(known) = begun.head {
                return self.read(&known).map(Some);
            }
            let named = (0_u32..).zip(rows).filter_map(|(at, row)| Some((at, row.machine_id?)));
            let named: Vec<(u32, String)> = named.collect();
            for chunk in named.chunks(CHUNK) {
                self.of_run::<Void>("own_rows", &head.run_id, json!({"machines": chunk})).await?;
            }
            Ok(None)
        })
    }

    fn run<'a>(&'a self, run_id: &'a str) -> Reply<'a, Option<Run>> {
        Box::pin(async move {
            let about: About<Begun> = self.link.call("run", &json!({"run": run_id})).await?;
            let Some(head) = about.told.head else { return Ok(None) };
            let stopped = about.told.stopped.map(|stopped| self.read(&stopped)).transpose()?;
            Ok(Some(Run { head: self.read(&head)?, stopped }))
        })
    }

    fn rows<'a>(&'a self, run_id: &'a str, from: u32, count: u32) -> Reply<'a, Vec<RowState>> {
        Box::pin(async move {
            let rows: Rows = self.of_run("run_rows", run_id, json!({"from": from, "count": count})).await?;
            rows.rows.into_iter().map(|row| self.state(row)).collect()
        })
    }

    fn resolved<'a>(&'a self, run_id: &'a str, machines: Vec<(u32, String)>) -> Reply<'a, Vec<(u32, u32)>> {
        Box::pin(async move {
            let mut all = Vec::with_capacity(machines.len());
            for chunk in machines.chunks(CHUNK) {
                let owners: Owners = self.of_run("resolved", run_id, json!({"machines": chunk})).await?;
                all.extend(owners.owners);
            }
            Ok(all)
        })
    }

    fn attend<'a>(&'a self, run_id: &'a str, worker: u64, lease: f64) -> Reply<'a, ()> {
        Box::pin(async move {
            self.of_run::<Void>("attend", run_id, json!({"worker": name(worker), "lease": lease})).await.map(drop)
        })
    }

    fn claim<'a>(&'a self, run_id: &'a str, worker: u64, candidates: Vec<u32>) -> Reply<'a, Option<RowState>> {
        Box::pin(async move {
            let arguments = json!({"worker": name(worker), "candidates": candidates});
            let claimed: Claimed = self.of_run("claim", run_id, arguments).await?;
            claimed.row.map(|row| self.state(row)).transpose()
        })
    }

    fn progress<'a>(&'a self, run_id: &'a str, row: u32, progress: Progress) -> Reply<'a, ()> {
        Box::pin(async move {
            let mut before = String::new();
            loop {
                let known: Progress = if before.is_empty() { Progress::default() } else { self.read(&before)? };
                let merged = json_of(&known.merged(progress));
                let arguments = json!({"row": row, "before": before, "progress": merged});
                let noted: Noted = self.of_run("row_progress", run_id, arguments).await?;
                match noted.before {
                    Some(newer) => before = newer,
                    None => return Ok(()),
                }
            }
        })
    }

    fn finish<'a>(&'a self, run_id: &'a str, finished: Finished) -> Reply<'a, bool> {
        Box::pin(async move {
            let mut arguments = json!({"row": finished.row, "outcome": finished.outcome});
            if let (Some(result), Some(fields)) = (finished.result, arguments.as_object_mut()) {
                fields.insert("result".to_owned(), result.into());
            }
            Ok(self.of_run::<First>("finish_row", run_id, arguments).await?.first)
        })
    }

    fn outcomes<'a>(&'a self, run_id: &'a str, after: u64, count: u32) -> Reply<'a, Vec<Numbered>> {
        Box::pin(async move {
            let told: Outcomes = self.of_run("run_outcomes", run_id, json!({"after": after, "count": count})).await?;
            let numbered = (after + 1..).zip(told.outcomes).map(|(number, json)| {
                let (row, outcome) = self.read(&json)?;
                Ok(Numbered { number, row, outcome })
            });
            numbered.collect()
        })
    }

    fn result<'a>(&'a self, run_id: &'a str, row: u32) -> Reply<'a, Option<String>> {
        Box::pin(async move { Ok(self.of_run::<ResultOf>("row_result", run_id, json!({"row": row})).await?.result) })
    }

    fn stop<'a>(&'a self, run_id: &'a str, stop: Stop) -> Reply<'a, ()> {
        Box::pin(async move {
            let arguments = json!({"stop": json_of(&stop), "running": stop.running});
            self.of_run::<Void>("stop_run", run_id, arguments).await.map(drop)
        })
    }
}
