//! The names of the machines of a run, for outcomes without a session.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::model::is_machine_id;
use crate::state::run_store::RowState;

/// The full names by row, as far as this process has read them from the list of machines.
#[derive(Default)]
pub struct MachineNames(Mutex<HashMap<u32, Box<str>>>);

impl MachineNames {
    pub fn record(&self, rows: &[u32], name: Option<&str>) {
        let Some(name) = name.filter(|name| !name.trim().is_empty()) else { return };
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.extend(rows.iter().map(|row| (*row, name.into())));
    }

    /// Returns the full name of the machine of a row.
    pub fn get(&self, state: &RowState) -> Option<String> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = names.get(&state.row) {
            return Some(name.to_string());
        }
        // Only a full name has a dot, and the machine that was found has the name that was given.
        let is_full_name = state.machine.contains('.') && !is_machine_id(state.machine.trim());
        (is_full_name && state.machine_id.is_some()).then(|| state.machine.trim().to_owned())
    }
}
