//! Outcomes of fleet runs, and what is counted of them, in SQL. Methods return `None` for an unknown
//! run.

use rusqlite::{OptionalExtension, Row, params};
use serde::Deserialize;

use super::Sql;
use super::connection::StoreConnection;
use super::runs::parse;
use crate::state::run_store::{
    FinishedRow, NumberedOutcome, RunHeader, RunSummary, Unreached, is_ok_outcome,
    sort_newest_first,
};

/// What a list of runs needs of a header.
#[derive(Deserialize)]
struct ShortHead {
    comment: String,
    rows: u32,
}

impl StoreConnection {
    pub fn list_runs(&self) -> Sql<Vec<RunSummary>> {
        let uncounted = "SELECT id FROM runs WHERE quota = ? \
                         AND id NOT IN (SELECT run FROM run_counts)";
        let mut uncounted = self.connection.prepare_cached(uncounted)?;
        let uncounted: Vec<i64> =
            uncounted.query_map([self.quota], |row| row.get(0))?.collect::<Sql<_>>()?;
        uncounted.into_iter().try_for_each(|run| self.count_outcomes(run))?;
        let all = "SELECT runs.run, head, created, c.done, c.ok, stopped IS NOT NULL \
                   FROM runs JOIN run_counts c ON c.run = runs.id WHERE quota = ?";
        let mut all = self.connection.prepare_cached(all)?;
        let summary = |row: &Row<'_>| {
            let head: ShortHead = parse(&row.get::<_, String>(1)?)?;
            Ok(RunSummary {
                run_id: row.get(0)?,
                comment: head.comment,
                created: row.get(2)?,
                machines: head.rows,
                done: row.get(3)?,
                ok: row.get(4)?,
                cancelled: row.get(5)?,
            })
        };
        let mut runs = all.query_map([self.quota], summary)?.collect::<Sql<Vec<_>>>()?;
        sort_newest_first(&mut runs);
        Ok(runs)
    }

    pub fn set_until(&self, run_id: &str, until: f64) -> Sql<Option<()>> {
        let Some(run) = self.get_run(run_id)? else { return Ok(None) };
        let head = RunHeader { until: Some(until), ..run.head };
        let json = serde_json::to_string(&head).unwrap_or_default();
        let update = "UPDATE runs SET head = ? WHERE quota = ? AND run = ?";
        self.execute(update, params![json, self.quota, run_id])?;
        Ok(Some(()))
    }

    pub fn move_row(
        &self,
        run_id: &str,
        row: u32,
        parked: u32,
        machine_id: &str,
    ) -> Sql<Option<Option<u32>>> {
        let Some(run) = self.run_key(run_id)? else { return Ok(None) };
        let update = "UPDATE run_rows SET machine_id = ?4 WHERE run = ?1 AND row = ?2 \
                      AND parked = ?3 AND NOT EXISTS \
                      (SELECT 1 FROM run_outcomes o WHERE o.run = ?1 AND o.row = ?2)";
        if self.execute(update, params![run, row, parked, machine_id])? == 0 {
            return Ok(Some(None));
        }
        self.claim_machine(run, row, machine_id).map(|owner| Some(Some(owner)))
    }

    pub fn record_unreached(
        &self,
        run_id: &str,
        unreached: &Unreached,
        last: &FinishedRow,
    ) -> Sql<Option<()>> {
        let Some(run) = self.run_key(run_id)? else { return Ok(None) };
        let mut find = self
            .connection
            .prepare_cached("SELECT 1 FROM run_outcomes WHERE run = ? AND row = ?")?;
        if !find.exists(params![run, last.row])? {
            self.insert_unreached(run, last.row, unreached, &last.outcome)?;
            self.store_result(run, last)?;
        }
        Ok(Some(()))
    }

    fn insert_unreached(
        &self,
        run: i64,
        row: u32,
        unreached: &Unreached,
        outcome: &str,
    ) -> Sql<()> {
        let Unreached { parked, since, name } = unreached;
        let insert = "INSERT OR REPLACE INTO run_unreached VALUES (?, ?, ?, ?, ?, ?)";
        self.execute(insert, params![run, row, parked, since, name, outcome]).map(drop)
    }

    pub fn get_last_outcome(&self, run_id: &str, row: u32) -> Sql<Option<Option<FinishedRow>>> {
        let Some(run) = self.run_key(run_id)? else { return Ok(None) };
        let find = "SELECT outcome, (SELECT result FROM run_results s WHERE s.run = u.run \
                    AND s.row = u.row) FROM run_unreached u WHERE run = ? AND row = ?";
        let mut find = self.connection.prepare_cached(find)?;
        let last = |found: &Row<'_>| {
            Ok(FinishedRow { row, outcome: found.get(0)?, result: found.get(1)? })
        };
        find.query_row(params![run, row], last).optional().map(Some)
    }

    pub fn withdraw_outcome(
        &self,
        run_id: &str,
        before: &NumberedOutcome,
        unreached: &Unreached,
    ) -> Sql<Option<bool>> {
        let Some(run) = self.run_key(run_id)? else { return Ok(None) };
        self.count_outcomes(run)?;
        let delete = "DELETE FROM run_outcomes WHERE run = ? AND row = ? AND outcome = ?";
        if self.execute(delete, params![run, before.row, before.outcome])? == 0 {
            return Ok(Some(false));
        }
        let count = "UPDATE run_counts SET done = done - 1, ok = ok - ? WHERE run = ?";
        self.execute(count, params![is_ok_outcome(&before.outcome), run])?;
        self.insert_unreached(run, before.row, unreached, &before.outcome)?;
        Ok(Some(true))
    }

    pub fn finish_row(&self, run_id: &str, finished: &FinishedRow) -> Sql<Option<bool>> {
        let Some(run) = self.run_key(run_id)? else { return Ok(None) };
        self.count_outcomes(run)?;
        // The unique index on (run, row) ignores a second outcome of the same row.
        // Write transactions run one after another, so the next number is unique.
        let insert = "INSERT OR IGNORE INTO run_outcomes (run, number, row, outcome) SELECT ?1, \
                      max(last, (SELECT coalesce(max(number), 0) FROM run_outcomes \
                      WHERE run = ?1)) + 1, ?2, ?3 FROM run_counts WHERE run = ?1";
        if self.execute(insert, params![run, finished.row, finished.outcome])? == 0 {
            return Ok(Some(false));
        }
        let count = "UPDATE run_counts SET done = done + 1, ok = ok + ?2, last = \
                     (SELECT max(number) FROM run_outcomes WHERE run = ?1) WHERE run = ?1";
        self.execute(count, params![run, is_ok_outcome(&finished.outcome)])?;
        self.execute(
            "DELETE FROM run_unreached WHERE run = ? AND row = ?",
            [run, finished.row.into()],
        )?;
        self.store_result(run, finished)?;
        Ok(Some(true))
    }

    /// Counts the outcomes of a run that an earlier version of this library has started.
    fn count_outcomes(&self, run: i64) -> Sql<()> {
        let mut find = self.connection.prepare_cached("SELECT 1 FROM run_counts WHERE run = ?")?;
        if find.exists([run])? {
            return Ok(());
        }
        let all = "SELECT number, outcome FROM run_outcomes WHERE run = ?";
        let mut all = self.connection.prepare_cached(all)?;
        let (mut last, mut done, mut ok) = (0, 0, 0);
        for outcome in all.query_map([run], |row| Ok((row.get(0)?, row.get(1)?)))? {
            let (number, outcome): (i64, String) = outcome?;
            last = number.max(last);
            done += 1;
            ok += i64::from(is_ok_outcome(&outcome));
        }
        let insert = "INSERT INTO run_counts VALUES (?, ?, ?, ?)";
        self.execute(insert, [run, last, done, ok]).map(drop)
    }

    /// Stores the result in place of that of an earlier session of the row.
    fn store_result(&self, run: i64, finished: &FinishedRow) -> Sql<()> {
        let Some(result) = &finished.result else {
            let delete = "DELETE FROM run_results WHERE run = ? AND row = ?";
            return self.execute(delete, params![run, finished.row]).map(drop);
        };
        let insert = "INSERT OR REPLACE INTO run_results VALUES (?, ?, ?)";
        self.execute(insert, params![run, finished.row, result]).map(drop)
    }

    pub fn replace_outcome(
        &self,
        run_id: &str,
        before: &NumberedOutcome,
        finished: &FinishedRow,
    ) -> Sql<Option<bool>> {
        let Some(run) = self.run_key(run_id)? else { return Ok(None) };
        let replace = "UPDATE run_outcomes SET outcome = ? WHERE run = ? AND row = ? \
                       AND outcome = ?";
        self.count_outcomes(run)?;
        let values = params![finished.outcome, run, finished.row, before.outcome];
        if self.execute(replace, values)? == 0 {
            return Ok(Some(false));
        }
        let (is_ok, was_ok) = (is_ok_outcome(&finished.outcome), is_ok_outcome(&before.outcome));
        let count = "UPDATE run_counts SET ok = ok + ? - ? WHERE run = ?";
        self.execute(count, params![is_ok, was_ok, run])?;
        self.store_result(run, finished)?;
        Ok(Some(true))
    }

    pub fn get_result(&self, run_id: &str, row: u32) -> Sql<Option<Option<String>>> {
        let Some(run) = self.run_key(run_id)? else { return Ok(None) };
        let mut find = self
            .connection
            .prepare_cached("SELECT result FROM run_results WHERE run = ? AND row = ?")?;
        find.query_row(params![run, row], |row| row.get(0)).optional().map(Some)
    }
}
