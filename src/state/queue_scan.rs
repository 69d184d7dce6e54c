//! Decides which tickets of a queue may start. Used by the memory and SQLite stores.
//!
//! The same code in Lua is `step` in redis/queue.lua.

use std::collections::HashSet;

use super::admission::{SlotRequest, Ticket};

/// Seconds after its deadline to ask again at which a process stops blocking others.
pub const OWNER_GRACE: f64 = 1.0;
/// Seconds after its deadline at which a process counts as dead and loses its places in the queue.
pub const OWNER_LEASE: f64 = 10.0;
/// Seconds after which a process asks again to keep its places, if its waiters wait longer.
pub const RENEWAL_INTERVAL: f64 = 3.0;
/// Seconds between two requests for a slot or a machine that another process may free.
pub const SLOT_POLL_INTERVAL: f64 = 1.0;
/// Seconds added to the length of a window, so that rounding never lets a call in too early.
pub const WINDOW_MARGIN: f64 = 0.001;
/// Seconds after the call's lease at which a slot without a recorded POST is freed.
pub const UNPOSTED_GRACE: f64 = 30.0;

/// The state of the machine that a slot request is for.
#[derive(Clone, Debug, PartialEq)]
pub enum MachineState {
    Free,
    /// The same intent holds the slot and no action is known. The holder of its lease may reuse it.
    SameIntent,
    /// Another session is on the machine; its action, if it is known.
    Busy(Option<String>),
}

/// One scan of a queue, from its head.
pub struct QueueScan {
    owner: u64,
    room: usize,
    free: usize,
    /// Machines of the tickets that could start.
    claimed: HashSet<String>,
    /// How many tickets could start, of all processes.
    eligible: usize,
    /// Tickets of this process that start now.
    pub granted: Vec<Ticket>,
    /// Tickets of this process that do not wait for their busy machine.
    pub occupied: Vec<(Ticket, Option<String>)>,
    /// How many tickets of others could start before the first of this process that only lacks
    /// room.
    pub ahead: Option<usize>,
    /// A ticket of this process waits for a slot or a machine.
    pub blocked: bool,
}

impl QueueScan {
    /// Starts a scan in which `room` calls may start and `free` slots are left.
    pub fn new(owner: u64, room: usize, free: usize) -> Self {
        Self {
            owner,
            room,
            free,
            claimed: HashSet::new(),
            eligible: 0,
            granted: Vec::new(),
            occupied: Vec::new(),
            ahead: None,
            blocked: false,
        }
    }

    /// Visits the next ticket of the queue, with the state of its machine if it is a submit.
    ///
    /// Returns whether the rest of the queue still matters.
    pub fn step(
        &mut self,
        ticket: Ticket,
        slot_request: Option<(&SlotRequest, MachineState)>,
    ) -> bool {
        let mine = ticket.owner == self.owner;
        let is_submit = slot_request.is_some();
        if let Some((slot_request, machine)) = slot_request {
            match machine {
                // Only its own process can answer a ticket, so the other tickets wait.
                MachineState::Busy(action_id) if mine && !slot_request.wait => {
                    self.occupied.push((ticket, action_id));
                    return true;
                }
                MachineState::Busy(_) => return self.keep_waiting(mine),
                MachineState::Free if self.free == 0 => return self.keep_waiting(mine),
                // An earlier ticket gets the machine in this scan.
                _ if self.claimed.contains(&slot_request.machine_id) => {
                    return self.keep_waiting(mine);
                }
                MachineState::Free => self.free -= 1,
                // The slot is counted already: a process took over the intent of a dead one.
                MachineState::SameIntent => {}
            }
            self.claimed.insert(slot_request.machine_id.clone());
        }
        // Tickets of other processes use up room and slots here too, though only their own process
        // can grant them: a later ticket must not overtake them.
        if self.eligible < self.room {
            if mine {
                self.granted.push(ticket);
            }
        } else if mine && self.ahead.is_none() {
            self.ahead = Some(self.eligible - self.granted.len());
        }
        self.eligible += 1;
        // After a read that lacks room, every later read lacks it too. But a later submit may
        // refuse to wait for its busy machine, and must get its answer.
        is_submit || self.ahead.is_none()
    }

    fn keep_waiting(&mut self, mine: bool) -> bool {
        self.blocked |= mine;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot_request(machine: &str, wait: bool) -> SlotRequest {
        SlotRequest { machine_id: machine.into(), correlation_id: "c".into(), lease: 1.0, wait }
    }

    fn ticket(owner: u64, number: u64) -> Ticket {
        Ticket { owner, number }
    }

    #[test]
    fn a_busy_machine_blocks_no_one_and_is_reported_without_wait() {
        let mut scan = QueueScan::new(1, 5, 5);
        assert!(
            scan.step(ticket(1, 0), Some((&slot_request("a", true), MachineState::Busy(None))))
        );
        scan.step(
            ticket(1, 1),
            Some((&slot_request("a", false), MachineState::Busy(Some("x".into())))),
        );
        scan.step(ticket(1, 2), Some((&slot_request("b", false), MachineState::Free)));
        assert_eq!(scan.granted, [ticket(1, 2)]);
        assert_eq!(scan.occupied, [(ticket(1, 1), Some("x".to_owned()))]);
        assert!(scan.blocked && scan.ahead.is_none());
    }

    #[test]
    fn room_and_slots_are_reserved_in_order_of_arrival() {
        let mut scan = QueueScan::new(1, 1, 1);
        scan.step(ticket(2, 0), Some((&slot_request("a", true), MachineState::Free)));
        scan.step(ticket(1, 0), Some((&slot_request("b", true), MachineState::Free)));
        scan.step(ticket(1, 1), Some((&slot_request("c", true), MachineState::SameIntent)));
        assert!(scan.granted.is_empty() && scan.blocked);
        assert_eq!(scan.ahead, Some(1), "it has its slot, but one ticket is ahead for the window");
        let mut reads = QueueScan::new(1, 1, 0);
        assert!(reads.step(ticket(1, 0), None));
        assert!(!reads.step(ticket(1, 1), None), "the rest of the queue does not matter");
        assert_eq!((reads.granted.len(), reads.ahead), (1, Some(0)));
    }

    #[test]
    fn the_lua_script_has_the_same_constants() {
        let script = include_str!("redis/base.lua");
        let values = |names: &str| -> Vec<f64> {
            let (_, rest) = script.split_once(&format!("local {names} = ")).unwrap();
            let line = rest.lines().next().unwrap();
            line.split(", ").map(|value| value.parse().unwrap()).collect()
        };
        assert_eq!(
            values("WINDOW_MARGIN, OWNER_GRACE, OWNER_LEASE"),
            [WINDOW_MARGIN, OWNER_GRACE, OWNER_LEASE]
        );
        assert_eq!(
            values("RENEWAL_INTERVAL, SLOT_POLL_INTERVAL, UNPOSTED_GRACE"),
            [RENEWAL_INTERVAL, SLOT_POLL_INTERVAL, UNPOSTED_GRACE]
        );
    }
}
