//! Which machine each row means, and how likely it answers: asked in pages, not one by one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;

use super::order::{Class, Rank};
use super::shared::is_of_the_run;
use crate::client::literal;
use crate::error::{Error, Kind, Result};
use crate::model::{Machine, Raw, is_machine_id};
use crate::pipeline::Pipeline;
use crate::trace::LOG;

/// Ids in one `$filter`, as in the poller's.
const IDS: usize = 50;
/// Names in one: each is a condition of its own, and OData services take a hundred nodes.
const NAMES: usize = 20;
/// With more calls than this, all machines are listed instead.
const CALLS: usize = 10;
/// Of more names than this, an ambiguous one is told with its machines' ids alone.
const DESCRIBED: usize = 1000;

/// What was found out about rows.
#[derive(Debug)]
pub enum Finding {
    /// The row's machine, and how likely it answers.
    Known(u32, String, Rank),
    /// There is no such machine, or more than one.
    Wrong(u32, Error),
    /// Nothing can be found out, of any row.
    Lost(Error),
}

/// A row whose machine is to be looked up.
#[derive(Debug)]
pub struct Question {
    pub row: u32,
    pub machine: String,
    pub machine_id: Option<String>,
}

pub struct Resolver {
    pipeline: Arc<Pipeline>,
    tell: UnboundedSender<Vec<Finding>>,
    /// Rows by their machine's id.
    ids: HashMap<String, Vec<u32>>,
    /// Rows by the lower-case name that they gave.
    names: HashMap<String, Vec<u32>>,
    /// Machines that bear a name that was given.
    named: HashMap<String, Vec<Bearer>>,
}

/// A machine of a name that was given: of very many, no more is kept than must be.
#[derive(Clone)]
struct Bearer {
    id: String,
    rank: Rank,
    raw: Option<Raw>,
}

impl Resolver {
    pub fn new(pipeline: Arc<Pipeline>, tell: UnboundedSender<Vec<Finding>>, questions: Vec<Question>) -> Self {
        let mut resolver = Self { pipeline, tell, ids: HashMap::new(), names: HashMap::new(), named: HashMap::new() };
        let mut wrong = Vec::new();
        for Question { row, machine, machine_id } in questions {
            let name = machine.trim().to_lowercase();
            match machine_id.or_else(|| is_machine_id(&name).then(|| name.clone())) {
                Some(id) => resolver.ids.entry(id).or_default().push(row),
                None if name.is_empty() || name.chars().any(char::is_control) => {
                    wrong.push(Finding::Wrong(row, not_a_machine(&machine)));
                }
                None => resolver.names.entry(name).or_default().push(row),
            }
        }
        resolver.say(wrong);
        resolver
    }

    /// Tells of every row, in the end.
    pub async fn run(mut self) {
        if let Err(error) = self.list().await {
            log::warn!(target: LOG, "could not list the machines of a run: {error}");
            return self.give_up(&error);
        }
        self.tell_named();
        self.ask_singly().await;
    }

    async fn list(&mut self) -> Result<()> {
        let calls = self.ids.len().div_ceil(IDS) + self.names.len().div_ceil(NAMES);
        if calls > CALLS {
            return self.pages(None).await;
        }
        for filter in self.filters() {
            match self.pages(Some(&filter)).await {
                // What a filter may hold is not documented well: without one, every service answers.
                Err(error) if error.kind == Kind::InvalidRequest => return self.pages(None).await,
                other => other?,
            }
        }
        Ok(())
    }

    fn filters(&self) -> Vec<String> {
        let ids: Vec<String> = self.ids.keys().map(|id| literal(id)).collect();
        let names: Vec<String> =
            self.names.keys().map(|name| format!("startswith(computerDnsName,{})", literal(name))).collect();
        let by_id = ids.chunks(IDS).map(|chunk| format!("id in ({})", chunk.join(",")));
        by_id.chain(names.chunks(NAMES).map(|chunk| chunk.join(" or "))).collect()
    }

    async fn pages(&mut self, filter: Option<&str>) -> Result<()> {
        let started = self.pipeline.clock.now();
        let mut seen = HashSet::new();
        let mut next: Option<String> = None;
        loop {
            match self.pipeline.machines_page(filter, next.clone()).await {
                Ok((machines, link)) => {
                    self.found(machines);
                    let Some(link) = link else { return Ok(()) };
                    if !seen.insert(link.clone()) {
                        return Err(Error::new(Kind::Service, "the list of machines leads back to a page of its own"));
                    }
                    next = Some(link);
                }
                Err(error) => {
                    let limits = &self.pipeline.options.limits;
                    let waited = self.pipeline.clock.now() - started;
                    if !error.retryable || waited > limits.queue_time {
                        return Err(error);
                    }
                    self.pipeline.clock.sleep(limits.settle_time / 8.0).await;
                }
            }
        }
    }

    fn found(&mut self, machines: Vec<Machine>) {
        let now = self.pipeline.clock.now();
        let mut findings = Vec::new();
        for machine in machines {
            let id = machine.id.to_ascii_lowercase();
            if let Some(rows) = self.ids.remove(&id) {
                let rank = Rank::likely(&machine, now);
                findings.extend(rows.into_iter().map(|row| Finding::Known(row, id.clone(), rank)));
            }
            self.keep_named(id, &machine, now);
        }
        self.say(findings);
    }

    fn keep_named(&mut self, id: String, machine: &Machine, now: f64) {
        let Some(full) = machine.computer_dns_name.as_deref().map(str::to_lowercase) else { return };
        let short = full.split('.').next().unwrap_or_default().to_owned();
        let mut names = vec![full];
        if names.first() != Some(&short) {
            names.push(short);
        }
        names.retain(|name| self.names.contains_key(name));
        let raw = (self.names.len() <= DESCRIBED).then(|| machine.raw.clone());
        let bearer = Bearer { id, rank: Rank::likely(machine, now), raw };
        for name in names {
            let bearers = self.named.entry(name).or_default();
            if bearers.iter().all(|other| other.id != bearer.id) {
                bearers.push(bearer.clone());
            }
        }
    }

    /// A name means its one bearer, which is known when the last page is.
    fn tell_named(&mut self) {
        let mut findings = Vec::new();
        for (name, rows) in std::mem::take(&mut self.names) {
            let bearers = self.named.remove(&name).unwrap_or_default();
            for row in rows {
                findings.push(match bearers.as_slice() {
                    [one] => Finding::Known(row, one.id.clone(), one.rank),
                    [] => Finding::Wrong(row, unknown(&name)),
                    several => Finding::Wrong(row, ambiguous(&name, several)),
                });
            }
        }
        self.say(findings);
    }

    /// Ids that no list shows: a call of its own tells whether there is such a machine, and costs no submit.
    async fn ask_singly(&mut self) {
        for (id, rows) in std::mem::take(&mut self.ids) {
            let asked = self.pipeline.machine_by_id(&id).await;
            let now = self.pipeline.clock.now();
            let finding = |row| match &asked {
                Ok(machine) => Finding::Known(row, id.clone(), Rank::likely(machine, now)),
                Err(error) if error.kind == Kind::NotFound => Finding::Wrong(row, error.clone()),
                Err(_) => Finding::Known(row, id.clone(), Rank::of(Class::Unknown)),
            };
            self.say(rows.into_iter().map(finding).collect());
        }
    }

    /// Ids are good without the list.
    fn give_up(&mut self, error: &Error) {
        if is_of_the_run(error) {
            return self.say(vec![Finding::Lost(error.clone())]);
        }
        let ids = std::mem::take(&mut self.ids);
        let known = ids.into_iter().flat_map(|(id, rows)| rows.into_iter().map(move |row| (row, id.clone())));
        let known = known.map(|(row, id)| Finding::Known(row, id, Rank::of(Class::Unknown)));
        let names = std::mem::take(&mut self.names);
        let wrong = names.into_values().flatten().map(|row| Finding::Wrong(row, error.clone()));
        self.say(known.chain(wrong).collect());
    }

    fn say(&self, findings: Vec<Finding>) {
        if !findings.is_empty() {
            // Nobody listens once the run is left.
            let _ = self.tell.send(findings);
        }
    }
}

fn not_a_machine(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("{name:?} is not a machine"))
        .with_hint("give a machine id of 40 hexadecimal digits, or a computer name")
}

fn unknown(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("no machine is named {name:?}")).with_hint(
        "check the name in the Defender portal's device inventory, or give the machine id; a device group may hide it",
    )
}

fn ambiguous(name: &str, machines: &[Bearer]) -> Error {
    let ids: Vec<&str> = machines.iter().map(|machine| machine.id.as_str()).collect();
    let message = format!("{} machines are named {name:?}: {}", ids.len(), ids.join(", "));
    let mut error = Error::new(Kind::AmbiguousMachine, message).with_hint("give the machine id of the one meant");
    error.candidates = machines.iter().map(Bearer::described).collect();
    error
}

impl Bearer {
    fn described(&self) -> serde_json::Value {
        let raw = self.raw.as_deref().and_then(|raw| serde_json::from_str(raw).ok());
        raw.unwrap_or_else(|| serde_json::json!({ "id": self.id }))
    }
}
