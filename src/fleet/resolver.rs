//! Finds the machine of each row and its priority, from pages of the list of machines.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::machine_list;
use super::machine_names::MachineNames;
use super::priority::{Priority, PriorityClass};
use super::shared::is_run_level;
use crate::client::{Choice, Namesake, ambiguous_error, choose, machine_not_found};
use crate::error::{Error, Kind, Result};
use crate::model::{Machine, Raw, check_machine_name, is_machine_id};
use crate::pipeline::Pipeline;
use crate::trace::LOG_TARGET;

/// With more names than this, the error for an ambiguous name has only the ids of its machines.
const MAX_DESCRIBED_NAMES: usize = 1000;

/// What a lookup found.
#[derive(Debug)]
pub enum Resolution {
    /// The machine of a row, and its priority.
    Resolved(u32, String, Priority),
    /// No machine matches the row, or more than one does.
    Unresolvable(u32, Error),
    /// No row can be resolved.
    Failed(Error),
}

/// A row whose machine must be looked up.
#[derive(Debug)]
pub struct LookupRequest {
    pub row: u32,
    pub machine: String,
    pub machine_id: Option<String>,
}

pub struct Resolver {
    pipeline: Arc<Pipeline>,
    sender: UnboundedSender<Vec<Resolution>>,
    known: Arc<MachineNames>,
    /// Rows by machine id.
    ids: HashMap<String, Vec<u32>>,
    /// Rows by machine name, as given, in lower case.
    names: HashMap<String, Vec<u32>>,
    /// The machines found for each name.
    name_matches: HashMap<String, Vec<NameMatch>>,
}

/// A machine with a name that was given.
#[derive(Clone)]
struct NameMatch {
    machine: Namesake,
    priority: Priority,
    /// None if there are too many names to keep every machine in memory.
    raw: Option<Raw>,
}

impl Resolver {
    pub fn new(
        pipeline: Arc<Pipeline>,
        sender: UnboundedSender<Vec<Resolution>>,
        lookups: Vec<LookupRequest>,
        known: Arc<MachineNames>,
    ) -> Self {
        let mut resolver = Self {
            pipeline,
            sender,
            known,
            ids: HashMap::new(),
            names: HashMap::new(),
            name_matches: HashMap::new(),
        };
        let mut invalid = Vec::new();
        for LookupRequest { row, machine, machine_id } in lookups {
            let name = machine.trim().to_lowercase();
            match machine_id.or_else(|| is_machine_id(&name).then(|| name.clone())) {
                Some(id) => resolver.ids.entry(id).or_default().push(row),
                None => match check_machine_name(&machine) {
                    Err(error) => invalid.push(Resolution::Unresolvable(row, not_found(error))),
                    Ok(()) => resolver.names.entry(name).or_default().push(row),
                },
            }
        }
        resolver.send(invalid);
        resolver
    }

    /// Resolves every row, and sends each resolution as soon as it is known.
    pub async fn run(mut self) {
        if let Err(error) = self.list_machines().await {
            log::warn!(target: LOG_TARGET, "could not list the machines for a run: {error}");
            return self.resolve_without_list(&error);
        }
        self.resolve_names();
        self.resolve_ids_individually().await;
    }

    async fn list_machines(&mut self) -> Result<()> {
        let (ids, names): (Vec<_>, Vec<_>) =
            (self.ids.keys().collect(), self.names.keys().collect());
        let filters = machine_list::build_filters(&ids, &names);
        let pipeline = self.pipeline.clone();
        machine_list::read(&pipeline, filters, |page| self.process_page(page)).await
    }

    fn process_page(&mut self, machines: Vec<Machine>) {
        let now = self.pipeline.clock.now();
        let mut resolutions = Vec::new();
        for machine in machines {
            let id = machine.id.to_ascii_lowercase();
            // A merged record is followed by `resolve_ids_individually`.
            let is_current = machine.merged_into().is_none();
            if let Some(rows) = is_current.then(|| self.ids.remove(&id)).flatten() {
                self.known.record(&rows, machine.computer_dns_name.as_deref());
                let priority = Priority::from_machine(&machine, now);
                resolutions.extend(
                    rows.into_iter().map(|row| Resolution::Resolved(row, id.clone(), priority)),
                );
            }
            self.record_name_matches(&machine, now);
        }
        self.send(resolutions);
    }

    fn record_name_matches(&mut self, machine: &Machine, now: f64) {
        let Some(full) = machine.computer_dns_name.as_deref().map(str::to_lowercase) else {
            return;
        };
        let short = full.split('.').next().unwrap_or_default().to_owned();
        let mut names = vec![full];
        if names.first() != Some(&short) {
            names.push(short);
        }
        names.retain(|name| self.names.contains_key(name));
        // The JSON of every machine of a large tenant would take too much memory.
        let raw = (self.names.len() <= MAX_DESCRIBED_NAMES).then(|| machine.raw.clone());
        let priority = Priority::from_machine(machine, now);
        let candidate = NameMatch { machine: Namesake::new(machine), priority, raw };
        for name in names {
            let candidates = self.name_matches.entry(name).or_default();
            if candidates.iter().all(|other| other.machine.id != candidate.machine.id) {
                candidates.push(candidate.clone());
            }
        }
    }

    /// Resolves the names. A name with one machine is only known to be unique after the last page.
    fn resolve_names(&mut self) {
        let mut resolutions = Vec::new();
        for (name, rows) in std::mem::take(&mut self.names) {
            let found = self.name_matches.remove(&name).unwrap_or_default();
            let namesakes: Vec<_> = found.iter().map(|it| it.machine.clone()).collect();
            let (one, error) = match choose(&namesakes) {
                Choice::Merged(id) => {
                    self.ids.entry(id).or_default().extend(rows);
                    continue;
                }
                Choice::One(at) => (found.get(at), None),
                Choice::None => (None, Some(machine_not_found(&name))),
                Choice::Several => (None, None),
            };
            self.known.record(&rows, one.and_then(|one| one.machine.name()));
            for row in rows {
                resolutions.push(match (one, &error) {
                    (Some(one), _) => {
                        Resolution::Resolved(row, one.machine.id.clone(), one.priority)
                    }
                    (None, Some(error)) => Resolution::Unresolvable(row, error.clone()),
                    (None, None) => {
                        let candidates = found.iter().map(NameMatch::to_json).collect();
                        let error = ambiguous_error(&name, &namesakes, candidates);
                        Resolution::Unresolvable(row, error)
                    }
                });
            }
        }
        self.send(resolutions);
    }

    /// Looks up each id that the list did not have, so that an unknown id costs no submit.
    async fn resolve_ids_individually(&mut self) {
        for (id, rows) in std::mem::take(&mut self.ids) {
            let asked = self.pipeline.get_machine(&id).await;
            if let Ok(machine) = &asked {
                self.known.record(&rows, machine.computer_dns_name.as_deref());
            }
            let now = self.pipeline.clock.now();
            let resolution = |row| match &asked {
                // Another id than that of the row is the one into which its record was merged.
                Ok(machine) => {
                    let current = machine.id.to_ascii_lowercase();
                    Resolution::Resolved(row, current, Priority::from_machine(machine, now))
                }
                Err(error) if error.kind == Kind::NotFound => {
                    Resolution::Unresolvable(row, error.clone())
                }
                // The submit will show whether the machine exists.
                Err(_) => Resolution::Resolved(
                    row,
                    id.clone(),
                    Priority::from_class(PriorityClass::Unknown),
                ),
            };
            self.send(rows.into_iter().map(resolution).collect());
        }
    }

    /// Resolves the ids, which need no list, and fails the names.
    fn resolve_without_list(&mut self, error: &Error) {
        if is_run_level(error) {
            return self.send(vec![Resolution::Failed(error.clone())]);
        }
        let ids = std::mem::take(&mut self.ids);
        let known = ids
            .into_iter()
            .flat_map(|(id, rows)| rows.into_iter().map(move |row| (row, id.clone())));
        let known = known.map(|(row, id)| {
            Resolution::Resolved(row, id, Priority::from_class(PriorityClass::Unknown))
        });
        let names = std::mem::take(&mut self.names);
        let unresolvable =
            names.into_values().flatten().map(|row| Resolution::Unresolvable(row, error.clone()));
        self.send(known.chain(unresolvable).collect());
    }

    fn send(&self, resolutions: Vec<Resolution>) {
        if !resolutions.is_empty() {
            // The receiver is gone if this process has detached from the run.
            let _ = self.sender.send(resolutions);
        }
    }
}

/// Returns the error of a row whose name no machine can have.
fn not_found(mut error: Error) -> Error {
    error.kind = Kind::NotFound;
    error
}

impl NameMatch {
    fn to_json(&self) -> serde_json::Value {
        let raw = self.raw.as_deref().and_then(|raw| serde_json::from_str(raw).ok());
        raw.unwrap_or_else(|| serde_json::json!({ "id": self.machine.id }))
    }
}
