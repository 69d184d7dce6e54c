//! Counts the open sessions of each application.

use foldhash::HashMap;

/// The open sessions by application. The session cap of the tenant is checked against their sum.
#[derive(Debug, Default)]
pub struct SessionCounts(HashMap<u32, OpenCount>);

#[derive(Clone, Copy, Debug, Default)]
struct OpenCount {
    /// Pending or running.
    open: u32,
    running: u32,
}

impl SessionCounts {
    /// Counts a new session, which is pending.
    pub fn add_open(&mut self, application: u32) {
        self.0.entry(application).or_default().open += 1;
    }

    /// Counts a new session that runs already.
    pub fn add_running(&mut self, application: u32) {
        self.add_open(application);
        self.mark_running(application);
    }

    /// Counts a pending session as running.
    pub fn mark_running(&mut self, application: u32) {
        self.0.entry(application).or_default().running += 1;
    }

    /// Removes a session that has ended.
    pub fn remove(&mut self, application: u32, running: bool) {
        let count = self.0.entry(application).or_default();
        count.open = count.open.saturating_sub(1);
        if running {
            count.running = count.running.saturating_sub(1);
        }
    }

    /// Returns the open sessions of one application, or of the tenant.
    pub fn open(&self, application: Option<u32>) -> u32 {
        self.sum(application, |count| count.open)
    }

    /// Returns the running sessions of one application, or of the tenant.
    pub fn running(&self, application: Option<u32>) -> u32 {
        self.sum(application, |count| count.running)
    }

    fn sum(&self, application: Option<u32>, field: fn(&OpenCount) -> u32) -> u32 {
        match application {
            Some(application) => self.0.get(&application).map_or(0, field),
            None => self.0.values().map(field).sum(),
        }
    }
}

/// The application index of sessions that other applications opened.
pub const FOREIGN_APPLICATION: u32 = u32::MAX;
