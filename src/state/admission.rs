//! Admission to the rate windows: one queue for each window, shared by all processes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::StoreFuture;
use crate::operation::Operation;

/// Decides which calls may start. Every window has its own first-come, first-served queue.
pub trait AdmissionStore: Send + Sync {
    /// Adds `request.join` to the queue, removes `request.leave`, and grants what may start now.
    ///
    /// A granted ticket is out of the queue and its call counts as running; for a submit, its slot
    /// and its machine are taken too. The caller must then defer
    /// [`EndCall`](super::store::DeferredWrite::EndCall), or name the ticket in `leave` if it sends
    /// nothing. Repeat the request with `is_retry` set if an answer was lost: nothing is granted or
    /// queued twice.
    fn request_admission(&self, request: AdmissionRequest) -> StoreFuture<'_, AdmissionResponse>;

    /// Does the same without waiting. Returns `None` if the store is outside this process.
    fn try_admit_now(&self, _request: &AdmissionRequest) -> Option<AdmissionResponse> {
        None
    }

    /// Blocks the window for `seconds`, because the service answered 429 with Retry-After.
    ///
    /// Afterwards nothing is granted for the window until the time is over. A shorter block never
    /// replaces a longer one.
    fn block_window(&self, window: Operation, seconds: f64) -> StoreFuture<'_, ()>;

    /// Returns how full the window is. Changes nothing.
    fn window_usage(&self, window: Operation) -> StoreFuture<'_, WindowUsage>;
}

/// A place in a queue, and later the call that was granted for it.
///
/// Unique among all processes: a random number drawn by the process, and a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    pub owner: u64,
    pub number: u64,
}

/// The session slot and the machine that a submit needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotRequest {
    pub machine_id: String,
    pub correlation_id: String,
    /// Seconds after which the service has ended the session for certain.
    pub lease: f64,
    /// Wait while one of our own sessions is on the machine, instead of failing.
    pub wait: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct QueueEntry {
    pub ticket: Ticket,
    /// Set for a submit, and for nothing else.
    pub slot_request: Option<SlotRequest>,
}

/// One process's request for one queue, for all its waiters at once.
#[derive(Clone, Debug)]
pub struct AdmissionRequest {
    pub window: Operation,
    pub owner: u64,
    /// Seconds after which a call has ended, or its process is dead.
    pub call_lease: f64,
    /// New waiters, in order of arrival.
    pub join: Vec<QueueEntry>,
    /// An earlier answer was lost: entries of `join` may already be queued or granted.
    pub is_retry: bool,
    /// Waiters that gave up. A ticket that was granted but never used is given back.
    pub leave: Vec<Ticket>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdmissionResponse {
    /// Tickets whose calls may start now and count from now on.
    pub granted: Vec<Ticket>,
    /// Tickets dropped because their machine is busy and they do not wait, with the action on the
    /// machine if it is known.
    pub occupied: Vec<(Ticket, Option<String>)>,
    /// The store did not know the process: it did not ask for longer than its lease and lost its
    /// places.
    pub owner_unknown: bool,
    /// The store may have lost its record of open sessions. Nothing is submitted until
    /// [`record_check`](super::store_check::CheckedStore::record_check) restores it.
    pub sessions_unknown: bool,
    /// Seconds until it is worth asking again. Infinite if nobody waits, or if only a change in
    /// this process can help.
    pub wait: f64,
}

/// How full a window is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowUsage {
    /// The free part of the fullest rate, from 0 to 1.
    pub free_share: f64,
    /// Seconds until there may be room for the next caller in the queue.
    pub wait: f64,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.owner, self.number)
    }
}

impl Ticket {
    /// Reads a ticket as [`Display`](fmt::Display) writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let (owner, number) = text.split_at_checked(16)?;
        Some(Self {
            owner: u64::from_str_radix(owner, 16).ok()?,
            number: u64::from_str_radix(number, 16).ok()?,
        })
    }
}
