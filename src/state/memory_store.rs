//! The store of one process.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::ready;

use super::journal::Journal;
use super::lost::{lost_slot, lost_turn};
use super::memory_journal::MemoryJournal;
use super::memory_table::{Entry, Table, Taken, occupy, walk};
use super::store::*;
use super::walk::{UNPOSTED, Walk};
use crate::error::Result;
use crate::model::Command;
use crate::operation::Operation;

/// Windows, sessions and intents of one quota key, for the life of the process.
pub struct MemoryStore {
    settings: Settings,
    table: Mutex<Table>,
    journal: MemoryJournal,
}

impl MemoryStore {
    pub fn new(settings: Settings) -> Self {
        Self { journal: MemoryJournal::new(settings.clone()), settings, table: Mutex::default() }
    }

    fn now(&self, table: &mut Table) -> f64 {
        let raw = self.settings.now.as_ref().map_or_else(|| self.settings.clock.now(), |now| now());
        table.steady.advance_to(raw)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut Table, f64) -> Result<T>) -> Reply<'_, T> {
        let mut table = self.table();
        let now = self.now(&mut table);
        let done = act(&mut table, now);
        ready(done).boxed()
    }

    fn answer(&self, ask: &Ask) -> Answer {
        let mut table = self.table();
        let now = self.now(&mut table);
        let rates = self.settings.rates(ask.window);
        let Table { lines, slots, .. } = &mut *table;
        slots.retain(|_, taken| taken.slot.until > now);
        let line = lines.entry(ask.window).or_default();
        for ticket in &ask.leave {
            line.leave(*ticket);
            if ask.window == Operation::RunLiveResponse {
                slots.retain(|_, taken| taken.ticket != Some(*ticket) || taken.slot.action_id.is_some());
            }
        }
        let room = line.calls.room(rates, now);
        if let ([joining], true) = (&ask.join[..], line.waiting.is_empty() && room > 0)
            && joining.errand.is_none()
        {
            line.calls.begin(joining.ticket, now + ask.call_lease);
            return Answer { granted: vec![joining.ticket], wait: f64::INFINITY, ..Answer::default() };
        }
        for joining in &ask.join {
            line.waiting.insert(line.arrivals, (joining.ticket, joining.errand.clone()));
            line.arrivals += 1;
        }
        let free = (self.settings.limits.sessions as usize).saturating_sub(slots.len());
        let walk = walk(line, slots, Walk::new(ask.owner, room, free));
        let gone = |ticket: &Ticket| walk.granted.contains(ticket) || walk.occupied.iter().any(|(at, _)| at == ticket);
        let left: Vec<u64> = line.waiting.iter().filter(|(_, (ticket, _))| gone(ticket)).map(|(at, _)| *at).collect();
        for (ticket, errand) in left.iter().filter_map(|at| line.waiting.remove(at)) {
            if walk.granted.contains(&ticket) {
                line.calls.begin(ticket, now + ask.call_lease);
                if let Some(errand) = errand {
                    occupy(slots, errand, ticket, now + ask.call_lease + UNPOSTED);
                }
            }
        }
        let wait = line.wait(&walk, slots, rates, now);
        Answer { granted: walk.granted, occupied: walk.occupied, wait, ..Answer::default() }
    }
}

impl Store for MemoryStore {
    fn address(&self) -> &str {
        "memory:"
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn ask(&self, ask: Ask) -> Reply<'_, Answer> {
        ready(Ok(self.answer(&ask))).boxed()
    }

    fn ask_now(&self, ask: &Ask) -> Option<Answer> {
        Some(self.answer(ask))
    }

    fn later(&self, what: Later) {
        let mut table = self.table();
        let now = self.now(&mut table);
        match what {
            Later::Finish(window, ticket) => {
                table.lines.entry(window).or_default().calls.end(ticket, now);
            }
            Later::Free(machine_id, ticket) => {
                let free = |taken: &Taken| taken.ticket == Some(ticket) && taken.slot.action_id.is_none();
                if table.slots.get(&machine_id).is_some_and(free) {
                    table.slots.remove(&machine_id);
                }
            }
            Later::LeaveTurn(key, token) => table.leave_turn(&key, token),
        }
    }

    fn flush(&self) -> Reply<'_, ()> {
        ready(Ok(())).boxed()
    }

    fn hold(&self, window: Operation, seconds: f64) -> Reply<'_, ()> {
        self.with(|table, now| {
            table.lines.entry(window).or_default().calls.hold(now + seconds);
            Ok(())
        })
    }

    fn view(&self, window: Operation) -> Reply<'_, View> {
        let rates = self.settings.rates(window);
        self.with(|table, now| {
            let line = table.lines.entry(window).or_default();
            Ok(line.calls.view(rates, now, line.waiting.len()))
        })
    }

    fn close<'a>(&'a self, action_id: &'a str) -> Reply<'a, bool> {
        self.with(|table, _| {
            let before = table.slots.len();
            table.slots.retain(|_, taken| !taken.is_action(action_id));
            Ok(table.slots.len() != before)
        })
    }

    fn clear_doubt(&self, machine_id: String, seconds: f64) -> Reply<'_, bool> {
        self.with(|table, now| {
            let doubtful = |taken: &Taken| taken.posted.is_some_and(|at| now - at >= seconds);
            let is_doubtful = table.slots.get(&machine_id).is_some_and(doubtful);
            if is_doubtful {
                table.slots.remove(&machine_id);
            }
            Ok(is_doubtful)
        })
    }

    fn slots(&self) -> Reply<'_, Vec<Slot>> {
        self.with(|table, now| Ok(table.open(now)))
    }

    fn learn(&self, sessions: Vec<Learned>) -> Reply<'_, ()> {
        self.with(|table, now| {
            table.slots.retain(|_, taken| taken.slot.until > now);
            for Learned { machine_id, action_id, lease } in sessions {
                let taken = Taken::by(&machine_id, None, action_id, now, lease);
                table.slots.entry(machine_id).or_insert(taken);
            }
            Ok(())
        })
    }

    fn intent(&self, key: IntentKey, commands: Vec<Command>, comment: String) -> Reply<'_, Found> {
        self.with(|table, now| {
            let known = table.intents.get(&key).map(|entry| entry.intent.clone());
            if let Some(intent) = known {
                return Ok(Found { intent, known: true, lost_since: None });
            }
            table.sweep(now);
            let intent = Intent { commands, comment, created: now, posted: false, action_id: None };
            table.intents.insert(key, Entry { intent: intent.clone(), turn: None });
            Ok(Found { intent, known: false, lost_since: None })
        })
    }

    fn known_intent(&self, key: IntentKey) -> Reply<'_, Option<Intent>> {
        self.with(|table, _| Ok(table.intents.get(&key).map(|entry| entry.intent.clone())))
    }

    fn take_turn(&self, key: IntentKey, token: u64, lease: f64) -> Reply<'_, bool> {
        self.with(|table, now| {
            let Some(entry) = table.intents.get_mut(&key) else { return Ok(false) };
            let free = entry.turn.is_none_or(|(holder, until)| holder == token || until <= now);
            if free {
                entry.turn = Some((token, now + lease));
            }
            Ok(free)
        })
    }

    fn posted(&self, key: IntentKey, token: u64, posted: bool) -> Reply<'_, ()> {
        self.with(|table, now| {
            let Some(entry) = table.intents.get_mut(&key) else { return Err(lost_turn(&key)) };
            if entry.turn.is_none_or(|(holder, until)| holder != token || until <= now) {
                return Err(lost_turn(&key));
            }
            if posted {
                let slot = table.slots.get_mut(&key.machine_id);
                let Some(taken) = slot.filter(|taken| taken.is_for(&key) && taken.slot.until > now) else {
                    return Err(lost_slot(&key));
                };
                taken.slot.until = now + taken.lease;
                taken.posted = Some(now);
            }
            entry.intent.posted = posted;
            Ok(())
        })
    }

    fn settled(&self, key: IntentKey, action_id: String, lease: Option<f64>) -> Reply<'_, ()> {
        self.with(|table, now| {
            let entry = table.intents.get_mut(&key);
            if entry.is_some_and(|entry| entry.intent.action_id.replace(action_id.clone()).is_none()) {
                table.note_settled(&key);
            }
            let slot = table.slots.get(&key.machine_id);
            if slot.is_some_and(|taken| !taken.is_for(&key) && taken.slot.until > now) {
                return Ok(());
            }
            match lease {
                Some(lease) => {
                    let taken = Taken::by(&key.machine_id, Some(key.correlation_id), action_id, now, lease);
                    table.slots.insert(key.machine_id, taken);
                }
                None => {
                    table.slots.remove(&key.machine_id);
                }
            }
            Ok(())
        })
    }

    fn withdraw(&self, key: IntentKey) -> Reply<'_, ()> {
        self.with(|table, _| {
            if table.intents.get(&key).is_some_and(|entry| entry.intent.action_id.is_none()) {
                table.intents.remove(&key);
                table.slots.retain(|_, taken| !taken.is_for(&key) || taken.slot.action_id.is_some());
            }
            Ok(())
        })
    }

    fn put_looks(&self, looks: Vec<(String, String)>) -> Reply<'_, ()> {
        self.with(|table, now| {
            table.sweep(now);
            table.looks.extend(looks.into_iter().map(|(action_id, body)| (action_id, (now, body))));
            Ok(())
        })
    }

    fn looks(&self, action_ids: Vec<String>, max_age: f64) -> Reply<'_, Vec<(String, Look)>> {
        self.with(|table, now| {
            let look = |action_id: String| {
                let (at, body) = table.looks.get(&action_id).filter(|(at, _)| now - at <= max_age)?;
                Some((action_id, Look { body: body.clone(), age: now - at }))
            };
            Ok(action_ids.into_iter().filter_map(look).collect())
        })
    }

    fn journal(&self) -> Option<&dyn Journal> {
        Some(&self.journal)
    }

    fn snapshot(&self) -> Reply<'_, Snapshot> {
        self.with(|table, now| Ok(table.snapshot(now)))
    }

    fn prune(&self, seconds: f64) -> Reply<'_, Pruned> {
        let runs = self.journal.prune(seconds);
        self.with(|table, now| Ok(Pruned { runs, ..table.prune(now, seconds) }))
    }
}
