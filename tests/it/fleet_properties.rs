//! Random fleets and random faults, each of a seed: one outcome a row, nothing run twice, no rule broken, and an end.

use fastrand::Rng;
use mde_live_response::config::Limits;
use mde_live_response::emulator::{
    Compression, ForeignAnswer, NewMachine, ScriptOutcome, Settings, Switches, Violations,
};
use mde_live_response::fleet::{Fleet, Order};

use crate::fleet_support::*;
use crate::support::{HOUR, World, run, sleep, within};

/// Seeds of the short form. `MDE_LIVE_RESPONSE_FLEETS` sets another number, and `_SEED` the first.
const FLEETS: u64 = 1_000;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn limits(rng: &mut Rng) -> Limits {
    Limits { sessions: rng.u32(2..6), queue_time: 600.0, script_time: 120.0, settle_time: 60.0, ..Limits::default() }
}

fn switches(rng: &mut Rng) -> Switches {
    let mut maybe = |chance: f64, most: f64| if rng.f64() < chance { rng.f64() * most } else { 0.0 };
    Switches {
        fault_rate: maybe(0.5, 0.1),
        list_lag: maybe(0.3, 20.0),
        fresh_404: maybe(0.3, 20.0),
        null_first_body: maybe(0.3, 10.0),
        result_lag: maybe(0.3, 5.0),
        busy_after_cancel: maybe(0.3, 60.0),
        null_first_comment: maybe(0.3, 1.0) > 0.0,
        cancel_loses: maybe(0.2, 1.0) > 0.0,
        cancel_fields_at_once: maybe(0.2, 1.0) == 0.0,
        compression: Compression::None,
        ..Switches::default()
    }
}

fn populate(world: &World, rng: &mut Rng) -> Vec<String> {
    let mut rows = Vec::new();
    for number in 0..rng.usize(1..9) {
        let name = format!("m-{number}.example.test");
        let machine = NewMachine { online: rng.f64() < 0.7, ..NewMachine::named(&name) };
        let id = world.emulator.add_machine(machine).unwrap().id;
        if rng.f64() < 0.1 {
            let _ = world.emulator.add_foreign_session(&id, rng.f64() * 900.0, rng.bool(), ForeignAnswer::Error);
        }
        rows.push(if rng.bool() { id.clone() } else { name });
        if rng.f64() < 0.1 {
            rows.push(id);
        }
    }
    if rng.f64() < 0.1 {
        rows.push("nobody".to_owned());
    }
    rng.shuffle(&mut rows);
    rows
}

async fn one(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let limits = limits(&mut rng);
    let settings =
        Settings { machines: 0, seed, switches: switches(&mut rng), limits: limits.clone(), ..Settings::default() };
    let world = World::with(settings);
    let duration = rng.f64() * 90.0;
    world.emulator.on_script("echo.ps1", ScriptOutcome { duration, ..ScriptOutcome::default() });
    let rows = populate(&world, &mut rng);
    let count = rows.len();
    let sessions = world.changed(|options| options.limits = limits);
    let order = Order { commands: vec![vec![run("echo.ps1")]], run_id: Some(format!("seed {seed}")), ..order(rows) };
    let mut fleet = start(&sessions, order).await;
    if rng.f64() < 0.3 {
        sleep(rng.f64() * 120.0).await;
        fleet.detach();
        fleet = Fleet::resume(&sessions, &format!("seed {seed}")).await.unwrap();
    }
    if rng.f64() < 0.2 {
        sleep(rng.f64() * 300.0).await;
        fleet.cancel("enough", rng.bool()).await.unwrap();
    }
    let ids = world.emulator.machine_ids();
    let turning = async {
        for _ in 0..3 {
            sleep(rng.f64() * 400.0).await;
            let machine = &ids[rng.usize(..ids.len())];
            world.emulator.set_online(machine, rng.bool()).unwrap();
        }
    };
    let (outcomes, ()) = within(24 * HOUR, async { tokio::join!(fleet.outcomes(), turning) }).await;
    let outcomes = outcomes.unwrap();
    assert_eq!(outcomes.len(), count, "seed {seed}");
    let _ = reasons(&outcomes);
    assert!(outcomes.iter().all(|it| !it.reason.is_empty() && !it.message.is_empty()), "seed {seed}");
    assert_eq!(world.emulator.violations(), Violations::default(), "seed {seed}");
    world.emulator.set_switches(|switches| switches.fault_rate = 0.0);
    let twice: Vec<_> = starts(&world).await.into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "seed {seed}: {twice:?}");
}

/// The first seed of `seeds` whose run breaks a promise.
fn first_broken(seeds: impl Iterator<Item = u64>) -> Option<u64> {
    let holds = |seed: &u64| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(one(*seed)))).is_ok()
    };
    seeds.into_iter().find(|seed| !holds(seed))
}

#[test]
fn random_fleets_with_random_faults() {
    let first = number("MDE_LIVE_RESPONSE_FLEET_SEED", 0);
    let end = first + number("MDE_LIVE_RESPONSE_FLEETS", FLEETS);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let share = |worker| scope.spawn(move || first_broken((first + worker as u64..end).step_by(workers)));
        let shares: Vec<_> = (0..workers).map(share).collect();
        for broken in shares {
            assert_eq!(broken.join().unwrap(), None, "the fleet of this seed");
        }
    });
}
