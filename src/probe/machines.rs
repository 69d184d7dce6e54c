//! How the service finds machines: by name, by the id of a merged record, and not at all.

use std::collections::HashMap;

use super::observations::Observations;
use super::{Answer, ask, get};
use crate::client::odata_literal;
use crate::error::Result;
use crate::model::{self, Machine, Page, check_machine_name, is_machine_id};
use crate::operation::Operation;
use crate::pauses;
use crate::pipeline::{ApiCall, ApiResponse, Pipeline};

/// How many machines are read.
const MAX_MACHINES: u32 = 1000;
/// How many merged records are asked for.
const MAX_MERGED: usize = 3;

pub(super) async fn read_machines(pipeline: &Pipeline, evidence: &mut Observations) {
    read_empty_list(pipeline, evidence).await;
    let listed = pipeline.list_machines(None, Some(MAX_MACHINES)).await;
    let machines = listed.unwrap_or_default();
    read_by_name(pipeline, &machines, evidence).await;
    let merged = machines.iter().filter(|machine| machine.merged_into().is_some());
    for machine in merged.take(MAX_MERGED) {
        match ask_machine(pipeline, evidence, &machine.id).await {
            Answer::Read(_) => evidence.add("merged_machine", "record"),
            Answer::Refused(status) => {
                evidence.add("merged_machine", "refused");
                evidence.add("merged_machine_status", status);
            }
            Answer::Unknown => {}
        }
    }
}

/// Asks for a machine that no tenant has.
async fn read_empty_list(pipeline: &Pipeline, evidence: &mut Observations) {
    let name = format!("mlr-probe-{}.invalid", uuid::Uuid::new_v4().simple());
    let filter = format!("computerDnsName%20eq%20{}", odata_literal(&name));
    let call = get(Operation::ListMachines, format!("/api/machines?$filter={filter}"));
    match ask(pipeline, evidence, &call, read_page).await {
        Answer::Read(page) if page.value.is_empty() => evidence.add("no_machines_is_404", false),
        Answer::Refused(404) => evidence.add("no_machines_is_404", true),
        _ => {}
    }
}

fn read_page(response: &ApiResponse) -> Result<Page<Machine>> {
    model::decode_page(&response.body)
}

/// Asks for a machine by its name. Of a name that several have, the answer says more.
async fn read_by_name(pipeline: &Pipeline, machines: &[Machine], evidence: &mut Observations) {
    let mut by_name: HashMap<String, Vec<&Machine>> = HashMap::new();
    for machine in machines {
        let name = machine.computer_dns_name.as_deref().unwrap_or_default().trim();
        // A name that the path of a URL would change is left out.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let usable = name.chars().all(is_plain) && check_machine_name(name).is_ok();
        if usable && !is_machine_id(name) && machine.merged_into().is_none() {
            by_name.entry(name.to_ascii_lowercase()).or_default().push(machine);
        }
    }
    let most = by_name.into_iter().max_by_key(|(name, them)| {
        // The name decides between equals, so that the same machine is asked for each time.
        (them.len(), std::cmp::Reverse(name.clone()))
    });
    let Some((name, them)) = most else { return };
    match ask_machine(pipeline, evidence, &name).await {
        Answer::Read(found) => {
            let newest = them.iter().map(|machine| machine.last_seen).max();
            let known = them.iter().find(|machine| machine.id.eq_ignore_ascii_case(&found.id));
            if known.is_some_and(|known| Some(known.last_seen) == newest) {
                evidence.add("machine_by_name", "newest");
            } else {
                evidence.fact("machine_by_name", "not the newest");
            }
        }
        Answer::Refused(404) => evidence.add("machine_by_name", "refused"),
        Answer::Refused(_) | Answer::Unknown => {}
    }
}

/// Reads a machine by id or name. A 404 may pass (docs/service.md, section 19).
async fn ask_machine(
    pipeline: &Pipeline,
    evidence: &mut Observations,
    key: &str,
) -> Answer<Machine> {
    let call = ApiCall::get(Operation::GetMachine, format!("/api/machines/{key}"));
    let decode = |response: &ApiResponse| model::decode_entity(&response.body);
    let mut pauses = pauses::REREAD_NOT_FOUND.into_iter();
    loop {
        match (ask(pipeline, evidence, &call, decode).await, pauses.next()) {
            (Answer::Refused(404), Some(pause)) => {
                pipeline.clock.sleep(pause.seconds(&pipeline.options.limits)).await;
            }
            (answer, _) => return answer,
        }
    }
}
