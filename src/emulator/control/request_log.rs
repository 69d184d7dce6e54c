//! What happened: the request log, the counters, the rules that were broken.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::emulator::clock::{Tick, format_time};
use crate::emulator::wire::request::IncomingRequest;
use crate::emulator::wire::routes::Route;

/// Of a body, this much is kept.
const MAX_LOGGED_BODY: usize = 64 << 10;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Not yet.
    InFlight,
    Status(u16),
    /// The client went away before it had its answer.
    Closed,
    /// A fault broke the connection.
    Dropped,
}

/// One request, as the log has it.
#[derive(Clone, Debug)]
pub struct LoggedRequest {
    pub route: Route,
    pub method: Method,
    pub path: String,
    /// The signature of a result's link is left out.
    pub query: String,
    /// Authorization is left out, and so is the body of a token request.
    pub headers: HeaderMap,
    pub body: Bytes,
    pub status: RequestOutcome,
    /// The emulator's own time, 100 ns since the Unix epoch.
    pub time: i64,
}

impl LoggedRequest {
    pub fn to_json(&self) -> Value {
        let mut headers = Map::new();
        for (name, value) in &self.headers {
            headers
                .insert(name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into());
        }
        let status = match self.status {
            RequestOutcome::InFlight => Value::Null,
            RequestOutcome::Status(status) => status.into(),
            RequestOutcome::Closed => "closed".into(),
            RequestOutcome::Dropped => "dropped".into(),
        };
        json!({
            "route": self.route.name(), "method": self.method.as_str(), "path": self.path, "query": self.query,
            "headers": headers, "body": String::from_utf8_lossy(&self.body), "status": status,
            "time": format_time(self.time),
        })
    }
}

/// Rules that a client broke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Violations {
    /// Calls that found a strict window full.
    pub rate: u64,
    /// Submits while as many of the application's own sessions were open as may be.
    pub sessions: u64,
    /// Submits to a machine on which the application itself has a session.
    pub machine_busy: u64,
    /// Authorization headers that the blob host saw.
    pub bearer_at_blob: u64,
    /// Accepted submits that bear the tag of an earlier one.
    pub duplicate_submit: u64,
}

#[derive(Debug, Default)]
pub struct RequestLog {
    entries: VecDeque<LoggedRequest>,
    /// Number of the first entry that is still kept.
    first: u64,
    calls: HashMap<Route, u64>,
    polls: HashMap<Uuid, u64>,
    pub violations: Violations,
    tags: HashSet<String>,
}

impl RequestLog {
    /// Logs a request that arrived; the number finds it again.
    pub fn record_arrival(
        &mut self,
        route: Route,
        request: &IncomingRequest,
        time: Tick,
        max_entries: usize,
    ) -> u64 {
        *self.calls.entry(route).or_default() += 1;
        let number = self.first + self.entries.len() as u64;
        if max_entries == 0 {
            return number;
        }
        let mut headers = request.headers.clone();
        for secret in
            [http::header::AUTHORIZATION, http::header::PROXY_AUTHORIZATION, http::header::COOKIE]
        {
            headers.remove(secret);
        }
        let body = Bytes::new();
        let (method, path, query) =
            (request.method.clone(), request.path.clone(), without_signature(&request.query));
        self.entries.push_back(LoggedRequest {
            route,
            method,
            path,
            query,
            headers,
            body,
            status: RequestOutcome::InFlight,
            time,
        });
        while self.entries.len() > max_entries {
            self.entries.pop_front();
            self.first += 1;
        }
        number
    }

    /// Keeps a request's body, or its beginning; that of a token request holds a secret and is not kept.
    pub fn record_body(&mut self, number: u64, body: &Bytes) {
        let Some(entry) = self.entry(number).filter(|entry| entry.route != Route::Token) else {
            return;
        };
        entry.body = match body.get(..MAX_LOGGED_BODY) {
            // A slice would keep the whole of a large upload alive.
            Some(beginning) => Bytes::copy_from_slice(beginning),
            None => body.clone(),
        };
    }

    pub fn record_end(&mut self, number: u64, ended: RequestOutcome) {
        if let Some(entry) = self.entry(number) {
            entry.status = ended;
        }
    }

    fn entry(&mut self, number: u64) -> Option<&mut LoggedRequest> {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok())?;
        self.entries.get_mut(at)
    }

    pub fn count_poll(&mut self, action: Uuid) {
        *self.polls.entry(action).or_default() += 1;
    }

    /// Counts a submit whose comment's last tag was there before.
    pub fn record_submit(&mut self, comment: &str) {
        if let Some(tag) = last_tag(comment)
            && !self.tags.insert(tag.to_owned())
        {
            self.violations.duplicate_submit += 1;
        }
    }

    pub fn entries(&self) -> Vec<LoggedRequest> {
        self.entries.iter().cloned().collect()
    }

    /// Calls by route, and `polls:<action id>`.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let calls = self.calls.iter().map(|(route, count)| (route.name().to_owned(), *count));
        calls.chain(self.polls.iter().map(|(id, count)| (format!("polls:{id}"), *count))).collect()
    }

    pub fn clear(&mut self) {
        *self = Self { first: self.first + self.entries.len() as u64, ..Self::default() };
    }
}

/// A query string without the value of `sig`, which with the rest is all that a result's link needs.
fn without_signature(query: &str) -> String {
    let name = |pair: &str| {
        pair.get(..4).filter(|name| name.eq_ignore_ascii_case("sig=")).map(str::to_owned)
    };
    if !query.split('&').any(|pair| name(pair).is_some()) {
        return query.to_owned();
    }
    let shown = |pair: &str| name(pair).map_or_else(|| pair.to_owned(), |name| name + "redacted");
    query.split('&').map(shown).collect::<Vec<_>>().join("&")
}

/// What stands in the last `[mlr:...]` of a comment.
fn last_tag(comment: &str) -> Option<&str> {
    let (_, rest) = comment.rsplit_once("[mlr:")?;
    rest.split_once(']').map(|(tag, _)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_tag_of_a_comment_counts() {
        let mut log = RequestLog::default();
        for comment in ["case 1 [mlr:aa]", "case 1 [mlr:aa] [mlr:bb]", "no tag", "no tag"] {
            log.record_submit(comment);
        }
        assert_eq!(log.violations.duplicate_submit, 0);
        log.record_submit("other words [mlr:bb]");
        assert_eq!(log.violations.duplicate_submit, 1);
    }
}
