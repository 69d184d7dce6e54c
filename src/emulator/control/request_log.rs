//! The request log, the counters, and the rules that clients broke.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use foldhash::HashMap;
use http::{HeaderMap, Method};
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::emulator::clock::{Tick, format_time};
use crate::emulator::control::call_feed::{CallFeed, CallLine};
use crate::emulator::wire::request::IncomingRequest;
use crate::emulator::wire::routes::Route;

/// How much of a request's body the log keeps.
const MAX_LOGGED_BODY: usize = 64 << 10;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// Not ended yet.
    InFlight,
    Status(u16),
    /// The client closed the connection before it got the response.
    Closed,
    /// An injected fault broke the connection.
    Dropped,
}

impl RequestOutcome {
    /// Returns a number, "closed", "dropped" or null.
    pub fn to_json(self) -> Value {
        match self {
            Self::InFlight => Value::Null,
            Self::Status(status) => status.into(),
            Self::Closed => "closed".into(),
            Self::Dropped => "dropped".into(),
        }
    }
}

/// One request in the log.
#[derive(Clone, Debug)]
pub struct LoggedRequest {
    pub route: Route,
    pub method: Method,
    pub path: String,
    /// Without the signature of a result link.
    pub query: String,
    /// Without Authorization, Proxy-Authorization and Cookie.
    pub headers: HeaderMap,
    /// The first 64 KiB. Empty for a token request.
    pub body: Bytes,
    pub status: RequestOutcome,
    /// Emulated time of arrival, in 100 ns since the Unix epoch.
    pub time: i64,
}

impl LoggedRequest {
    /// Returns what a feed shows of the call. The query of a result link or of a token request is
    /// left out.
    fn call_line(&self, ended: RequestOutcome) -> CallLine {
        let is_secret = matches!(self.route, Route::Token | Route::Blob);
        let query = Some(self.query.as_str()).filter(|query| !query.is_empty() && !is_secret);
        CallLine {
            time: format_time(self.time),
            method: self.method.to_string(),
            path: query.map_or_else(|| self.path.clone(), |it| format!("{}?{it}", self.path)),
            status: ended.to_json(),
        }
    }

    /// Returns the entry as the binding shows it.
    pub fn to_json(&self) -> Value {
        let mut headers = Map::new();
        for (name, value) in &self.headers {
            headers
                .insert(name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into());
        }
        let status = self.status.to_json();
        json!({
            "route": self.route.name(),
            "method": self.method.as_str(),
            "path": self.path,
            "query": self.query,
            "headers": headers,
            "body": String::from_utf8_lossy(&self.body),
            "status": status,
            "time": format_time(self.time),
        })
    }
}

/// How often clients broke each rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Violations {
    /// Calls that a sliding window had no room for.
    pub rate: u64,
    /// Submits while the application itself had as many open sessions as the cap allows.
    pub sessions: u64,
    /// Submits to a machine on which the application itself had an open session.
    pub machine_busy: u64,
    /// Requests to the blob host with an Authorization header.
    pub bearer_at_blob: u64,
    /// Accepted submits that repeat an earlier one, which may have run.
    pub duplicate_submit: u64,
}

#[derive(Debug, Default)]
pub struct RequestLog {
    entries: VecDeque<LoggedRequest>,
    /// Number of the first entry that the log still has.
    first: u64,
    calls: HashMap<Route, u64>,
    polls: HashMap<Uuid, u64>,
    pub violations: Violations,
    /// The calls that ended, if somebody asked for them.
    pub feed: Option<CallFeed>,
}

impl RequestLog {
    /// Logs a request and returns its number, which the other methods take.
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
        // Logs end up in bug reports, so they have no secrets.
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
        if let Some(feed) = &mut self.feed {
            feed.arrive(number);
        }
        number
    }

    /// Keeps the beginning of a request's body.
    pub fn record_body(&mut self, number: u64, body: &Bytes) {
        // The body of a token request has the client secret.
        let Some(entry) = self.entry(number).filter(|entry| entry.route != Route::Token) else {
            return;
        };
        entry.body = match body.get(..MAX_LOGGED_BODY) {
            // A slice would keep a large upload in memory as a whole.
            Some(beginning) => Bytes::copy_from_slice(beginning),
            None => body.clone(),
        };
    }

    /// Records how a request ended.
    pub fn record_end(&mut self, number: u64, ended: RequestOutcome) {
        let at = self.position(number);
        let entry = at.and_then(|at| self.entries.get_mut(at));
        if let Some(feed) = &mut self.feed {
            feed.end(number, entry.as_deref().map(|entry| entry.call_line(ended)));
        }
        if let Some(entry) = entry {
            entry.status = ended;
        }
    }

    fn entry(&mut self, number: u64) -> Option<&mut LoggedRequest> {
        let at = self.position(number)?;
        self.entries.get_mut(at)
    }

    /// Returns where the entry with this number is, if the log still has it.
    fn position(&self, number: u64) -> Option<usize> {
        number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok())
    }

    /// Counts a read of an action's status.
    pub fn count_poll(&mut self, action: Uuid) {
        *self.polls.entry(action).or_default() += 1;
    }

    pub fn entries(&self) -> Vec<LoggedRequest> {
        self.newest(usize::MAX)
    }

    /// Returns the newest entries, at most `count`, oldest first.
    pub fn newest(&self, count: usize) -> Vec<LoggedRequest> {
        self.entries.iter().skip(self.entries.len().saturating_sub(count)).cloned().collect()
    }

    /// Returns the number of calls by route, and of polls by `polls:<action id>`.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let calls = self.calls.iter().map(|(route, count)| (route.name().to_owned(), *count));
        calls.chain(self.polls.iter().map(|(id, count)| (format!("polls:{id}"), *count))).collect()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        // The numbers continue: a request in flight must not end another request's entry.
        let (first, feed) = (self.first + self.entries.len() as u64, self.feed.take());
        *self = Self { first, feed, ..Self::default() };
    }
}

/// Returns a query string without the value of `sig`. With the signature, anyone who reads the log
/// could download the result.
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
