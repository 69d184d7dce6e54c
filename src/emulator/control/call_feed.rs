//! The calls that ended, one after the other, for a caller that shows each as it ends.
//!
//! The request log has a feed only if somebody asked for it, so it costs nothing otherwise.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use crate::emulator::control::fault::FaultKind;

/// How many ended calls wait to be taken. Beyond that, the oldest are only counted.
const MAX_WAITING: usize = 10_000;

/// What the request log has of a call that ended.
#[derive(Clone, Debug, Serialize)]
pub struct CallLine {
    /// Emulated time of arrival.
    pub time: String,
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// A number, "closed" or "dropped".
    pub status: Value,
}

/// A call that ended.
#[derive(Clone, Debug, Serialize)]
pub struct EndedCall {
    #[serde(flatten)]
    pub line: CallLine,
    /// Seconds of wall time from its arrival to its end.
    pub seconds: f64,
    #[serde(flatten)]
    pub notes: CallNotes,
}

/// What was noted of a call while it was served.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CallNotes {
    /// The name of the machine that it is about.
    pub machine: Option<String>,
    pub fault: Option<FaultKind>,
    /// The rules that it broke.
    pub broken: Vec<&'static str>,
}

/// The calls that ended since they were last taken.
#[derive(Debug, Default)]
pub struct CallFeed {
    running: HashMap<u64, (Instant, CallNotes)>,
    ended: VecDeque<EndedCall>,
    missed: u64,
}

impl CallFeed {
    pub fn arrive(&mut self, number: u64) {
        self.running.insert(number, (Instant::now(), CallNotes::default()));
    }

    /// Returns the notes of a call that runs.
    pub fn notes(&mut self, number: u64) -> Option<&mut CallNotes> {
        self.running.get_mut(&number).map(|(_, notes)| notes)
    }

    /// Records the end of a call. One that the log no longer has is not shown.
    pub fn end(&mut self, number: u64, line: Option<CallLine>) {
        let (Some((arrived, notes)), Some(line)) = (self.running.remove(&number), line) else {
            return;
        };
        let seconds = arrived.elapsed().as_secs_f64();
        self.ended.push_back(EndedCall { line, seconds, notes });
        if self.ended.len() > MAX_WAITING {
            self.ended.pop_front();
            self.missed += 1;
        }
    }

    /// Returns the calls that ended since this was last called, oldest first, and how many more
    /// there were.
    pub fn take(&mut self) -> (Vec<EndedCall>, u64) {
        (std::mem::take(&mut self.ended).into(), std::mem::take(&mut self.missed))
    }
}
