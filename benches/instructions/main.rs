//! Runs one case a number of times, for `count.py` to count its instructions: `instructions CASE
//! ROUNDS`. The difference between two numbers of rounds is the cost of the case alone.

mod calls;
mod samples;

use std::hint::black_box;

use mde_live_response::client::encode_submit;
use mde_live_response::error::{Error, Result};
use mde_live_response::model::{Command, MachineAction, decode_entity, decode_page};

/// The actions of the list that is decoded.
const LIST_ITEMS: usize = 1_000;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
    let [case, rounds] = words.as_slice() else {
        println!("usage: instructions CASE ROUNDS; `make counts` runs every case");
        return Ok(());
    };
    let rounds = rounds.parse().map_err(|_| Error::invalid("ROUNDS is not a number"))?;
    match case.as_str() {
        "encode_submit" => encode_submits(rounds),
        "decode_action" => decode_actions(rounds),
        "decode_list" => decode_lists(rounds),
        "admission_memory" => calls::admit(rounds, "memory:"),
        "admission_sqlite" => calls::admit_from_file(rounds),
        "status_read" => calls::read_statuses(rounds),
        _ => Err(Error::invalid(format!("there is no case {case}"))),
    }
}

fn encode_submits(rounds: usize) -> Result<()> {
    let machine = format!("{:040x}", 42);
    let commands = [
        Command::put_file("helper.exe")?,
        Command::run_script("triage.ps1", Some("-Case 42 -Path \"C:\\Program Files\""))?,
        Command::get_file(r"C:\Temp\triage.zip")?,
    ];
    for _ in 0..rounds {
        let call = encode_submit(black_box(&machine), black_box(&commands), "case 42");
        black_box(call.body.in_memory_bytes());
    }
    Ok(())
}

fn decode_actions(rounds: usize) -> Result<()> {
    let body = samples::action(0);
    for _ in 0..rounds {
        black_box(decode_entity::<MachineAction>(black_box(body.as_bytes()))?);
    }
    Ok(())
}

fn decode_lists(rounds: usize) -> Result<()> {
    let body = samples::list(LIST_ITEMS);
    for _ in 0..rounds {
        black_box(decode_page::<MachineAction>(black_box(body.as_bytes()))?);
    }
    Ok(())
}
