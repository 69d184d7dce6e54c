//! Standing in line, in SQL: one transaction is one decision.

use rusqlite::{OptionalExtension, Row, params};

use super::books::Books;
use crate::operation::Operation;
use crate::state::store::{Answer, Ask, Errand, Joining, Ticket, View};
use crate::state::walk::{GRACE, GUARD, LOOK, Machine, OWNER_LEASE, RENEWAL, UNPOSTED, Walk};

type Sql<T> = rusqlite::Result<T>;

impl Books {
    pub fn ask(&self, ask: &Ask, now: f64) -> Sql<Answer> {
        let stranger = !self.renew(ask, now)?;
        for ticket in &ask.leave {
            self.leave(ask.window, *ticket, now)?;
        }
        let mut joined = Vec::with_capacity(ask.join.len());
        let mut granted = Vec::new();
        for joining in &ask.join {
            if ask.again && self.is_call(ask.window, joining.ticket)? {
                granted.push(joining.ticket);
            } else if !(ask.again && self.is_waiting(ask.window, joining.ticket)?) {
                joined.push(joining);
            }
        }
        let mut walk = self.walk(ask, &joined, now)?;
        for joining in joined {
            if walk.granted.contains(&joining.ticket) {
                self.begin(ask, joining.ticket, joining.errand.as_ref(), now)?;
            } else if !walk.occupied.iter().any(|(ticket, _)| *ticket == joining.ticket) {
                self.join(ask, joining)?;
            }
        }
        granted.append(&mut walk.granted);
        let wait = self.wait(ask, &walk, now)?;
        self.expect(ask, now + wait + GRACE)?;
        Ok(Answer { granted, occupied: walk.occupied, stranger, learn_first: false, wait })
    }

    /// Tells whether the process was known, and clears the line of the dead.
    fn renew(&self, ask: &Ask, now: f64) -> Sql<bool> {
        let (quota, window, owner) = (self.quota, ask.window.name(), name(ask.owner));
        let dead = "SELECT owner FROM owners WHERE quota = ? AND window = ? AND until <= ? AND owner <> ?";
        let mut statement = self.connection.prepare_cached(dead)?;
        let dead = statement.query_map(params![quota, window, now - OWNER_LEASE, owner], |row| row.get(0))?;
        for dead in dead.collect::<Sql<Vec<String>>>()? {
            let places = "DELETE FROM line WHERE quota = ? AND window = ? AND owner = ?";
            self.execute(places, params![quota, window, dead])?;
            let bury = "DELETE FROM owners WHERE quota = ? AND window = ? AND owner = ?";
            self.execute(bury, params![quota, window, dead])?;
        }
        let known = "SELECT 1 FROM owners WHERE quota = ? AND window = ? AND owner = ?";
        self.connection.prepare_cached(known)?.exists(params![quota, window, owner])
    }

    /// Until when the process is to ask again; one without waiters is forgotten.
    fn expect(&self, ask: &Ask, until: f64) -> Sql<()> {
        let (quota, window, owner) = (self.quota, ask.window.name(), name(ask.owner));
        if until.is_finite() {
            let expect = "INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?)";
            return self.execute(expect, params![quota, window, owner, until]).map(drop);
        }
        let forget = "DELETE FROM owners WHERE quota = ? AND window = ? AND owner = ?";
        self.execute(forget, params![quota, window, owner]).map(drop)
    }

    fn walk(&self, ask: &Ask, joined: &[&Joining], now: f64) -> Sql<Walk> {
        let is_submit = ask.window == Operation::RunLiveResponse;
        let free = if is_submit { self.free_slots(now)? } else { 0 };
        let mut walk = Walk::new(ask.owner, self.room(ask.window, now)?, free);
        let mut left = Vec::new();
        let line = "SELECT ticket, errand FROM line WHERE quota = ?1 AND window = ?2 AND (owner = ?3 OR owner IN \
                    (SELECT owner FROM owners WHERE quota = ?1 AND window = ?2 AND until > ?4)) ORDER BY place";
        let mut statement = self.connection.prepare_cached(line)?;
        let mut rows = statement.query(params![self.quota, ask.window.name(), name(ask.owner), now])?;
        let mut on = true;
        while let (true, Some(row)) = (on, rows.next()?) {
            let (ticket, errand) = waiting(row)?;
            let before = (walk.granted.len(), walk.occupied.len());
            on = self.step(&mut walk, ticket, errand.as_ref())?;
            if (walk.granted.len(), walk.occupied.len()) != before {
                left.push((ticket, errand, walk.granted.len() > before.0));
            }
        }
        for joining in joined {
            if on {
                on = self.step(&mut walk, joining.ticket, joining.errand.as_ref())?;
            }
        }
        for (ticket, errand, granted) in left {
            self.out_of_line(ask.window, ticket)?;
            if granted {
                self.begin(ask, ticket, errand.as_ref(), now)?;
            }
        }
        Ok(walk)
    }

    fn step(&self, walk: &mut Walk, ticket: Ticket, errand: Option<&Errand>) -> Sql<bool> {
        let errand = match errand {
            Some(errand) => Some((errand, self.machine(errand)?)),
            None => None,
        };
        Ok(walk.step(ticket, errand))
    }

    fn machine(&self, errand: &Errand) -> Sql<Machine> {
        let find = "SELECT correlation, action FROM slots WHERE quota = ? AND machine = ?";
        let mut statement = self.connection.prepare_cached(find)?;
        let slot: Option<(Option<String>, Option<String>)> = statement
            .query_row(params![self.quota, errand.machine_id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(match slot {
            None => Machine::Free,
            Some((Some(correlation), None)) if correlation == errand.correlation_id => Machine::Same,
            Some((_, action)) => Machine::Taken(action),
        })
    }

    fn free_slots(&self, now: f64) -> Sql<usize> {
        self.execute("DELETE FROM slots WHERE quota = ? AND until <= ?", params![self.quota, now])?;
        let count = "SELECT count(*) FROM slots WHERE quota = ?";
        let taken: i64 = self.connection.prepare_cached(count)?.query_row([self.quota], |row| row.get(0))?;
        Ok((self.settings.limits.sessions as usize).saturating_sub(taken as usize))
    }

    fn room(&self, window: Operation, now: f64) -> Sql<usize> {
        if self.held_until(window)? > now {
            return Ok(0);
        }
        let mut room = usize::MAX;
        for rate in self.settings.rates(window) {
            room = room.min((rate.count as usize).saturating_sub(self.counted(window, now - rate.per - GUARD)?));
        }
        Ok(room)
    }

    /// Calls under way, and those that ended after `since`.
    fn counted(&self, window: Operation, since: f64) -> Sql<usize> {
        let count = "SELECT count(*) FROM calls WHERE quota = ? AND window = ? AND ends > ?";
        let mut statement = self.connection.prepare_cached(count)?;
        let counted: i64 = statement.query_row(params![self.quota, window.name(), since], |row| row.get(0))?;
        Ok(counted as usize)
    }

    pub fn held_until(&self, window: Operation) -> Sql<f64> {
        let find = "SELECT until FROM holds WHERE quota = ? AND window = ?";
        let mut statement = self.connection.prepare_cached(find)?;
        Ok(statement.query_row(params![self.quota, window.name()], |row| row.get(0)).optional()?.unwrap_or(0.0))
    }

    fn begin(&self, ask: &Ask, ticket: Ticket, errand: Option<&Errand>, now: f64) -> Sql<()> {
        let (quota, window, ticket) = (self.quota, ask.window.name(), ticket.to_string());
        let gone = now - self.settings.longest(ask.window) - GUARD;
        self.execute("DELETE FROM calls WHERE quota = ? AND window = ? AND ends <= ?", params![quota, window, gone])?;
        let ends = now + ask.call_lease;
        self.execute("INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)", params![quota, window, ticket, ends])?;
        if let Some(errand) = errand {
            let occupy = "INSERT OR REPLACE INTO slots (quota, machine, correlation, ticket, until, lease) \
                          VALUES (?, ?, ?, ?, ?, ?)";
            let (machine, correlation) = (&errand.machine_id, &errand.correlation_id);
            self.execute(occupy, params![quota, machine, correlation, ticket, ends + UNPOSTED, errand.lease])?;
        }
        Ok(())
    }

    fn join(&self, ask: &Ask, joining: &Joining) -> Sql<()> {
        let errand = joining.errand.as_ref().and_then(|errand| serde_json::to_string(errand).ok());
        let insert = "INSERT OR IGNORE INTO line (quota, window, ticket, owner, errand) VALUES (?, ?, ?, ?, ?)";
        let ticket = joining.ticket.to_string();
        self.execute(insert, params![self.quota, ask.window.name(), ticket, name(ask.owner), errand]).map(drop)
    }

    /// Out of the line; and if it was let through already, its call never was.
    fn leave(&self, window: Operation, ticket: Ticket, now: f64) -> Sql<()> {
        self.out_of_line(window, ticket)?;
        let (quota, ticket) = (self.quota, ticket.to_string());
        self.execute(
            "DELETE FROM calls WHERE quota = ? AND window = ? AND ticket = ? AND ends > ?",
            params![quota, window.name(), ticket, now],
        )?;
        if window == Operation::RunLiveResponse {
            let free = "DELETE FROM slots WHERE quota = ? AND ticket = ? AND action IS NULL";
            self.execute(free, params![quota, ticket])?;
        }
        Ok(())
    }

    fn out_of_line(&self, window: Operation, ticket: Ticket) -> Sql<usize> {
        let out = "DELETE FROM line WHERE quota = ? AND window = ? AND ticket = ?";
        self.execute(out, params![self.quota, window.name(), ticket.to_string()])
    }

    fn is_call(&self, window: Operation, ticket: Ticket) -> Sql<bool> {
        let find = "SELECT 1 FROM calls WHERE quota = ? AND window = ? AND ticket = ?";
        self.connection.prepare_cached(find)?.exists(params![self.quota, window.name(), ticket.to_string()])
    }

    fn is_waiting(&self, window: Operation, ticket: Ticket) -> Sql<bool> {
        let find = "SELECT 1 FROM line WHERE quota = ? AND window = ? AND ticket = ?";
        self.connection.prepare_cached(find)?.exists(params![self.quota, window.name(), ticket.to_string()])
    }

    fn wait(&self, ask: &Ask, walk: &Walk, now: f64) -> Sql<f64> {
        let mut wait = f64::INFINITY;
        if let Some(ahead) = walk.ahead {
            wait = RENEWAL.min(self.earliest(ask.window, now, ahead)? - now);
        }
        Ok(if walk.blocked { wait.min(LOOK) } else { wait })
    }

    /// When there can be room at the earliest for who has `ahead` others before it.
    fn earliest(&self, window: Operation, now: f64, ahead: usize) -> Sql<f64> {
        let mut at = self.held_until(window)?.max(now);
        let find = "SELECT min(ends, ?4) FROM calls WHERE quota = ?1 AND window = ?2 AND ends > ?3 \
                    ORDER BY ends LIMIT 1 OFFSET ?5";
        for rate in self.settings.rates(window) {
            let since = now - rate.per - GUARD;
            let counted = self.counted(window, since)?;
            let Some(index) = (counted + ahead).checked_sub(rate.count as usize) else { continue };
            let mut statement = self.connection.prepare_cached(find)?;
            let found = params![self.quota, window.name(), since, now, index as i64];
            let end: Option<f64> = statement.query_row(found, |row| row.get(0)).optional()?;
            at = at.max(end.unwrap_or(now) + rate.per + GUARD);
        }
        Ok(at)
    }

    pub fn view(&self, window: Operation, now: f64) -> Sql<View> {
        let mut share: f64 = 1.0;
        for rate in self.settings.rates(window) {
            let left = (rate.count as usize).saturating_sub(self.counted(window, now - rate.per - GUARD)?);
            share = share.min(left as f64 / f64::from(rate.count));
        }
        let count = "SELECT count(*) FROM line WHERE quota = ? AND window = ?";
        let mut statement = self.connection.prepare_cached(count)?;
        let waiting: i64 = statement.query_row(params![self.quota, window.name()], |row| row.get(0))?;
        Ok(View { share, wait: self.earliest(window, now, waiting as usize)? - now })
    }

    /// An end that comes after its lease ran out still counts from now on.
    pub fn finish(&self, window: Operation, ticket: Ticket, now: f64) -> Sql<()> {
        let end = "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)";
        self.execute(end, params![self.quota, window.name(), ticket.to_string(), now]).map(drop)
    }

    pub fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Sql<usize> {
        self.connection.prepare_cached(sql)?.execute(values)
    }
}

fn waiting(row: &Row<'_>) -> Sql<(Ticket, Option<Errand>)> {
    let ticket: String = row.get(0)?;
    let errand: Option<String> = row.get(1)?;
    let ticket = Ticket::parse(&ticket).ok_or(rusqlite::Error::InvalidQuery)?;
    Ok((ticket, errand.and_then(|errand| serde_json::from_str(&errand).ok())))
}

fn name(owner: u64) -> String {
    format!("{owner:016x}")
}
