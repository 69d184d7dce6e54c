//! What the service lists about live response actions: the open ones, and those with our tag.

use super::{Sessions, Tag};
use crate::client::odata_literal;
use crate::error::{Error, Kind, Result};
use crate::model::MachineAction;

/// When to read the list, as fractions of `Limits.settle_time`.
///
/// The first reads follow fast, because in most cases the response was lost after the service
/// acted. Only the last read, at the end of the settle time, proves that there is no action.
const SETTLE_SCHEDULE: [f64; 9] = [
    1.0 / 240.0,
    1.0 / 120.0,
    1.0 / 60.0,
    1.0 / 30.0,
    1.0 / 15.0,
    1.0 / 8.0,
    1.0 / 4.0,
    1.0 / 2.0,
    1.0,
];

impl Sessions {
    /// Returns the pauses, in seconds, between two reads of the list over the settle time.
    pub(super) fn settle_delays(&self) -> impl Iterator<Item = f64> + use<> {
        self.settle_delays_after(0.0)
    }

    /// The same for a POST that began `elapsed` seconds ago: only what is left of the settle time,
    /// and one read in any case.
    pub(super) fn settle_delays_after(&self, elapsed: f64) -> impl Iterator<Item = f64> + use<> {
        let settle_time = self.pipeline.options.limits.settle_time;
        let mut before = elapsed.min(settle_time);
        let at = SETTLE_SCHEDULE.into_iter().map(move |share| share * settle_time);
        at.filter(move |at| *at > elapsed || *at >= settle_time).map(move |at| {
            let pause = at - before;
            before = at;
            pause
        })
    }

    /// Lists the machine's live response actions, open or not, newest first.
    ///
    /// Fails if a record without a usable id has `tag`.
    pub(super) async fn list_actions_on(
        &self,
        machine_id: &str,
        tag: &Tag,
    ) -> Result<Vec<MachineAction>> {
        let filter = machine_filter(machine_id);
        let (actions, skipped) =
            self.pipeline.list_machine_actions_and_skipped(Some(&filter), None).await?;
        // A record of ours without an id must not pass for no record: the submit would be repeated.
        if skipped.iter().any(|raw| tag.is_in(raw)) {
            let message = format!(
                "the service lists our session on machine {machine_id} without a usable id"
            );
            let mut error = Error::new(Kind::Service, message).with_machine(machine_id);
            error.hint = Some("try again: the service may complete the record".to_owned());
            return Err(error);
        }
        Ok(actions)
    }

    /// Lists the open live response actions of one machine, or of all machines.
    pub(super) async fn list_open_actions(
        &self,
        machine_id: Option<&str>,
    ) -> Result<Vec<MachineAction>> {
        let scope = machine_id.map_or_else(|| "type eq 'LiveResponse'".to_owned(), machine_filter);
        let filter = format!("{scope} and (status eq 'Pending' or status eq 'InProgress')");
        self.pipeline.list_machine_actions(Some(&filter), None).await
    }
}

fn machine_filter(machine_id: &str) -> String {
    format!("type eq 'LiveResponse' and machineId eq {}", odata_literal(machine_id))
}
