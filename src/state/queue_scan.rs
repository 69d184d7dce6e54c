//! The scan along a line: who of it may go. The stores differ in where the line lies, not in this.

use std::collections::HashSet;

use super::store::{SlotRequest, Ticket};

/// A process that does not ask within this after the time it was told holds nobody up any longer.
pub const OWNER_GRACE: f64 = 1.0;
/// And after this it is dead: its places in line fall free.
pub const OWNER_LEASE: f64 = 10.0;
/// A process whose waiters wait longer asks again after this, to keep their places.
pub const RENEWAL_INTERVAL: f64 = 3.0;
/// Between two statuses for a slot or a machine that another process may have freed.
pub const SLOT_POLL_INTERVAL: f64 = 1.0;
/// Beyond a window's length, so that no rounding of a time breaks it.
pub const WINDOW_MARGIN: f64 = 0.001;
/// Beyond a call's lease, until a slot of which no POST was noted falls free.
pub const UNPOSTED_GRACE: f64 = 30.0;

/// What is known of the machine of an slot_request.
#[derive(Clone, Debug, PartialEq)]
pub enum MachineState {
    Free,
    /// The same intent has a slot of which nothing is known: whoever has its turn may have it.
    SameIntent,
    Busy(Option<String>),
}

/// One scan from the head of a line on.
pub struct QueueScan {
    owner: u64,
    room: usize,
    free: usize,
    /// Machines of those that could go.
    claimed: HashSet<String>,
    /// Those that could go, as far as it got.
    eligible: usize,
    pub granted: Vec<Ticket>,
    pub occupied: Vec<(Ticket, Option<String>)>,
    /// How many others that could go are before the first of mine that only lacks room.
    pub ahead: Option<usize>,
    /// One of mine waits for a slot or a machine.
    pub blocked: bool,
}

impl QueueScan {
    /// `room` calls may start now, and `free` sessions.
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

    /// The next in line, and for an slot_request what is known of its machine. Tells whether to walk on.
    pub fn step(
        &mut self,
        ticket: Ticket,
        slot_request: Option<(&SlotRequest, MachineState)>,
    ) -> bool {
        let mine = ticket.owner == self.owner;
        let is_submit = slot_request.is_some();
        if let Some((slot_request, machine)) = slot_request {
            match machine {
                MachineState::Busy(action_id) if mine && !slot_request.wait => {
                    self.occupied.push((ticket, action_id));
                    return true;
                }
                MachineState::Busy(_) => return self.keep_waiting(mine),
                MachineState::Free if self.free == 0 => return self.keep_waiting(mine),
                _ if self.claimed.contains(&slot_request.machine_id) => {
                    return self.keep_waiting(mine);
                }
                MachineState::Free => self.free -= 1,
                MachineState::SameIntent => {}
            }
            self.claimed.insert(slot_request.machine_id.clone());
        }
        if self.eligible < self.room {
            if mine {
                self.granted.push(ticket);
            }
        } else if mine && self.ahead.is_none() {
            self.ahead = Some(self.eligible - self.granted.len());
        }
        self.eligible += 1;
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
    fn a_busy_machine_holds_nobody_up_and_is_told_to_who_would_not_wait() {
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
    fn room_and_slots_are_kept_for_who_came_first() {
        let mut scan = QueueScan::new(1, 1, 1);
        scan.step(ticket(2, 0), Some((&slot_request("a", true), MachineState::Free)));
        scan.step(ticket(1, 0), Some((&slot_request("b", true), MachineState::Free)));
        scan.step(ticket(1, 1), Some((&slot_request("c", true), MachineState::SameIntent)));
        assert!(scan.granted.is_empty() && scan.blocked);
        assert_eq!(scan.ahead, Some(1), "a slot of its own, behind one for the window");
        let mut reads = QueueScan::new(1, 1, 0);
        assert!(reads.step(ticket(1, 0), None));
        assert!(!reads.step(ticket(1, 1), None), "the rest of the line is of no interest");
        assert_eq!((reads.granted.len(), reads.ahead), (1, Some(0)));
    }
}
