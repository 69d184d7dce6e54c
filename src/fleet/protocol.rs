//! The messages between the scheduler and its row tasks.

use super::outcome::Outcome;
use crate::error::Error;
use crate::session::SessionResult;
use crate::state::run_store::Unreached;

/// A request of the scheduler to a running row task.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ControlRequest {
    #[default]
    Continue,
    /// Free the slot if the session is still Pending.
    Park,
    /// Submit nothing more. With a comment, also cancel the session.
    Stop(Option<String>),
}

/// How far a row task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowEvent {
    /// The submit left the admission queue.
    Admitted,
    Pending,
    Running,
    /// The session was to be parked and could not be cancelled.
    ParkFailed,
}

/// How a row task ended.
#[derive(Debug)]
pub enum RowExit {
    Done(Box<Outcome>, Option<Box<SessionResult>>),
    /// The session did not end, and a later try may succeed.
    Retry(Error),
    /// The session was cancelled while Pending, to free its slot.
    Parked,
    /// The machine was not reached. It has this outcome if it is never reached.
    Unreached(Box<(Outcome, Option<SessionResult>, Unreached)>),
    /// The results of a row that has its outcome were fetched again. None: that was not possible.
    Refetched(Option<Box<(Outcome, SessionResult)>>),
    /// The whole run cannot continue. The row did not cause this.
    RunFailed(Error),
}
