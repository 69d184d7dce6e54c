//! The calls that read actions and machines.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use uuid::Uuid;

use crate::emulator::clock::{SECOND, Tick, ticks};
use crate::emulator::control::switches::{ListOrder, MachineByName, MergedMachine};
use crate::emulator::inventory::machine::Machine;
use crate::emulator::odata::{IndexHints, Query, Queryable};
use crate::emulator::session::action::Action;
use crate::emulator::state::State;
use crate::emulator::wire::not_emulated::machine_not_found;
use crate::emulator::wire::reply::{ApiError, EntityRef, Reply, status};
use crate::emulator::write_json;
use crate::model::Timestamp;

impl State {
    /// Finds an action by its id. An id that is not a GUID gets the captured 400 (docs/service.md,
    /// section 3.3).
    pub fn find_action(&self, id: &str, now: Tick) -> Result<u32, ApiError> {
        // `parse_str` also accepts braces and no hyphens, which the service rejects.
        let parsed = Uuid::parse_str(id).ok().filter(|_| id.len() == 36).ok_or_else(|| {
            let message = format!(
                "The key value ({id}) from request is not valid. The key value should be format of \
                 type 'Edm.Guid'."
            );
            ApiError::bad_request("BadRequest", message)
        })?;
        let found = self.actions.by_id(parsed).filter(|index| {
            self.actions.get(*index).is_some_and(|action| action.is_visible_by_id(self.view(now)))
        });
        found.ok_or_else(|| ApiError::not_found(format!("Machine action {id} was not found")))
    }

    /// Answers a GET of an action, and counts it as a poll.
    pub fn get_action(&mut self, id: &str, now: Tick) -> Result<Reply, ApiError> {
        let index = self.find_action(id, now)?;
        if let Some(action) = self.actions.get(index) {
            let (id, is_early) = (action.id, self.is_early_read(EntityRef::Action(index)));
            self.log.count_poll(id);
            if is_early {
                return Err(ApiError::not_found(format!("Machine action {id} was not found")));
            }
        }
        Ok(self.action_entity(index, StatusCode::OK, now))
    }

    /// Answers a list of actions. A filter by id counts as a poll of each action that it finds.
    pub fn list_actions(
        &mut self,
        query: &str,
        count_only: bool,
        now: Tick,
    ) -> Result<Reply, ApiError> {
        let query = Query::parse::<Action>(query, now)?;
        let view = self.view(now);
        let hints = IndexHints::from_filter(query.filter.as_ref());
        let candidates = self.actions.candidates(&hints, |id| self.machines.by_id(id));
        let mut found: Vec<&Action> = candidates
            .into_iter()
            .filter(|action| action.is_visible_in_lists(view) && query.matches(*action))
            .collect();
        if self.switches.list_order == ListOrder::Newest {
            found.reverse();
        }
        let polled: Vec<Uuid> = if hints.equal_to("id").is_some() {
            found.iter().map(|action| action.id).collect()
        } else {
            Vec::new()
        };
        let write = |action: &Action, out: &mut Vec<u8>| action.write(out, view);
        let reply = self.list("MachineActions", "machineactions", &query, count_only, found, write);
        for id in polled {
            self.log.count_poll(id);
        }
        Ok(reply)
    }

    /// Answers a list of machines.
    pub fn list_machines(
        &mut self,
        query: &str,
        count_only: bool,
        now: Tick,
    ) -> Result<Reply, ApiError> {
        let query = Query::parse::<Machine>(query, now)?;
        let candidates = self.machines.candidates(&IndexHints::from_filter(query.filter.as_ref()));
        let found: Vec<&Machine> =
            candidates.into_iter().filter(|machine| query.matches(*machine)).collect();
        if found.is_empty() && self.switches.no_machines_is_404 {
            return Err(ApiError::not_found("No recent machines were found"));
        }
        let write = |machine: &Machine, out: &mut Vec<u8>| machine.write(out, &self.raw_properties);
        Ok(self.list("Machines", "machines", &query, count_only, found, write))
    }

    /// Answers a GET of a machine by id or name.
    pub fn get_machine(&mut self, key: &str) -> Result<Reply, ApiError> {
        let by_name = self.switches.machine_by_name == MachineByName::Newest;
        let index = if by_name { self.machines.find(key) } else { self.machines.by_id(key) };
        let index = index.filter(|index| !self.is_early_read(EntityRef::Machine(*index)));
        let found = index.and_then(|index| self.machines.get(index));
        let machine = found.ok_or_else(|| machine_not_found(key))?;
        let refused = self.switches.merged_machine == MergedMachine::Refused;
        if refused && machine.is_merged() && machine.id.eq_ignore_ascii_case(key) {
            let number = status(self.switches.merged_machine_status);
            let code =
                if number == StatusCode::NOT_FOUND { "ResourceNotFound" } else { "InvalidInput" };
            let message = format!("Machine {key} was merged into another machine");
            return Err(ApiError::new(number, code, message));
        }
        Ok(self.machine_entity(machine))
    }

    /// Returns whether a GET of what exists is one of those that a switch makes a 404.
    fn is_early_read(&mut self, entity: EntityRef) -> bool {
        let wanted = self.switches.reads_404;
        if wanted == 0 {
            return false;
        }
        let reads = self.early_reads.entry(entity).or_default();
        *reads = reads.saturating_add(1);
        *reads <= wanted
    }

    /// Answers `findbyip(ip='...',timestamp=...)`. The time must lie within the last 30 days (page
    /// "find-machines-by-ip").
    pub fn find_by_ip(&self, arguments: &str, now: Tick) -> Result<Reply, ApiError> {
        let argument = |name: &str| {
            let found = arguments
                .split(',')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| key.trim() == name);
            found.map(|(_, value)| value.trim()).ok_or_else(|| {
                ApiError::bad_request(
                    "MissingRequiredParameter",
                    format!("The parameter '{name}' is missing."),
                )
            })
        };
        let (ip, text) = (argument("ip")?.trim_matches('\''), argument("timestamp")?);
        let time = Timestamp::parse(text).map(|time| ticks(time.to_unix()));
        let month = 30 * 86_400 * SECOND;
        // A client whose clock runs a little ahead asks for a time in the future.
        let latest = now + 60 * SECOND;
        let Some(time) = time.filter(|time| (now - month..=latest).contains(time)) else {
            let message = "The timestamp must be in the past 30 days.";
            return Err(ApiError::bad_request("InvalidInput", message));
        };
        if ip.parse::<std::net::IpAddr>().is_err() {
            return Err(ApiError::bad_request(
                "InvalidIpAddress",
                format!("'{ip}' is not an IP address."),
            ));
        }
        // The service searches 15 minutes before and after the time (docs/service.md, section 9).
        // Here a machine has one address, in use since it was last seen.
        let window = 15 * 60 * SECOND;
        let matches =
            |machine: &&Machine| machine.has_address(ip) && machine.last_seen() <= time + window;
        let found = self.machines.iter().filter(matches).collect();
        let write = |machine: &Machine, out: &mut Vec<u8>| machine.write(out, &self.raw_properties);
        Ok(self.list("Machines", "machines", &Query::default(), false, found, write))
    }

    /// Answers `findbytag?tag=...&useStartsWithFilter=...`.
    pub fn find_by_tag(&self, query: &str) -> Result<Reply, ApiError> {
        let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        let value = |name: &str| {
            pairs.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let tag = value("tag").filter(|tag| !tag.is_empty()).ok_or_else(|| {
            ApiError::bad_request("MissingRequiredParameter", "The parameter 'tag' is missing.")
        })?;
        let is_prefix =
            value("useStartsWithFilter").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
        let found =
            self.machines.iter().filter(|machine| machine.has_tag(tag, is_prefix)).collect();
        let write = |machine: &Machine, out: &mut Vec<u8>| machine.write(out, &self.raw_properties);
        Ok(self.list("Machines", "machines", &Query::default(), false, found, write))
    }

    /// Returns one page of a list, with the link to the next page (docs/service.md, section 3.4).
    fn list<T: Queryable>(
        &self,
        set: &str,
        path: &str,
        query: &Query,
        count_only: bool,
        mut found: Vec<&T>,
        write: impl Fn(&T, &mut Vec<u8>),
    ) -> Reply {
        let total = found.len();
        if count_only {
            let text = http::HeaderValue::from_static("text/plain; charset=utf-8");
            let mut reply = Reply::entity(StatusCode::OK, total.to_string().into_bytes());
            reply.headers.insert(CONTENT_TYPE, text);
            return reply;
        }
        query.sort(&mut found);
        let requested = query.top.unwrap_or(usize::MAX).min(total.saturating_sub(query.skip));
        let page = requested.min(self.switches.page_size.max(1));
        let mut out = self.open_odata_body(set);
        if query.count {
            out.extend_from_slice(b",\"@odata.count\":");
            write_json(&mut out, &total);
        }
        out.extend_from_slice(b",\"value\":[");
        for (i, item) in found.into_iter().skip(query.skip).take(page).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write_item(item, query, &write, &mut out);
        }
        out.push(b']');
        if page < requested {
            out.extend_from_slice(b",\"@odata.nextLink\":");
            write_json(
                &mut out,
                &format!("{}/api/{path}?{}", self.addresses.api, query.next_page(page)),
            );
        }
        out.push(b'}');
        Reply::entity(StatusCode::OK, out)
    }
}

/// Writes an item, with only the selected properties if the query has a `$select`.
fn write_item<T>(item: &T, query: &Query, write: &impl Fn(&T, &mut Vec<u8>), out: &mut Vec<u8>) {
    let start = out.len();
    out.push(b'{');
    write(item, out);
    out.push(b'}');
    let Some(select) = &query.select else { return };
    let entity_json = out.split_off(start);
    if let Ok(serde_json::Value::Object(mut entity)) = serde_json::from_slice(&entity_json) {
        entity.retain(|name, _| select.contains(&name.as_str()));
        write_json(out, &entity);
    }
}
