//! The admission queues, in SQL.

use rusqlite::{OptionalExtension, Row, params};

use super::Sql;
use super::connection::StoreConnection;
use crate::operation::Operation;
use crate::state::admission::{
    AdmissionRequest, AdmissionResponse, QueueEntry, SlotRequest, Ticket,
};
use crate::state::hex_id;
use crate::state::queue_scan::{
    MachineState, OWNER_GRACE, OWNER_LEASE, QueueScan, RENEWAL_INTERVAL, SLOT_POLL_INTERVAL,
    UNPOSTED_GRACE, WINDOW_MARGIN,
};

impl StoreConnection {
    /// Answers one request.
    pub fn request_admission(
        &self,
        request: &AdmissionRequest,
        now: f64,
    ) -> Sql<AdmissionResponse> {
        let owner_unknown = !self.renew(request, now)?;
        for ticket in &request.leave {
            self.leave(request.window, *ticket, now)?;
        }
        // After a lost answer, the store already knows some of the tickets.
        let mut joined = Vec::with_capacity(request.join.len());
        let mut granted = Vec::new();
        for entry in &request.join {
            if request.is_retry && self.is_call(request.window, entry.ticket)? {
                granted.push(entry.ticket);
            } else if !(request.is_retry && self.is_waiting(request.window, entry.ticket)?) {
                joined.push(entry);
            }
        }
        let mut scan = self.scan_queue(request, &joined, now)?;
        for entry in joined {
            if scan.granted.contains(&entry.ticket) {
                self.begin_call(request, entry.ticket, entry.slot_request.as_ref(), now)?;
            } else if !scan.occupied.iter().any(|(ticket, _)| *ticket == entry.ticket) {
                self.join(request, entry)?;
            }
        }
        granted.append(&mut scan.granted);
        let wait = self.wait(request, &scan, now)?;
        self.set_deadline(request, now + wait + OWNER_GRACE)?;
        Ok(AdmissionResponse {
            granted,
            occupied: scan.occupied,
            owner_unknown,
            sessions_unknown: request.window == Operation::RunLiveResponse && self.needs_check()?,
            wait,
        })
    }

    /// Removes dead processes from the queue. Returns whether this process was known.
    fn renew(&self, request: &AdmissionRequest, now: f64) -> Sql<bool> {
        let (quota, window, owner) = (self.quota, request.window.name(), hex_id(request.owner));
        let dead = "SELECT owner FROM queue_owners WHERE quota = ? AND window = ? \
                    AND until <= ? AND owner <> ?";
        let mut statement = self.connection.prepare_cached(dead)?;
        let dead = statement
            .query_map(params![quota, window, now - OWNER_LEASE, owner], |row| row.get(0))?;
        for dead in dead.collect::<Sql<Vec<String>>>()? {
            // Their places go too, or the queue would wait for tickets that nobody uses.
            let places = "DELETE FROM queue WHERE quota = ? AND window = ? AND owner = ?";
            self.execute(places, params![quota, window, dead])?;
            let forget = "DELETE FROM queue_owners WHERE quota = ? AND window = ? AND owner = ?";
            self.execute(forget, params![quota, window, dead])?;
        }
        let known = "SELECT 1 FROM queue_owners WHERE quota = ? AND window = ? AND owner = ?";
        self.connection.prepare_cached(known)?.exists(params![quota, window, owner])
    }

    /// Records when the process must ask again. Forgets a process without waiters.
    fn set_deadline(&self, request: &AdmissionRequest, until: f64) -> Sql<()> {
        let (quota, window, owner) = (self.quota, request.window.name(), hex_id(request.owner));
        // An infinite time means that the process has no waiters.
        if until.is_finite() {
            let insert = "INSERT OR REPLACE INTO queue_owners VALUES (?, ?, ?, ?)";
            return self.execute(insert, params![quota, window, owner, until]).map(drop);
        }
        let forget = "DELETE FROM queue_owners WHERE quota = ? AND window = ? AND owner = ?";
        self.execute(forget, params![quota, window, owner]).map(drop)
    }

    /// Scans the queue and then the new tickets. Starts the queued tickets that are granted.
    fn scan_queue(
        &self,
        request: &AdmissionRequest,
        joined: &[&QueueEntry],
        now: f64,
    ) -> Sql<QueueScan> {
        let is_submit = request.window == Operation::RunLiveResponse;
        let free = if is_submit { self.free_slots(now)? } else { 0 };
        // An unknown session may be on any machine, so nothing is submitted.
        let is_closed = is_submit && self.needs_check()?;
        let room = if is_closed { 0 } else { self.room(request.window, now)? };
        let mut scan = QueueScan::new(request.owner, room, free);
        let mut answered = Vec::new();
        // Processes past their deadline are skipped, so that they block nobody.
        let queue = "SELECT ticket, slot_request FROM queue WHERE quota = ?1 AND window = ?2 \
                     AND (owner = ?3 OR owner IN (SELECT owner FROM queue_owners \
                     WHERE quota = ?1 AND window = ?2 AND until > ?4)) ORDER BY position";
        let mut statement = self.connection.prepare_cached(queue)?;
        let mut rows = statement.query(params![
            self.quota,
            request.window.name(),
            hex_id(request.owner),
            now
        ])?;
        let mut on = true;
        while let (true, Some(row)) = (on, rows.next()?) {
            let (ticket, slot_request) = waiting(row)?;
            let before = (scan.granted.len(), scan.occupied.len());
            on = self.step(&mut scan, ticket, slot_request.as_ref())?;
            if (scan.granted.len(), scan.occupied.len()) != before {
                answered.push((ticket, slot_request, scan.granted.len() > before.0));
            }
        }
        for entry in joined {
            if on {
                on = self.step(&mut scan, entry.ticket, entry.slot_request.as_ref())?;
            }
        }
        // Only now: SQLite does not define what a running SELECT sees of rows deleted meanwhile.
        for (ticket, slot_request, granted) in answered {
            self.dequeue(request.window, ticket)?;
            if granted {
                self.begin_call(request, ticket, slot_request.as_ref(), now)?;
            }
        }
        Ok(scan)
    }

    fn step(
        &self,
        scan: &mut QueueScan,
        ticket: Ticket,
        slot_request: Option<&SlotRequest>,
    ) -> Sql<bool> {
        let slot_request = match slot_request {
            Some(slot_request) => Some((slot_request, self.machine_state(slot_request)?)),
            None => None,
        };
        Ok(scan.step(ticket, slot_request))
    }

    /// Returns the state of the machine that the request is for.
    fn machine_state(&self, slot_request: &SlotRequest) -> Sql<MachineState> {
        let find = "SELECT correlation, action FROM slots WHERE quota = ? AND machine = ?";
        let mut statement = self.connection.prepare_cached(find)?;
        let slot: Option<(Option<String>, Option<String>)> = statement
            .query_row(params![self.quota, slot_request.machine_id], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        Ok(match slot {
            None => MachineState::Free,
            Some((Some(correlation), None)) if correlation == slot_request.correlation_id => {
                MachineState::SameIntent
            }
            Some((_, action)) => MachineState::Busy(action),
        })
    }

    /// Returns how many sessions may still start.
    fn free_slots(&self, now: f64) -> Sql<usize> {
        self.execute("DELETE FROM slots WHERE quota = ? AND until <= ?", params![self.quota, now])?;
        let count = "SELECT count(*) FROM slots WHERE quota = ?";
        let taken: i64 =
            self.connection.prepare_cached(count)?.query_row([self.quota], |row| row.get(0))?;
        Ok((self.settings.limits.sessions as usize).saturating_sub(taken as usize))
    }

    /// Counts the call as running, and takes the slot and the machine of a submit.
    fn begin_call(
        &self,
        request: &AdmissionRequest,
        ticket: Ticket,
        slot_request: Option<&SlotRequest>,
        now: f64,
    ) -> Sql<()> {
        let (quota, window, ticket) = (self.quota, request.window.name(), ticket.to_string());
        let expired = now - self.settings.longest_window(request.window) - WINDOW_MARGIN;
        self.execute(
            // Ended calls are deleted here, where new ones are added.
            "DELETE FROM calls WHERE quota = ? AND window = ? AND ends <= ?",
            params![quota, window, expired],
        )?;
        let ends = now + request.call_lease;
        self.execute(
            "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)",
            params![quota, window, ticket, ends],
        )?;
        if let Some(slot_request) = slot_request {
            let occupy = "INSERT OR REPLACE INTO slots (quota, machine, correlation, ticket, \
                          until, lease) VALUES (?, ?, ?, ?, ?, ?)";
            let (machine, correlation) = (&slot_request.machine_id, &slot_request.correlation_id);
            self.execute(
                occupy,
                params![
                    quota,
                    machine,
                    correlation,
                    ticket,
                    ends + UNPOSTED_GRACE,
                    slot_request.lease
                ],
            )?;
        }
        Ok(())
    }

    fn join(&self, request: &AdmissionRequest, entry: &QueueEntry) -> Sql<()> {
        let slot_request = entry
            .slot_request
            .as_ref()
            .and_then(|slot_request| serde_json::to_string(slot_request).ok());
        let insert = "INSERT OR IGNORE INTO queue (quota, window, ticket, owner, slot_request) \
                      VALUES (?, ?, ?, ?, ?)";
        let ticket = entry.ticket.to_string();
        self.execute(
            insert,
            params![self.quota, request.window.name(), ticket, hex_id(request.owner), slot_request],
        )
        .map(drop)
    }

    /// Removes the ticket from the queue. If it was granted, its call counts as never started.
    fn leave(&self, window: Operation, ticket: Ticket, now: f64) -> Sql<()> {
        // The answer that granted it may have been lost, so it can be in either table.
        self.dequeue(window, ticket)?;
        let (quota, ticket) = (self.quota, ticket.to_string());
        self.execute(
            // A call that has ended was sent, and must still count.
            "DELETE FROM calls WHERE quota = ? AND window = ? AND ticket = ? AND ends > ?",
            params![quota, window.name(), ticket, now],
        )?;
        if window == Operation::RunLiveResponse {
            let free = "DELETE FROM slots WHERE quota = ? AND ticket = ? AND action IS NULL";
            self.execute(free, params![quota, ticket])?;
        }
        Ok(())
    }

    fn dequeue(&self, window: Operation, ticket: Ticket) -> Sql<usize> {
        let out = "DELETE FROM queue WHERE quota = ? AND window = ? AND ticket = ?";
        self.execute(out, params![self.quota, window.name(), ticket.to_string()])
    }

    fn is_call(&self, window: Operation, ticket: Ticket) -> Sql<bool> {
        let find = "SELECT 1 FROM calls WHERE quota = ? AND window = ? AND ticket = ?";
        self.connection.prepare_cached(find)?.exists(params![
            self.quota,
            window.name(),
            ticket.to_string()
        ])
    }

    fn is_waiting(&self, window: Operation, ticket: Ticket) -> Sql<bool> {
        let find = "SELECT 1 FROM queue WHERE quota = ? AND window = ? AND ticket = ?";
        self.connection.prepare_cached(find)?.exists(params![
            self.quota,
            window.name(),
            ticket.to_string()
        ])
    }

    /// Returns the seconds until asking again may help.
    fn wait(&self, request: &AdmissionRequest, scan: &QueueScan, now: f64) -> Sql<f64> {
        let mut wait = f64::INFINITY;
        if let Some(ahead) = scan.ahead {
            wait = RENEWAL_INTERVAL.min(self.earliest(request.window, now, ahead)? - now);
        }
        Ok(if scan.blocked { wait.min(SLOT_POLL_INTERVAL) } else { wait })
    }
}

/// Reads a row of the queue.
fn waiting(row: &Row<'_>) -> Sql<(Ticket, Option<SlotRequest>)> {
    let ticket: String = row.get(0)?;
    let slot_request: Option<String> = row.get(1)?;
    let ticket = Ticket::parse(&ticket).ok_or(rusqlite::Error::InvalidQuery)?;
    Ok((ticket, slot_request.and_then(|slot_request| serde_json::from_str(&slot_request).ok())))
}
