//! Machines: read by id, found by name, listed. Follows records that were merged into another.

use std::collections::HashSet;

use super::namesakes::{self, Choice, Namesake};
use super::pages::{ListQuery, warn_skipped};
use super::{encode, next_page_path, odata_literal};
use crate::error::{Error, Kind, Result};
use crate::model::{self, Machine, check_machine_name, is_machine_id};
use crate::operation::Operation;
use crate::pauses;
use crate::pipeline::{ApiCall, Pipeline};

/// How many merges of records are followed.
const MAX_MERGES: usize = 8;

impl Pipeline {
    /// Reads a machine by its id (page "get-machine-by-id"). For a record that was merged into
    /// another, returns that one.
    pub async fn get_machine(&self, id: &str) -> Result<Machine> {
        check_machine_name(id)?;
        let mut seen = HashSet::new();
        let mut machine = self.read_machine(id).await?;
        while let Some(next) = machine.merged_into() {
            seen.insert(machine.id.to_ascii_lowercase());
            if seen.contains(&next) || seen.len() > MAX_MERGES {
                let message = format!(
                    "machine {id} has no current record: its records are merged into each other, \
                     {next} among them"
                );
                return Err(Error::new(Kind::Service, message)
                    .with_machine(id)
                    .with_hint("give the id that the device page of the Defender portal shows"));
            }
            machine = self.read_machine(&next).await?;
        }
        Ok(machine)
    }

    /// Reads one record. The service refuses the ids of some merged records, and a 404 may pass
    /// (docs/service.md, section 19).
    async fn read_machine(&self, id: &str) -> Result<Machine> {
        let reading = || async {
            let path = format!("/api/machines/{}", encode(id));
            let call = ApiCall::get(Operation::GetMachine, path).with_machine_id(id);
            self.call(&call, |body| {
                let machine: Machine = model::decode_entity(body)?;
                super::check_same_id("machine", id, &machine.id)?;
                Ok(machine)
            })
            .await
        };
        let error = match self.reread_if_not_found(reading).await {
            Err(error) if matches!(error.status, Some(400 | 404)) && is_machine_id(id) => error,
            other => return other,
        };
        // The list has the record that the call refuses, with the id of the record that replaces it.
        let filter = format!("id eq {}", odata_literal(id));
        let listed = self.list_machines_once(Some(&filter), None).await.unwrap_or_default();
        listed.into_iter().find(|machine| machine.id.eq_ignore_ascii_case(id)).ok_or(error)
    }

    /// Makes a read that may be a 404 although its object exists, at most three times.
    pub async fn reread_if_not_found<T, F>(&self, read: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        for pause in pauses::REREAD_NOT_FOUND {
            match read().await {
                Err(error) if error.status == Some(404) => {
                    self.clock.sleep(pause.seconds(&self.options.limits)).await;
                }
                other => return other,
            }
        }
        read().await
    }

    /// Reads the machine with this id, full computer name or short computer name.
    pub async fn resolve_machine(&self, name: &str) -> Result<Machine> {
        let name = name.trim();
        check_machine_name(name)?;
        if is_machine_id(name) {
            return self.get_machine(&name.to_ascii_lowercase()).await;
        }
        // A short name has no domain, so the filter matches a prefix and `is_named` decides.
        let filter = format!("startswith(computerDnsName,{})", odata_literal(&name.to_lowercase()));
        let listed = self.list_with_prefix(name, &filter).await;
        let mut found = listed.map_err(|mut error| {
            error.message = format!("could not find the machine {name:?}: {}", error.message);
            error
        })?;
        found.retain(|machine| machine.is_named(name));
        let namesakes: Vec<_> = found.iter().map(Namesake::new).collect();
        match namesakes::choose(&namesakes) {
            Choice::None => Err(machine_not_found(name)),
            Choice::Merged(id) => self.get_machine(&id).await,
            Choice::One(at) if at < found.len() => Ok(found.swap_remove(at)),
            Choice::One(_) | Choice::Several => {
                let json = |machine: &Machine| serde_json::from_str(&machine.raw).ok();
                let candidates = found.iter().filter_map(json).collect();
                Err(namesakes::ambiguous_error(name, &namesakes, candidates))
            }
        }
    }

    /// Lists the machines whose names start with `name`. A list of others only is read again.
    async fn list_with_prefix(&self, name: &str, filter: &str) -> Result<Vec<Machine>> {
        for pause in pauses::REREAD_NOT_FOUND.map(Some).into_iter().chain([None]) {
            let found = self.list_machines(Some(filter), None).await?;
            if found.is_empty() || found.iter().any(|machine| machine.name_starts_with(name)) {
                return Ok(found);
            }
            if let Some(pause) = pause {
                self.clock.sleep(pause.seconds(&self.options.limits)).await;
            }
        }
        Err(other_machines_error())
    }

    /// Lists machines (page "get-machines"). If the service saw none recently, it answers 404, and
    /// the result is an empty list.
    pub async fn list_machines(
        &self,
        filter: Option<&str>,
        top: Option<u32>,
    ) -> Result<Vec<Machine>> {
        match self.reread_if_not_found(|| self.list_machines_once(filter, top)).await {
            Err(error) if error.status == Some(404) => Ok(Vec::new()),
            other => other,
        }
    }

    async fn list_machines_once(
        &self,
        filter: Option<&str>,
        top: Option<u32>,
    ) -> Result<Vec<Machine>> {
        let (operation, path) = (Operation::ListMachines, "/api/machines");
        Ok(self.list(ListQuery { operation, path, filter, top, order: None }).await?.items)
    }

    /// Reads one page of machines. Returns the path of the next page, to pass as `next`.
    pub async fn list_machines_page(
        &self,
        filter: Option<&str>,
        next: Option<String>,
    ) -> Result<(Vec<Machine>, Option<String>)> {
        let query = filter.map(|filter| format!("?$filter={}", encode(filter)));
        let path = next.unwrap_or_else(|| format!("/api/machines{}", query.unwrap_or_default()));
        let call = ApiCall::get(Operation::ListMachines, path);
        match self.reread_if_not_found(|| self.call(&call, model::decode_page)).await {
            Ok(page) => {
                warn_skipped(call.operation, page.skipped.len());
                Ok((page.value, page.next_link.as_deref().map(next_page_path).transpose()?))
            }
            Err(error) if error.status == Some(404) => Ok((Vec::new(), None)),
            Err(error) => Err(error),
        }
    }
}

/// Returns the error for a name that no machine has.
pub fn machine_not_found(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("no machine is named {name:?}")).with_hint(
        "check the name in the device inventory of the Defender portal, or give the machine id; a \
         device group may hide the machine from this application",
    )
}

/// The error of a list that has other machines than those asked for, each time it is read.
pub fn other_machines_error() -> Error {
    Error::new(Kind::Service, "the service answered with other machines")
}
