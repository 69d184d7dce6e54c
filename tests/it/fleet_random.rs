//! Random limits, switches, machines, commands and faults for the tests with random fleets.

use std::sync::atomic::Ordering;

use fastrand::Rng;
use mde_live_response::config::Limits;
use mde_live_response::emulator::{Compression, ForeignSessionResponse, NewMachine, Switches};
use mde_live_response::model::Command;

use crate::network::Outage;
use crate::support::{Fixture, run_script, sleep};

/// The file that random commands collect.
pub const FILE: &str = "C:\\evidence.bin";

pub fn limits(rng: &mut Rng) -> Limits {
    Limits {
        sessions: rng.u32(2..6),
        queue_time: 600.0,
        script_time: 120.0,
        settle_time: 60.0,
        ..Limits::default()
    }
}

pub fn switches(rng: &mut Rng) -> Switches {
    let mut sometimes =
        |chance: f64, max: f64| if rng.f64() < chance { rng.f64() * max } else { 0.0 };
    Switches {
        fault_rate: sometimes(0.5, 0.1),
        list_lag: sometimes(0.3, 20.0),
        fresh_404: sometimes(0.3, 20.0),
        null_first_body: sometimes(0.3, 10.0),
        result_lag: sometimes(0.3, 5.0),
        busy_after_cancel: sometimes(0.3, 60.0),
        null_first_comment: sometimes(0.3, 1.0) > 0.0,
        cancel_loses: sometimes(0.2, 1.0) > 0.0,
        cancel_fields_at_once: sometimes(0.2, 1.0) == 0.0,
        compression: Compression::None,
        ..Switches::default()
    }
}

/// Adds random machines, and returns the rows of a run over them.
pub fn populate(fixture: &Fixture, rng: &mut Rng) -> Vec<String> {
    let mut rows = Vec::new();
    for number in 0..rng.usize(1..9) {
        let name = format!("m-{number}.example.test");
        let machine = NewMachine { online: rng.f64() < 0.7, ..NewMachine::named(&name) };
        let id = fixture.emulator.add_machine(machine).unwrap().id;
        if rng.f64() < 0.1 {
            let _ = fixture.emulator.add_foreign_session(
                &id,
                rng.f64() * 900.0,
                rng.bool(),
                ForeignSessionResponse::Error,
            );
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

pub fn commands(rng: &mut Rng) -> Vec<Command> {
    let mut commands = vec![run_script("echo.ps1"); rng.usize(1..3)];
    if rng.f64() < 0.2 {
        commands.push(Command::get_file(FILE).unwrap());
    }
    commands
}

/// Turns machines on and off, and starts outages. Returns how many submits it delayed.
pub async fn inject_faults(fixture: &Fixture, rng: &mut Rng) -> u64 {
    let mut late = 0;
    let ids = fixture.emulator.machine_ids();
    for _ in 0..3 {
        sleep(rng.f64() * 400.0).await;
        fixture.emulator.set_online(&ids[rng.usize(..ids.len())], rng.bool()).unwrap();
        let chance = rng.f64();
        if chance < 0.1 {
            let outage = [Outage::Everything, Outage::Results, Outage::SignIn][rng.usize(..3)];
            fixture.network.set_outage(outage);
            sleep(rng.f64() * 900.0).await;
            fixture.network.set_outage(Outage::None);
        } else if chance < 0.2 {
            fixture.network.drop_lists.store(true, Ordering::SeqCst);
            sleep(rng.f64() * 300.0).await;
            fixture.network.drop_lists.store(false, Ordering::SeqCst);
        } else if chance < 0.3 {
            fixture.network.submit_delays.lock().unwrap().push_back(rng.f64() * 25.0);
            late += 1;
        }
    }
    late
}
