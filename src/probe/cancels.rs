//! What the records of cancelled sessions show.

use super::history::is_open;
use super::observations::Observations;
use crate::model::MachineAction;

pub(super) fn read_cancels(actions: &[MachineAction], evidence: &mut Observations) {
    for action in actions {
        read_cancel(action, evidence);
    }
}

fn read_cancel(action: &MachineAction, evidence: &mut Observations) {
    let Some(requested) = action.cancellation_date_time_utc else { return };
    if is_open(action) {
        evidence.add("cancel_fields_at_once", true);
        return;
    }
    let Some(ended) = action.last_update_date_time_utc.filter(|ended| *ended >= requested) else {
        return;
    };
    let seconds = ended.to_unix() - requested.to_unix();
    let started = action.commands.iter().filter_map(|command| command.start_time).min();
    let was_running = started.is_some_and(|started| started <= requested);
    match (action.status.as_str(), was_running) {
        ("Cancelled", true) => {
            evidence.add("cancel_loses", false);
            evidence.add_duration("cancel_time", seconds);
        }
        ("Cancelled", false) => evidence.add_duration("cancel_pending_time", seconds),
        ("Succeeded", true) if ended > requested => evidence.add("cancel_loses", true),
        _ => {}
    }
}
