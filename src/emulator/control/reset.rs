//! Goes back to the emulator as it was configured, without what clients did.

use crate::emulator::Emulator;

impl Emulator {
    /// Forgets sessions, their results, requests, counters, violations, faults and used quota.
    ///
    /// The address, tokens, machines, library, scripts, files and switches stay, and the clock
    /// keeps its time. Sessions of other callers end too.
    pub fn reset(&self) {
        let mut state = self.lock_state();
        state.actions.clear();
        state.events = Default::default();
        state.session_counts = Default::default();
        state.results.clear();
        state.quotas = Default::default();
        state.early_reads.clear();
        state.faults.clear();
        state.raw_properties.forget_actions();
        state.machines.forget_sessions();
        state.log.clear();
        state.submits.clear();
    }
}
