//! How many sessions are open, and whose.

use std::collections::HashMap;

/// Sessions that are open, by application.
#[derive(Debug, Default)]
pub struct SessionCounts(HashMap<u32, Count>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    open: u32,
    running: u32,
}

impl SessionCounts {
    pub fn add_open(&mut self, application: u32) {
        self.0.entry(application).or_default().open += 1;
    }

    /// A session that runs from the start.
    pub fn add_running(&mut self, application: u32) {
        self.add_open(application);
        self.mark_running(application);
    }

    pub fn mark_running(&mut self, application: u32) {
        self.0.entry(application).or_default().running += 1;
    }

    pub fn remove(&mut self, application: u32, running: bool) {
        let count = self.0.entry(application).or_default();
        count.open = count.open.saturating_sub(1);
        if running {
            count.running = count.running.saturating_sub(1);
        }
    }

    pub fn open(&self, application: Option<u32>) -> u32 {
        self.sum(application, |count| count.open)
    }

    pub fn running(&self, application: Option<u32>) -> u32 {
        self.sum(application, |count| count.running)
    }

    /// Of one application, or of the whole tenant.
    fn sum(&self, application: Option<u32>, of: fn(&Count) -> u32) -> u32 {
        match application {
            Some(application) => self.0.get(&application).map_or(0, of),
            None => self.0.values().map(of).sum(),
        }
    }
}

/// The application number of sessions that others opened.
pub const FOREIGN_APPLICATION: u32 = u32::MAX;
