//! Finds out which machines the service has seen again, from one reading of the list of machines.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::machine_list;
use super::priority::Priority;
use crate::error::Result;
use crate::model::{Machine, Timestamp};
use crate::pipeline::Pipeline;

/// Seconds after its last report at which a machine has certainly missed one. Machines report daily
/// (docs/service.md, section 9).
const MISSED_REPORT: f64 = 36.0 * 3600.0;

/// A row whose machine was not reached.
#[derive(Clone, Debug)]
pub struct LostMachine {
    pub row: u32,
    pub machine_id: String,
    /// In lower case. Empty if it is not known.
    pub name: String,
    /// Only a report of the machine after this time counts, in seconds since the Unix epoch.
    pub since: f64,
}

/// What the list says about the machine of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    pub row: u32,
    /// The present id of the machine. Its record may have been merged or made again.
    pub machine_id: String,
    /// None: the machine has another record now, but was not seen.
    pub seen: Option<Priority>,
}

/// A record of the list.
struct Record {
    id: String,
    first_seen: Option<f64>,
    last_seen: f64,
    /// It reports under this id. The service calls it active for days after its last report.
    is_active: bool,
    is_merged: bool,
    priority: Priority,
}

/// The records of the machines, by id, and the other records with their names.
#[derive(Default)]
struct Records {
    by_id: HashMap<String, Option<Record>>,
    by_name: HashMap<String, Vec<Record>>,
}

/// Lists the machines once, and returns what it says about those that were not reached.
pub async fn find(pipeline: Arc<Pipeline>, lost: Vec<LostMachine>) -> Result<Vec<Sighting>> {
    let mut records = Records::default();
    records.by_id.extend(lost.iter().map(|machine| (machine.machine_id.clone(), None)));
    let ids: Vec<_> = records.by_id.keys().cloned().collect();
    records.read(&pipeline, &ids, &[]).await?;
    // Most machines have only one record: names are read only for those that may have another.
    let replaced = lost.iter().filter(|machine| records.may_be_replaced(machine));
    let names: Vec<_> = replaced.map(|machine| machine.name.clone()).collect();
    records.by_name.extend(names.iter().map(|name| (name.clone(), Vec::new())));
    records.read(&pipeline, &[], &names).await?;
    let mut sightings = Vec::new();
    for machine in lost {
        let known = records.by_id.get(&machine.machine_id).and_then(Option::as_ref);
        let sighting = if known.is_some_and(|record| record.is_merged) {
            follow_merge(&pipeline, &machine).await
        } else {
            records.find(&machine)
        };
        sightings.extend(sighting);
    }
    Ok(sightings)
}

/// Reads the record into which that of the machine was merged.
async fn follow_merge(pipeline: &Pipeline, lost: &LostMachine) -> Option<Sighting> {
    // It may have no record any more. Then the next listing shows whether it has one again.
    let machine = pipeline.get_machine(&lost.machine_id).await.ok()?;
    let record = Record::new(&machine, service_now(pipeline));
    // A record that reports is that of a machine that is on. It was not tried under this id.
    let seen = (record.last_seen > lost.since || record.is_active).then_some(record.priority);
    (record.id != lost.machine_id).then_some(Sighting {
        row: lost.row,
        machine_id: record.id,
        seen,
    })
}

/// Returns the time by the service's clock, which wrote the times of the records.
fn service_now(pipeline: &Pipeline) -> f64 {
    pipeline.service_clock.earliest_at(pipeline.clock.now(), 1.0)
}

impl Records {
    async fn read(&mut self, pipeline: &Pipeline, ids: &[String], names: &[String]) -> Result<()> {
        let (ids, names): (Vec<_>, Vec<_>) = (ids.iter().collect(), names.iter().collect());
        let filters = machine_list::build_filters(&ids, &names);
        machine_list::read(pipeline, filters, |page| self.add(&page, service_now(pipeline))).await
    }

    /// Returns whether the machine may have been installed again under its name.
    fn may_be_replaced(&self, lost: &LostMachine) -> bool {
        let known = self.by_id.get(&lost.machine_id).and_then(Option::as_ref);
        let has_reported = |it: &Record| it.last_seen > lost.since || it.is_active || it.is_merged;
        !lost.name.is_empty() && !known.is_some_and(has_reported)
    }

    fn add(&mut self, page: &[Machine], now: f64) {
        for machine in page {
            let record = Record::new(machine, now);
            if let Some(known) = self.by_id.get_mut(&record.id) {
                *known = Some(record);
                continue;
            }
            let name = machine.computer_dns_name.as_deref().map(str::to_lowercase);
            if let Some(named) = name.and_then(|name| self.by_name.get_mut(&name))
                && !record.is_merged
                && named.iter().all(|other| other.id != record.id)
            {
                named.push(record);
            }
        }
    }

    fn find(&self, lost: &LostMachine) -> Option<Sighting> {
        let known = self.by_id.get(&lost.machine_id).and_then(Option::as_ref);
        let found = match known {
            Some(record) if record.last_seen > lost.since => record,
            // A machine that reports under its own id is not another one.
            Some(record) if record.is_active => return None,
            // A machine that was installed again has a new id. Another machine of that name has
            // been there before.
            known => {
                let gone = known.map_or(lost.since, |record| record.last_seen);
                let is_new = |record: &&Record| {
                    record.first_seen.is_some_and(|first| first > gone)
                        && record.last_seen > lost.since
                };
                let mut new = self.by_name.get(&lost.name)?.iter().filter(is_new);
                match (new.next(), new.next()) {
                    (Some(record), None) => record,
                    _ => return None,
                }
            }
        };
        let machine_id = found.id.clone();
        Some(Sighting { row: lost.row, machine_id, seen: Some(found.priority) })
    }
}

impl Record {
    fn new(machine: &Machine, now: f64) -> Self {
        #[derive(Deserialize)]
        struct FirstSeen {
            #[serde(rename = "firstSeen")]
            first_seen: Option<String>,
        }
        let first_seen = serde_json::from_str(&machine.raw)
            .ok()
            .and_then(|FirstSeen { first_seen }| Timestamp::parse(&first_seen?));
        let last_seen = machine.last_seen.map_or(f64::NEG_INFINITY, Timestamp::to_unix);
        Self {
            id: machine.id.to_ascii_lowercase(),
            first_seen: first_seen.map(Timestamp::to_unix),
            last_seen,
            is_active: machine.health_status.as_deref() == Some("Active")
                && last_seen > now - MISSED_REPORT,
            is_merged: machine.merged_into().is_some(),
            priority: Priority::from_machine(machine, now),
        }
    }
}
