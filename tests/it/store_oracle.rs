//! Checks that no window is ever broken, whenever between its start and its end the service counts
//! a call.

use std::sync::Arc;

use mde_live_response::clock::Clock;
use mde_live_response::config::Rate;
use mde_live_response::state::QuotaKey;
use mde_live_response::state::memory::MemoryStore;
use mde_live_response::state::store::{
    AdmissionRequest, DeferredWrite, QueueEntry, Store, StoreSettings, Ticket,
};
use proptest::prelude::*;

use super::store_support::*;

const LEASE: f64 = 5.0;

/// One random event. A number picks the process or call, modulo how many there are.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Pass(f64),
    /// The store's clock is set back.
    SetBack(f64),
    Join(u8, u8),
    AskAgain(u8),
    Leave(u8),
    /// A call ends. The service counted it at this fraction of its duration.
    Finish(u16, f64),
    /// A process dies while its calls run.
    Die(u8, f64),
    Hold(f64),
}

struct Simulation {
    store: Arc<dyn Store>,
    fixture: Option<StoreFixture>,
    time: Arc<std::sync::Mutex<f64>>,
    true_time: f64,
    processes: Vec<(u64, u64)>,
    waiting: Vec<Ticket>,
    running: Vec<(Ticket, f64)>,
    stamps: Vec<f64>,
}

impl Simulation {
    async fn open(fixture: StoreFixture) -> Self {
        let time = Arc::new(std::sync::Mutex::new(0.0));
        let store = fixture.open().await;
        Self::new(store, Some(fixture), time)
    }

    fn new(
        store: Arc<dyn Store>,
        fixture: Option<StoreFixture>,
        time: Arc<std::sync::Mutex<f64>>,
    ) -> Self {
        let processes = (1..=4).map(|owner| (owner, 0)).collect();
        Self {
            store,
            fixture,
            time,
            true_time: 0.0,
            processes,
            waiting: Vec::new(),
            running: Vec::new(),
            stamps: Vec::new(),
        }
    }

    fn advance_time(&mut self, seconds: f64) {
        match &self.fixture {
            Some(fixture) => fixture.advance_time(seconds),
            None => *self.time.lock().unwrap() += seconds,
        }
        self.true_time += seconds.max(0.0);
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Pass(seconds) => self.advance_time(seconds),
            Step::SetBack(seconds) => self.advance_time(-seconds),
            Step::Join(process, count) => self.ask(process, count, Vec::new()).await,
            Step::AskAgain(process) => self.ask(process, 0, Vec::new()).await,
            Step::Leave(process) => {
                let owner = self.processes[usize::from(process) % 4].0;
                let leave = self.waiting.iter().rposition(|ticket| ticket.owner == owner);
                let leave = leave.map(|at| self.waiting.swap_remove(at));
                self.ask(process, 0, leave.into_iter().collect()).await;
            }
            Step::Finish(at, part) => {
                if self.running.is_empty() {
                    return;
                }
                let (ended, start) = self.running.swap_remove(usize::from(at) % self.running.len());
                self.stamps.push(start + (self.true_time - start) * part);
                self.store.defer(DeferredWrite::EndCall(READ, ended));
                if self.store.is_shared() {
                    self.store.flush().await.unwrap();
                }
            }
            Step::Die(process, part) => {
                let owner = self.processes[usize::from(process) % 4].0;
                let (dead, alive) = self
                    .running
                    .drain(..)
                    .partition::<Vec<_>, _>(|(ticket, _)| ticket.owner == owner);
                self.running = alive;
                self.stamps.extend(dead.into_iter().map(|(_, start)| start + LEASE * part));
                // A memory store dies with its process. The closest case is a call that never ends.
                if self.store.is_shared() {
                    self.waiting.retain(|ticket| ticket.owner != owner);
                    self.processes[usize::from(process) % 4] = (owner + 4, 0);
                }
            }
            Step::Hold(seconds) => self.store.block_window(READ, seconds).await.unwrap(),
        }
        self.expire_overdue();
    }

    /// Ends calls that are older than their lease. Real calls have a shorter time-out.
    fn expire_overdue(&mut self) {
        let late = self.true_time - LEASE;
        let (over, on) = self.running.drain(..).partition::<Vec<_>, _>(|(_, start)| *start <= late);
        self.running = on;
        for (ticket, start) in over {
            self.stamps.push(start + LEASE);
            self.store.defer(DeferredWrite::EndCall(READ, ticket));
        }
    }

    async fn ask(&mut self, process: u8, count: u8, leave: Vec<Ticket>) {
        let (owner, next) = &mut self.processes[usize::from(process) % 4];
        let count = if self.waiting.len() < 20 { count } else { 0 };
        self.waiting.extend((*next..*next + u64::from(count)).map(|number| ticket(*owner, number)));
        let join = (*next..*next + u64::from(count))
            .map(|number| QueueEntry { ticket: ticket(*owner, number), slot_request: None })
            .collect();
        *next += u64::from(count);
        let request =
            AdmissionRequest { join, leave, call_lease: LEASE, ..admission_request(READ, *owner) };
        let answer = match self.store.try_admit_now(&request) {
            Some(answer) => answer,
            None => self.store.request_admission(request).await.unwrap(),
        };
        self.waiting.retain(|ticket| !answer.granted.contains(ticket));
        self.running.extend(answer.granted.into_iter().map(|ticket| (ticket, self.true_time)));
    }

    fn check(mut self, rates: &[Rate]) -> usize {
        self.stamps.extend(self.running.iter().map(|(_, start)| *start));
        self.stamps.sort_by(f64::total_cmp);
        for rate in rates {
            let count = rate.count as usize;
            for (first, beyond) in self.stamps.iter().zip(self.stamps.iter().skip(count)) {
                assert!(beyond - first >= rate.per, "{} calls in {} s", count + 1, beyond - first);
            }
        }
        self.stamps.len()
    }
}

fn steps(longest: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0.0..6.0).prop_map(Step::Pass),
        1 => (0.0..300.0).prop_map(Step::SetBack),
        4 => (any::<u8>(), 1..4_u8).prop_map(|(process, count)| Step::Join(process, count)),
        4 => any::<u8>().prop_map(Step::AskAgain),
        1 => any::<u8>().prop_map(Step::Leave),
        4 => (any::<u16>(), 0.0..=1.0).prop_map(|(at, part)| Step::Finish(at, part)),
        1 => (any::<u8>(), 0.0..=1.0).prop_map(|(process, part)| Step::Die(process, part)),
        1 => (0.0..9.0).prop_map(Step::Hold),
    ];
    proptest::collection::vec(step, 1..longest)
}

fn run_property(cases: u32, make: impl AsyncFn() -> StoreFixture) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let run = |steps: Vec<Step>| {
        runtime.block_on(async {
            let mut simulation = Simulation::open(make().await).await;
            for step in &steps {
                simulation.step(step).await;
            }
            simulation.check(&limits().read);
        });
        Ok(())
    };
    runner.run(&steps(120), run).unwrap();
}

#[test]
fn memory_breaks_no_window() {
    run_property(500, async || StoreFixture::memory().await);
}

#[test]
fn sqlite_breaks_no_window() {
    run_property(25, async || StoreFixture::sqlite().await);
}

#[test]
fn redis_breaks_no_window() {
    let Some(redis) = Redis::start(&[]) else { return };
    run_property(40, async || StoreFixture::redis(&redis).await);
}

/// Simulates random events until the service has counted `admissions` calls. Returns the count.
fn simulate(admissions: usize) -> usize {
    let rates = vec![Rate::new(10, 10.0).unwrap(), Rate::new(40, 60.0).unwrap()];
    let key = QuotaKey { host: "h".into(), tenant: "t".into(), application: "a".into() };
    let mut settings = StoreSettings::new(&key, &limits(), Clock::new());
    settings.limits.read.clone_from(&rates);
    let time = Arc::new(std::sync::Mutex::new(1e6));
    let reader = time.clone();
    settings.now = Some(Arc::new(move || *reader.lock().unwrap()));
    let mut simulation = Simulation::new(Arc::new(MemoryStore::new(settings)), None, time);
    let mut random = fastrand::Rng::with_seed(7);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        while simulation.stamps.len() < admissions {
            let step = match random.u32(0..1000) {
                0 => Step::SetBack(random.f64() * 1000.0),
                1 => Step::Die(random.u8(..), random.f64()),
                2 => Step::Hold(random.f64() * 5.0),
                3..=20 => Step::Leave(random.u8(..)),
                21..=300 => Step::Pass(random.f64() * 4.0),
                301..=500 => Step::Join(random.u8(..), 1),
                501..=700 => Step::AskAgain(random.u8(..)),
                _ => Step::Finish(random.u16(..), random.f64()),
            };
            simulation.step(&step).await;
        }
    });
    simulation.check(&rates)
}

#[test]
fn no_window_is_broken_in_many_admissions() {
    assert!(simulate(100_000) >= 100_000);
}

#[test]
#[ignore = "takes minutes: run with --release -- --ignored ten_million"]
fn no_window_is_broken_in_ten_million_admissions() {
    println!("{} admissions, no window broken", simulate(10_000_000));
}
