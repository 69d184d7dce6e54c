//! Counts broken windows in a simulation of the service.
//!
//! The service may count a call at any time between its start and its end, so the simulation draws
//! that time at random.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use mde_live_response::config::{Limits, Rate};
use mde_live_response::error::{Error, Result};
use mde_live_response::operation::Operation;
use mde_live_response::state::store::{AdmissionRequest, DeferredWrite, QueueEntry, Store, Ticket};

use super::servers::{Redis, TempDir, open};

const WINDOW: Operation = Operation::GetMachine;
/// Seconds after which a call has ended.
const LEASE: f64 = 5.0;
const PROCESSES: usize = 4;

pub async fn rows(folder: &TempDir, redis: Option<&Redis>) -> Result<()> {
    row("memory", "memory:", 10_000_000).await?;
    row("sqlite", &folder.sqlite("oracle.db"), 20_000).await?;
    match redis {
        Some(redis) => row("redis", &redis.address(), 20_000).await,
        None => Ok(()),
    }
}

async fn row(name: &str, address: &str, admissions: u64) -> Result<()> {
    let time = Arc::new(Mutex::new(1e9));
    let reader = time.clone();
    let now = Arc::new(move || *reader.lock().unwrap_or_else(PoisonError::into_inner));
    let rates = vec![Rate::new(100, 60.0)?, Rate::new(1500, 3600.0)?];
    let limits = Limits { read: rates.clone(), ..Limits::default() };
    let store = open(address, "oracle", &limits, Some(now)).await?;
    store.record_check(Default::default()).await?;
    let checkers = rates.into_iter().map(WindowChecker::new).collect();
    let mut simulation = Simulation::new(store, time, checkers);
    // A new Redis store counts as full for its longest window.
    simulation.advance_time(4000.0);
    while simulation.stamped < admissions {
        simulation.step().await?;
    }
    simulation.check(f64::INFINITY);
    let broken: u64 = simulation.checkers.iter().map(|check| check.broken).sum();
    println!("{:42} {broken:>14}", format!("{name}, {} admissions", simulation.stamped));
    if broken > 0 { Err(Error::invalid(format!("{broken} windows were broken"))) } else { Ok(()) }
}

struct Simulation {
    store: Arc<dyn Store>,
    time: Arc<Mutex<f64>>,
    true_time: f64,
    random: fastrand::Rng,
    processes: [(u64, u64); PROCESSES],
    waiting: Vec<Ticket>,
    running: Vec<(Ticket, f64)>,
    checkers: Vec<WindowChecker>,
    stamped: u64,
    unsorted: Vec<f64>,
}

impl Simulation {
    fn new(store: Arc<dyn Store>, time: Arc<Mutex<f64>>, checkers: Vec<WindowChecker>) -> Self {
        Self {
            store,
            time,
            true_time: 0.0,
            random: fastrand::Rng::with_seed(7),
            processes: [(1, 0), (2, 0), (3, 0), (4, 0)],
            waiting: Vec::new(),
            running: Vec::new(),
            checkers,
            stamped: 0,
            unsorted: Vec::new(),
        }
    }

    /// Advances the time. A negative value sets back the store's clock, but not the true time.
    fn advance_time(&mut self, seconds: f64) {
        *self.time.lock().unwrap_or_else(PoisonError::into_inner) += seconds;
        self.true_time += seconds.max(0.0);
    }

    async fn step(&mut self) -> Result<()> {
        let process = self.random.usize(0..PROCESSES);
        match self.random.u32(0..10_000) {
            0 => {
                let back = 1000.0 * self.random.f64();
                self.advance_time(-back);
            }
            1..=3 => self.kill_process(process),
            4 => self.store.block_window(WINDOW, 50.0 * self.random.f64()).await?,
            5..=100 => {
                let left = self.waiting.pop();
                self.ask(process, 0, left.into_iter().collect()).await?;
            }
            101..=1000 => {
                let seconds = 10.0 * self.random.f64();
                self.advance_time(seconds);
            }
            1001..=3000 => {
                let count = self.random.u64(1..60);
                self.ask(process, count, Vec::new()).await?;
            }
            3001..=4000 => self.ask(process, 0, Vec::new()).await?,
            _ if !self.running.is_empty() => {
                let at = self.random.usize(0..self.running.len());
                let (ticket, start) = self.running.swap_remove(at);
                self.end(ticket, start).await?;
            }
            _ => {}
        }
        self.expire_overdue().await
    }

    fn stamp(&mut self, start: f64, end: f64) {
        let part = match self.random.u8(0..3) {
            0 => 0.0,
            1 => 1.0,
            _ => self.random.f64(),
        };
        self.unsorted.push(start + (end - start) * part);
        self.stamped += 1;
    }

    async fn end(&mut self, ticket: Ticket, start: f64) -> Result<()> {
        self.stamp(start, self.true_time);
        self.finish(&[ticket]).await
    }

    /// Ends the calls, and waits until the store has written it: the time may change afterwards.
    async fn finish(&self, tickets: &[Ticket]) -> Result<()> {
        for ticket in tickets {
            self.store.defer(DeferredWrite::EndCall(WINDOW, *ticket));
        }
        if self.store.is_shared() && !tickets.is_empty() {
            self.store.flush().await
        } else {
            Ok(())
        }
    }

    /// Kills a process while its calls run. A memory store dies with its process, so there only the
    /// ends of its calls are lost.
    fn kill_process(&mut self, process: usize) {
        let Some((owner, next)) = self.processes.get_mut(process) else { return };
        let dead = *owner;
        if self.store.is_shared() {
            (*owner, *next) = (*owner + PROCESSES as u64, 0);
            self.waiting.retain(|ticket| ticket.owner != dead);
        }
        let (dead_calls, alive) =
            self.running.drain(..).partition::<Vec<_>, _>(|(ticket, _)| ticket.owner == dead);
        self.running = alive;
        for (_, start) in dead_calls {
            self.stamp(start, start + LEASE);
        }
    }

    /// Ends calls older than their lease, as a time-out would. All later calls get later stamps, so
    /// the checkers may proceed up to here.
    async fn expire_overdue(&mut self) -> Result<()> {
        let oldest = self.true_time - LEASE;
        let (late, rest) =
            self.running.drain(..).partition::<Vec<_>, _>(|(_, start)| *start <= oldest);
        self.running = rest;
        for (_, start) in &late {
            self.stamp(*start, start + LEASE);
        }
        self.finish(&late.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>()).await?;
        if self.unsorted.len() > 2000 {
            self.check(oldest);
        }
        Ok(())
    }

    /// Passes every stamp up to `until` to the checkers, in order.
    fn check(&mut self, until: f64) {
        self.unsorted.sort_by(f64::total_cmp);
        let safe = self.unsorted.partition_point(|stamp| *stamp <= until);
        for stamp in self.unsorted.drain(..safe) {
            self.checkers.iter_mut().for_each(|check| check.record(stamp));
        }
    }

    async fn ask(&mut self, process: usize, count: u64, leave: Vec<Ticket>) -> Result<()> {
        let Some((owner, next)) = self.processes.get_mut(process) else { return Ok(()) };
        let count = if self.waiting.len() < 200 { count } else { 0 };
        let tickets: Vec<Ticket> =
            (*next..*next + count).map(|number| Ticket { owner: *owner, number }).collect();
        *next += count;
        let leave: Vec<Ticket> =
            leave.into_iter().filter(|ticket| ticket.owner == *owner).collect();
        let join = tickets
            .iter()
            .map(|ticket| QueueEntry { ticket: *ticket, slot_request: None })
            .collect();
        let owner = *owner;
        self.waiting.extend(tickets);
        let request = AdmissionRequest {
            window: WINDOW,
            owner,
            call_lease: LEASE,
            join,
            is_retry: false,
            leave,
        };
        let answer = match self.store.try_admit_now(&request) {
            Some(answer) => answer,
            None => self.store.request_admission(request).await?,
        };
        self.waiting.retain(|ticket| !answer.granted.contains(ticket));
        self.running.extend(answer.granted.into_iter().map(|ticket| (ticket, self.true_time)));
        Ok(())
    }
}

/// Checks one rate at every position of its window.
struct WindowChecker {
    rate: Rate,
    last: VecDeque<f64>,
    broken: u64,
}

impl WindowChecker {
    fn new(rate: Rate) -> Self {
        Self { rate, last: VecDeque::new(), broken: 0 }
    }

    fn record(&mut self, stamp: f64) {
        if self.last.len() == self.rate.count as usize
            && let Some(first) = self.last.pop_front()
        {
            self.broken += u64::from(stamp - first < self.rate.per);
        }
        self.last.push_back(stamp);
    }
}
