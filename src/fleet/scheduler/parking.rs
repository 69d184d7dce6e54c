//! Parking of Pending sessions, to free their slots for other machines.

use super::Scheduler;
use crate::error::Result;
use crate::fleet::protocol::ControlRequest;

impl Scheduler {
    /// Parks Pending sessions if rows wait and few slots are free.
    pub(super) async fn park_pending_sessions(&mut self) -> Result<()> {
        if !self.table.needs_slot() || self.stop().is_some() {
            return Ok(());
        }
        let limits = &self.shared.sessions.pipeline.options.limits;
        // Enough free slots for one burst of submits, so that parking never delays a submit. At
        // most a quarter of all slots, so that most Pending sessions keep theirs.
        let sessions = limits.sessions as usize;
        let burst = limits.submit.iter().map(|rate| rate.count as usize).min().unwrap_or(sessions);
        let wanted = burst.min(sessions / 4).max(1);
        let free = sessions.saturating_sub(self.shared.quota.store().slots().await?.len());
        for row in
            self.table.choose_rows_to_park(free, wanted, limits.queue_time, self.shared.now())
        {
            if let Some(active) = self.active.get(&row) {
                active.control.send_replace(ControlRequest::Park);
            }
        }
        Ok(())
    }
}
