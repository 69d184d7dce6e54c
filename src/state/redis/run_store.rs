//! The [`RunStore`] of Redis.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::RedisStore;
use super::reply::EmptyReply;
use super::run_reply::{
    ClaimReply, HeadsReply, OwnerReply, OwnersReply, ProgressReply, ResultReply, RowReply,
    RowsReply, RunHeaderReply, RunReply,
};
use crate::error::Result;
use crate::state::run_store::*;
use crate::state::store_error::{unknown_run, unusable_error};
use crate::state::{StoreFuture, hex_id};

/// Rows in one call. Redis serves nobody else while a script runs.
const CHUNK: usize = 500;

impl RedisStore {
    /// Calls an operation on a run. Fails if the run is unknown.
    pub(super) async fn call_for_run<T: DeserializeOwned>(
        &self,
        operation: &str,
        run_id: &str,
        mut arguments: Value,
    ) -> Result<T> {
        if let Some(fields) = arguments.as_object_mut() {
            fields.insert("run".to_owned(), run_id.into());
        }
        let reply: RunReply<T> = self.connection.call(operation, &arguments).await?;
        if reply.missing { Err(unknown_run(run_id)) } else { Ok(reply.content) }
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, json: &str) -> Result<T> {
        serde_json::from_str(json).map_err(|_| {
            let message =
                format!("a run in the state store {} can't be parsed", self.connection.address);
            unusable_error(message, "use a separate database for the state store")
        })
    }

    fn row_state(&self, row: RowReply) -> Result<RowState> {
        let progress = row
            .progress
            .as_deref()
            .map_or_else(|| Ok(RowProgress::default()), |json| self.parse(json))?;
        let unreached = row.unreached.as_deref().map(|json| self.parse(json)).transpose()?;
        let RowReply { row, machine, machine_id, commands, done, .. } = row;
        Ok(RowState { row, machine, machine_id, commands, progress, done, unreached })
    }

    /// Stores the rows under a draft key, some at a time.
    ///
    /// `create_run` renames the key. So a run that exists always has all its rows.
    async fn put_draft_rows(&self, draft: &str, rows: &[NewRow]) -> Result<()> {
        for (at, chunk) in rows.chunks(CHUNK).enumerate() {
            let encoded: Vec<String> = chunk.iter().map(to_json).collect();
            let arguments = json!({"draft": draft, "from": at * CHUNK, "rows": encoded});
            self.connection.call::<EmptyReply>("draft_rows", &arguments).await?;
        }
        Ok(())
    }
}

pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

impl RunStore for RedisStore {
    fn create_run(&self, head: RunHeader, rows: Vec<NewRow>) -> StoreFuture<'_, Option<RunHeader>> {
        Box::pin(async move {
            if let Some(known) = self.get_run(&head.run_id).await? {
                return Ok(Some(known.head));
            }
            // Two processes may create the same run together; each writes its own draft.
            let draft = uuid::Uuid::new_v4().to_string();
            self.put_draft_rows(&draft, &rows).await?;
            let arguments = json!({"draft": draft, "head": to_json(&head)});
            let created: RunHeaderReply =
                self.call_for_run("create_run", &head.run_id, arguments).await?;
            if let Some(known) = created.head {
                return self.parse(&known).map(Some);
            }
            let named = (0_u32..).zip(rows).filter_map(|(at, row)| Some((at, row.machine_id?)));
            let named: Vec<(u32, String)> = named.collect();
            for chunk in named.chunks(CHUNK) {
                self.call_for_run::<EmptyReply>(
                    "record_machine_owners",
                    &head.run_id,
                    json!({"machines": chunk}),
                )
                .await?;
            }
            Ok(None)
        })
    }

    fn get_run<'a>(&'a self, run_id: &'a str) -> StoreFuture<'a, Option<Run>> {
        Box::pin(async move {
            let reply: RunReply<RunHeaderReply> =
                self.connection.call("get_run", &json!({"run": run_id})).await?;
            let Some(head) = reply.content.head else { return Ok(None) };
            let stopped = reply.content.stopped.map(|stopped| self.parse(&stopped)).transpose()?;
            Ok(Some(Run { head: self.parse(&head)?, stopped }))
        })
    }

    fn list_unfinished_runs(&self) -> StoreFuture<'_, Vec<RunHeader>> {
        Box::pin(async move {
            let reply: HeadsReply =
                self.connection.call("list_unfinished_runs", &json!({})).await?;
            reply.heads.iter().map(|head| self.parse(head)).collect()
        })
    }

    fn list_runs(&self) -> StoreFuture<'_, Vec<RunSummary>> {
        Box::pin(self.read_summaries())
    }

    fn set_until<'a>(&'a self, run_id: &'a str, until: f64) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let run = self.get_run(run_id).await?.ok_or_else(|| unknown_run(run_id))?;
            // Nothing else of a header changes.
            let head = RunHeader { until: Some(until), ..run.head };
            let arguments = json!({"head": to_json(&head)});
            self.call_for_run::<EmptyReply>("set_head", run_id, arguments).await.map(drop)
        })
    }

    fn list_rows<'a>(
        &'a self,
        run_id: &'a str,
        from: u32,
        count: u32,
    ) -> StoreFuture<'a, Vec<RowState>> {
        Box::pin(async move {
            let rows: RowsReply = self
                .call_for_run("list_rows", run_id, json!({"from": from, "count": count}))
                .await?;
            rows.rows.into_iter().map(|row| self.row_state(row)).collect()
        })
    }

    fn record_machines<'a>(
        &'a self,
        run_id: &'a str,
        machines: Vec<(u32, String)>,
    ) -> StoreFuture<'a, Vec<(u32, u32)>> {
        Box::pin(async move {
            let mut all = Vec::with_capacity(machines.len());
            for chunk in machines.chunks(CHUNK) {
                let owners: OwnersReply = self
                    .call_for_run("record_machines", run_id, json!({"machines": chunk}))
                    .await?;
                all.extend(owners.owners);
            }
            Ok(all)
        })
    }

    fn move_row<'a>(
        &'a self,
        run_id: &'a str,
        row: u32,
        parked: u32,
        machine_id: String,
    ) -> StoreFuture<'a, Option<u32>> {
        Box::pin(async move {
            let arguments = json!({"row": row, "parked": parked, "machine": machine_id});
            let moved: OwnerReply = self.call_for_run("move_row", run_id, arguments).await?;
            Ok(moved.owner)
        })
    }

    fn heartbeat<'a>(&'a self, run_id: &'a str, worker: u64, lease: f64) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.call_for_run::<EmptyReply>(
                "heartbeat",
                run_id,
                json!({"worker": hex_id(worker), "lease": lease}),
            )
            .await
            .map(drop)
        })
    }

    fn claim_row<'a>(
        &'a self,
        run_id: &'a str,
        worker: u64,
        candidates: Vec<u32>,
    ) -> StoreFuture<'a, Option<RowState>> {
        Box::pin(async move {
            let arguments = json!({"worker": hex_id(worker), "candidates": candidates});
            let claimed: ClaimReply = self.call_for_run("claim_row", run_id, arguments).await?;
            claimed.row.map(|row| self.row_state(row)).transpose()
        })
    }

    fn record_progress<'a>(
        &'a self,
        run_id: &'a str,
        row: u32,
        progress: RowProgress,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut before = String::new();
            loop {
                let known: RowProgress =
                    if before.is_empty() { RowProgress::default() } else { self.parse(&before)? };
                // The rule for merging exists only in Rust. The script stores the result if no
                // other worker has stored one since, else it returns that one.
                let merged = to_json(&known.merge(progress));
                let arguments = json!({"row": row, "before": before, "progress": merged});
                let recorded: ProgressReply =
                    self.call_for_run("record_progress", run_id, arguments).await?;
                match recorded.before {
                    Some(newer) => before = newer,
                    None => return Ok(()),
                }
            }
        })
    }

    fn record_unreached<'a>(
        &'a self,
        run_id: &'a str,
        unreached: Unreached,
        last: FinishedRow,
    ) -> StoreFuture<'a, ()> {
        Box::pin(self.store_unreached(run_id, unreached, last))
    }

    fn get_last_outcome<'a>(
        &'a self,
        run_id: &'a str,
        row: u32,
    ) -> StoreFuture<'a, Option<FinishedRow>> {
        Box::pin(self.read_last_outcome(run_id, row))
    }

    fn withdraw_outcome<'a>(
        &'a self,
        run_id: &'a str,
        before: NumberedOutcome,
        unreached: Unreached,
    ) -> StoreFuture<'a, bool> {
        Box::pin(self.take_outcome_back(run_id, before, unreached))
    }

    fn finish_row<'a>(&'a self, run_id: &'a str, finished: FinishedRow) -> StoreFuture<'a, bool> {
        Box::pin(self.store_outcome(run_id, finished))
    }

    fn replace_outcome<'a>(
        &'a self,
        run_id: &'a str,
        before: NumberedOutcome,
        finished: FinishedRow,
    ) -> StoreFuture<'a, bool> {
        Box::pin(self.store_newer_outcome(run_id, before, finished))
    }

    fn list_outcomes<'a>(
        &'a self,
        run_id: &'a str,
        after: u64,
        count: u32,
    ) -> StoreFuture<'a, Vec<NumberedOutcome>> {
        Box::pin(self.read_outcomes(run_id, after, count))
    }

    fn get_result<'a>(&'a self, run_id: &'a str, row: u32) -> StoreFuture<'a, Option<String>> {
        Box::pin(async move {
            Ok(self
                .call_for_run::<ResultReply>("get_result", run_id, json!({"row": row}))
                .await?
                .result)
        })
    }

    fn request_stop<'a>(&'a self, run_id: &'a str, stop: StopRequest) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let arguments = json!({"stop": to_json(&stop), "running": stop.running});
            self.call_for_run::<EmptyReply>("request_stop", run_id, arguments).await.map(drop)
        })
    }
}
