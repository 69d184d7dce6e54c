//! What the service lists about live response actions: the open ones, and those with our tag.

use super::{Sessions, Tag};
use crate::client::odata_literal;
use crate::error::Result;
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
        let settle_time = self.pipeline.options.limits.settle_time;
        let mut before = 0.0;
        SETTLE_SCHEDULE.into_iter().map(move |at| {
            let pause = (at - before) * settle_time;
            before = at;
            pause
        })
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

    /// Returns the id of the action that runs on the machine now, if the service lists one.
    pub(super) async fn find_active_action(&self, machine_id: &str) -> Result<Option<String>> {
        let open = self.list_open_actions(Some(machine_id)).await?;
        Ok(open.into_iter().next().map(|action| action.id))
    }

    /// Lists the machine's live response actions that have `tag`, oldest first.
    pub(super) async fn list_tagged(
        &self,
        machine_id: &str,
        tag: &Tag,
    ) -> Result<Vec<MachineAction>> {
        let mut actions =
            self.pipeline.list_machine_actions(Some(&machine_filter(machine_id)), None).await?;
        actions.retain(|action| tag.matches(action));
        actions.reverse();
        Ok(actions)
    }
}

fn machine_filter(machine_id: &str) -> String {
    format!("type eq 'LiveResponse' and machineId eq {}", odata_literal(machine_id))
}
