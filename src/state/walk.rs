//! The walk along a line: who of it may go. The stores differ in where the line lies, not in this.

use std::collections::HashSet;

use super::store::{Errand, Ticket};

/// A process that does not ask within this after the time it was told holds nobody up any longer.
pub const GRACE: f64 = 1.0;
/// And after this it is dead: its places in line fall free.
pub const OWNER_LEASE: f64 = 10.0;
/// A process whose waiters wait longer asks again after this, to keep their places.
pub const RENEWAL: f64 = 3.0;
/// Between two looks for a slot or a machine that another process may have freed.
pub const LOOK: f64 = 1.0;
/// Beyond a window's length, so that no rounding of a time breaks it.
pub const GUARD: f64 = 0.001;
/// Beyond a call's lease, until a slot of which no POST was noted falls free.
pub const UNPOSTED: f64 = 30.0;

/// What is known of the machine of an errand.
#[derive(Clone, Debug, PartialEq)]
pub enum Machine {
    Free,
    /// The same intent has a slot of which nothing is known: whoever has its turn may have it.
    Same,
    Taken(Option<String>),
}

/// One walk from the head of a line on.
pub struct Walk {
    me: u64,
    room: usize,
    free: usize,
    /// Machines of those that could go.
    claimed: HashSet<String>,
    /// Those that could go, as far as it got.
    able: usize,
    pub granted: Vec<Ticket>,
    pub occupied: Vec<(Ticket, Option<String>)>,
    /// How many others that could go are before the first of mine that only lacks room.
    pub ahead: Option<usize>,
    /// One of mine waits for a slot or a machine.
    pub blocked: bool,
}

impl Walk {
    /// `room` calls may start now, and `free` sessions.
    pub fn new(me: u64, room: usize, free: usize) -> Self {
        Self {
            me,
            room,
            free,
            claimed: HashSet::new(),
            able: 0,
            granted: Vec::new(),
            occupied: Vec::new(),
            ahead: None,
            blocked: false,
        }
    }

    /// The next in line, and for an errand what is known of its machine. Tells whether to walk on.
    pub fn step(&mut self, ticket: Ticket, errand: Option<(&Errand, Machine)>) -> bool {
        let mine = ticket.owner == self.me;
        let is_submit = errand.is_some();
        if let Some((errand, machine)) = errand {
            match machine {
                Machine::Taken(action_id) if mine && !errand.wait => {
                    self.occupied.push((ticket, action_id));
                    return true;
                }
                Machine::Taken(_) => return self.stay(mine),
                Machine::Free if self.free == 0 => return self.stay(mine),
                _ if self.claimed.contains(&errand.machine_id) => return self.stay(mine),
                Machine::Free => self.free -= 1,
                Machine::Same => {}
            }
            self.claimed.insert(errand.machine_id.clone());
        }
        if self.able < self.room {
            if mine {
                self.granted.push(ticket);
            }
        } else if mine && self.ahead.is_none() {
            self.ahead = Some(self.able - self.granted.len());
        }
        self.able += 1;
        is_submit || self.ahead.is_none()
    }

    fn stay(&mut self, mine: bool) -> bool {
        self.blocked |= mine;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errand(machine: &str, wait: bool) -> Errand {
        Errand { machine_id: machine.into(), correlation_id: "c".into(), lease: 1.0, wait }
    }

    fn ticket(owner: u64, number: u64) -> Ticket {
        Ticket { owner, number }
    }

    #[test]
    fn a_busy_machine_holds_nobody_up_and_is_told_to_who_would_not_wait() {
        let mut walk = Walk::new(1, 5, 5);
        assert!(walk.step(ticket(1, 0), Some((&errand("a", true), Machine::Taken(None)))));
        walk.step(ticket(1, 1), Some((&errand("a", false), Machine::Taken(Some("x".into())))));
        walk.step(ticket(1, 2), Some((&errand("b", false), Machine::Free)));
        assert_eq!(walk.granted, [ticket(1, 2)]);
        assert_eq!(walk.occupied, [(ticket(1, 1), Some("x".to_owned()))]);
        assert!(walk.blocked && walk.ahead.is_none());
    }

    #[test]
    fn room_and_slots_are_kept_for_who_came_first() {
        let mut walk = Walk::new(1, 1, 1);
        walk.step(ticket(2, 0), Some((&errand("a", true), Machine::Free)));
        walk.step(ticket(1, 0), Some((&errand("b", true), Machine::Free)));
        walk.step(ticket(1, 1), Some((&errand("c", true), Machine::Same)));
        assert!(walk.granted.is_empty() && walk.blocked);
        assert_eq!(walk.ahead, Some(1), "a slot of its own, behind one for the window");
        let mut reads = Walk::new(1, 1, 0);
        assert!(reads.step(ticket(1, 0), None));
        assert!(!reads.step(ticket(1, 1), None), "the rest of the line is of no interest");
        assert_eq!((reads.granted.len(), reads.ahead), (1, Some(0)));
    }
}
