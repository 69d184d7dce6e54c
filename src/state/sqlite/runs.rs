//! Fleet runs, in SQL. Methods return `None` for an unknown run.

use rusqlite::{OptionalExtension, Row, params};

use super::Sql;
use super::connection::StoreConnection;
use crate::state::hex_id;
use crate::state::run_store::{
    NewRow, NumberedOutcome, RowProgress, RowState, Run, RunHeader, StopRequest, Unreached,
};

/// Selects the columns that [`read_row`] reads, in its order.
const ROW: &str = "SELECT r.row, machine, machine_id, commands, r.parked, parking, first_submit, \
                   EXISTS (SELECT 1 FROM run_outcomes o WHERE o.run = r.run AND o.row = r.row), \
                   u.parked, u.since, u.name FROM run_rows r \
                   LEFT JOIN run_unreached u ON u.run = r.run AND u.row = r.row";

/// The tables with the parts of a run.
const RUN_TABLES: [&str; 7] = [
    "run_rows",
    "run_machine_owners",
    "run_workers",
    "run_outcomes",
    "run_results",
    "run_unreached",
    "run_counts",
];

impl StoreConnection {
    pub(super) fn run_key(&self, run_id: &str) -> Sql<Option<i64>> {
        let mut find =
            self.connection.prepare_cached("SELECT id FROM runs WHERE quota = ? AND run = ?")?;
        find.query_row(params![self.quota, run_id], |row| row.get(0)).optional()
    }

    pub fn create_run(
        &self,
        head: &RunHeader,
        rows: &[NewRow],
        now: f64,
    ) -> Sql<Option<RunHeader>> {
        if let Some(known) = self.get_run(&head.run_id)? {
            return Ok(Some(known.head));
        }
        let json = serde_json::to_string(head).unwrap_or_default();
        let insert = "INSERT INTO runs (quota, run, head, created) VALUES (?, ?, ?, ?)";
        self.execute(insert, params![self.quota, head.run_id, json, now])?;
        let run = self.connection.last_insert_rowid();
        self.execute("INSERT INTO run_counts VALUES (?, 0, 0, 0)", [run])?;
        let insert =
            "INSERT INTO run_rows (run, row, machine, machine_id, commands) VALUES (?, ?, ?, ?, ?)";
        for (at, NewRow { machine, machine_id, commands }) in (0_u32..).zip(rows) {
            self.execute(insert, params![run, at, machine, machine_id, commands])?;
            if let Some(machine_id) = machine_id {
                self.claim_machine(run, at, machine_id)?;
            }
        }
        Ok(None)
    }

    /// Deletes runs that started before `before` and have no live worker. Returns the count.
    pub fn prune_runs(&self, before: f64, now: f64) -> Sql<u64> {
        let old = "SELECT id FROM runs WHERE quota = ? AND created <= ? AND NOT EXISTS \
                   (SELECT 1 FROM run_workers w WHERE w.run = runs.id AND w.until > ?)";
        let mut old = self.connection.prepare_cached(old)?;
        let old: Vec<i64> = old
            .query_map(params![self.quota, before, now], |row| row.get(0))?
            .collect::<Sql<_>>()?;
        for run in &old {
            // The tables have no foreign keys, so each is cleared here.
            for table in RUN_TABLES {
                self.execute(&format!("DELETE FROM {table} WHERE run = ?"), [run])?;
            }
            self.execute("DELETE FROM runs WHERE id = ?", [run])?;
        }
        Ok(old.len() as u64)
    }

    pub fn get_run(&self, run_id: &str) -> Sql<Option<Run>> {
        let mut find = self
            .connection
            .prepare_cached("SELECT head, stopped FROM runs WHERE quota = ? AND run = ?")?;
        let run = |row: &Row<'_>| {
            let (head, stopped): (String, Option<String>) = (row.get(0)?, row.get(1)?);
            let stopped = stopped.map(|json| parse(&json)).transpose()?;
            Ok(Run { head: parse(&head)?, stopped })
        };
        find.query_row(params![self.quota, run_id], run).optional()
    }

    pub fn list_unfinished_runs(&self) -> Sql<Vec<RunHeader>> {
        let unfinished = "SELECT head FROM runs WHERE quota = ? AND \
                          (SELECT count(*) FROM run_outcomes o WHERE o.run = runs.id) < \
                          (SELECT count(*) FROM run_rows r WHERE r.run = runs.id) ORDER BY created";
        let mut unfinished = self.connection.prepare_cached(unfinished)?;
        let head = |row: &Row<'_>| parse(&row.get::<_, String>(0)?);
        unfinished.query_map([self.quota], head)?.collect()
    }

    pub fn list_rows(&self, run_id: &str, from: u32, count: u32) -> Sql<Option<Vec<RowState>>> {
        let Some(run) = self.run_key(run_id)? else { return Ok(None) };
        let page = format!("{ROW} WHERE r.run = ? AND r.row >= ? ORDER BY r.row LIMIT ?");
        let mut page = self.connection.prepare_cached(&page)?;
        page.query_map(params![run, from, count], read_row)?.collect::<Sql<Vec<_>>>().map(Some)
    }

    pub fn record_machines(
        &self,
        run_id: &str,
        machines: &[(u32, String)],
    ) -> Sql<Option<Vec<(u32, u32)>>> {
        let Some(run) = self.run_key(run_id)? else { return Ok(None) };
        let update = "UPDATE run_rows SET machine_id = ? WHERE run = ? AND row = ?";
        let owner = |(at, machine_id): &(u32, String)| {
            self.execute(update, params![machine_id, run, at])?;
            Ok((*at, self.claim_machine(run, *at, machine_id)?))
        };
        machines.iter().map(owner).collect::<Sql<Vec<_>>>().map(Some)
    }

    /// Returns the first row that named the machine: this row, if no other did.
    pub(super) fn claim_machine(&self, run: i64, row: u32, machine_id: &str) -> Sql<u32> {
        self.execute(
            "INSERT OR IGNORE INTO run_machine_owners VALUES (?, ?, ?)",
            params![run, machine_id, row],
        )?;
        let mut find = self.connection.prepare_cached(
            "SELECT row FROM run_machine_owners WHERE run = ? AND machine_id = ?",
        )?;
        find.query_row(params![run, machine_id], |row| row.get(0))
    }

    pub fn heartbeat(&self, run_id: &str, worker: u64, lease: f64, now: f64) -> Sql<Option<()>> {
        let Some(run) = self.run_key(run_id)? else { return Ok(None) };
        let leave = "DELETE FROM run_workers WHERE run = ? AND (worker = ? OR until <= ?)";
        self.execute(leave, params![run, hex_id(worker), now])?;
        if lease > 0.0 {
            self.execute(
                "INSERT INTO run_workers VALUES (?, ?, ?)",
                params![run, hex_id(worker), now + lease],
            )?;
        }
        Ok(Some(()))
    }

    pub fn claim_row(
        &self,
        run_id: &str,
        worker: u64,
        candidates: &[u32],
        now: f64,
    ) -> Sql<Option<Option<RowState>>> {
        let Some(run) = self.run_key(run_id)? else { return Ok(None) };
        // A worker without a current lease in run_workers is dead, and its rows are free.
        let take = "UPDATE run_rows AS r SET worker = ?3 WHERE run = ?1 AND row = ?2 AND NOT \
                    EXISTS (SELECT 1 FROM run_outcomes o WHERE o.run = ?1 AND o.row = ?2) \
                    AND (worker IS NULL OR worker = ?3 OR NOT EXISTS (SELECT 1 \
                    FROM run_workers w WHERE w.run = ?1 AND w.worker = r.worker \
                    AND w.until > ?4))";
        for row in candidates {
            if self.execute(take, params![run, row, hex_id(worker), now])? > 0 {
                let mut find = self
                    .connection
                    .prepare_cached(&format!("{ROW} WHERE r.run = ? AND r.row = ?"))?;
                return find.query_row(params![run, row], read_row).map(|row| Some(Some(row)));
            }
        }
        Ok(Some(None))
    }

    pub fn record_progress(
        &self,
        run_id: &str,
        row: u32,
        progress: RowProgress,
    ) -> Sql<Option<()>> {
        let Some(run) = self.run_key(run_id)? else { return Ok(None) };
        let mut find =
            self.connection.prepare_cached(&format!("{ROW} WHERE r.run = ? AND r.row = ?"))?;
        let Some(known) = find.query_row(params![run, row], read_row).optional()? else {
            return Ok(Some(()));
        };
        // Two workers may record progress of one row, if the first was thought dead.
        let RowProgress { parked, parking, first_submit } = known.progress.merge(progress);
        let update = "UPDATE run_rows SET parked = ?, parking = ?, first_submit = ? \
                      WHERE run = ? AND row = ?";
        self.execute(update, params![parked, parking, first_submit, run, row])?;
        Ok(Some(()))
    }

    pub fn list_outcomes(
        &self,
        run_id: &str,
        after: u64,
        count: u32,
    ) -> Sql<Option<Vec<NumberedOutcome>>> {
        let Some(run) = self.run_key(run_id)? else { return Ok(None) };
        let page = "SELECT number, row, outcome FROM run_outcomes WHERE run = ? \
                    AND number > ? ORDER BY number LIMIT ?";
        let mut page = self.connection.prepare_cached(page)?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let numbered = |row: &Row<'_>| {
            let number: i64 = row.get(0)?;
            Ok(NumberedOutcome {
                number: number.unsigned_abs(),
                row: row.get(1)?,
                outcome: row.get(2)?,
            })
        };
        page.query_map(params![run, after, count], numbered)?.collect::<Sql<Vec<_>>>().map(Some)
    }

    pub fn request_stop(&self, run_id: &str, stop: StopRequest) -> Sql<Option<()>> {
        let Some(run) = self.get_run(run_id)? else { return Ok(None) };
        let stop = match run.stopped {
            Some(known) => known.or_stronger(stop),
            None => stop,
        };
        let json = serde_json::to_string(&stop).unwrap_or_default();
        self.execute(
            "UPDATE runs SET stopped = ? WHERE quota = ? AND run = ?",
            params![json, self.quota, run_id],
        )?;
        Ok(Some(()))
    }
}

fn read_row(row: &Row<'_>) -> Sql<RowState> {
    Ok(RowState {
        row: row.get(0)?,
        machine: row.get(1)?,
        machine_id: row.get(2)?,
        commands: row.get(3)?,
        progress: RowProgress {
            parked: row.get(4)?,
            parking: row.get(5)?,
            first_submit: row.get(6)?,
        },
        done: row.get(7)?,
        unreached: match row.get(8)? {
            Some(parked) => Some(Unreached { parked, since: row.get(9)?, name: row.get(10)? }),
            None => None,
        },
    })
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Sql<T> {
    serde_json::from_str(json).map_err(|_| rusqlite::Error::InvalidQuery)
}
