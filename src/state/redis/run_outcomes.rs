//! Outcomes of fleet runs, and what is counted of them.

use serde_json::json;

use super::RedisStore;
use super::reply::EmptyReply;
use super::run_reply::{
    FinishReply, LastOutcomeReply, OutcomesReply, ReplaceReply, RunIdsReply, RunsReply,
    SummaryReply,
};
use super::run_store::to_json;
use crate::error::Result;
use crate::state::run_store::*;

/// Runs in one call. Redis serves nobody else while a script runs.
const CHUNK: usize = 50;
/// Outcomes in one read.
const PAGE: u32 = 1000;

impl RedisStore {
    pub(super) async fn read_summaries(&self) -> Result<Vec<RunSummary>> {
        let known: RunIdsReply = self.connection.call("list_run_ids", &json!({})).await?;
        let mut runs = Vec::with_capacity(known.ids.len());
        for chunk in known.ids.chunks(CHUNK) {
            let reply: RunsReply =
                self.connection.call("list_runs", &json!({"runs": chunk})).await?;
            for summary in reply.runs {
                let SummaryReply { run_id, comment, machines, created, done, ok, cancelled } =
                    summary;
                let ok = match ok {
                    Some(ok) => ok,
                    None => self.count_ok(&run_id).await?,
                };
                runs.push(RunSummary { run_id, comment, created, machines, done, ok, cancelled });
            }
        }
        sort_newest_first(&mut runs);
        Ok(runs)
    }

    /// Counts the ok outcomes of a run that an earlier version of this library has started.
    async fn count_ok(&self, run_id: &str) -> Result<u32> {
        let (mut after, mut count) = (0, 0);
        loop {
            let page = self.read_outcomes(run_id, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(count) };
            after = last.number;
            count += page.iter().filter(|it| is_ok_outcome(&it.outcome)).count() as u32;
        }
    }

    pub(super) async fn store_unreached(
        &self,
        run_id: &str,
        unreached: Unreached,
        last: FinishedRow,
    ) -> Result<()> {
        let mut arguments = json!({
            "row": last.row, "unreached": to_json(&unreached), "outcome": last.outcome,
        });
        add_result(&mut arguments, last.result);
        self.call_for_run::<EmptyReply>("record_unreached", run_id, arguments).await.map(drop)
    }

    pub(super) async fn read_last_outcome(
        &self,
        run_id: &str,
        row: u32,
    ) -> Result<Option<FinishedRow>> {
        let reply: LastOutcomeReply =
            self.call_for_run("get_last_outcome", run_id, json!({"row": row})).await?;
        let LastOutcomeReply { outcome, result } = reply;
        Ok(outcome.map(|outcome| FinishedRow { row, outcome, result }))
    }

    pub(super) async fn take_outcome_back(
        &self,
        run_id: &str,
        before: NumberedOutcome,
        unreached: Unreached,
    ) -> Result<bool> {
        let arguments = json!({
            "row": before.row,
            "number": before.number,
            "before": before.outcome,
            "unreached": to_json(&unreached),
            "ok": -i32::from(is_ok_outcome(&before.outcome)),
        });
        let reply: ReplaceReply = self.call_for_run("withdraw_outcome", run_id, arguments).await?;
        Ok(reply.replaced)
    }

    pub(super) async fn store_outcome(&self, run_id: &str, finished: FinishedRow) -> Result<bool> {
        let mut arguments = json!({
            "row": finished.row,
            "outcome": finished.outcome,
            "ok": i32::from(is_ok_outcome(&finished.outcome)),
        });
        add_result(&mut arguments, finished.result);
        Ok(self.call_for_run::<FinishReply>("finish_row", run_id, arguments).await?.first)
    }

    pub(super) async fn store_newer_outcome(
        &self,
        run_id: &str,
        before: NumberedOutcome,
        finished: FinishedRow,
    ) -> Result<bool> {
        let ok =
            i32::from(is_ok_outcome(&finished.outcome)) - i32::from(is_ok_outcome(&before.outcome));
        let mut arguments = json!({
            "row": finished.row,
            "number": before.number,
            "before": before.outcome,
            "outcome": finished.outcome,
            "ok": ok,
        });
        add_result(&mut arguments, finished.result);
        let reply: ReplaceReply = self.call_for_run("replace_outcome", run_id, arguments).await?;
        Ok(reply.replaced)
    }

    pub(super) async fn read_outcomes(
        &self,
        run_id: &str,
        after: u64,
        count: u32,
    ) -> Result<Vec<NumberedOutcome>> {
        let arguments = json!({"after": after, "count": count});
        let reply: OutcomesReply = self.call_for_run("list_outcomes", run_id, arguments).await?;
        // Outcomes are a Redis list, so a number is the index plus one.
        let numbered = (reply.from + 1..).zip(reply.outcomes).filter(|(_, json)| !json.is_empty());
        let numbered = numbered.map(|(number, json)| {
            let (row, outcome) = self.parse(&json)?;
            Ok(NumberedOutcome { number, row, outcome })
        });
        numbered.collect()
    }
}

fn add_result(arguments: &mut serde_json::Value, result: Option<String>) {
    if let (Some(result), Some(fields)) = (result, arguments.as_object_mut()) {
        fields.insert("result".to_owned(), result.into());
    }
}
