//! Reads the list of machines in pages: those with given ids and names, or all.

use crate::client::{PageGuard, odata_literal, other_machines_error};
use crate::error::{Kind, Result};
use crate::model::Machine;
use crate::pauses;
use crate::pipeline::Pipeline;

/// Ids in one `$filter`, as many as the poller uses. The service documents no limit of the URL's
/// length (docs/service.md, section 6).
const IDS_PER_FILTER: usize = 50;
/// Names in one `$filter`. Each is a condition of its own, and OData services commonly allow 100
/// nodes in a filter.
const NAMES_PER_FILTER: usize = 20;
/// If filters would take more calls than this, all machines are listed instead.
const MAX_FILTERED_CALLS: usize = 10;

/// A filter, and what it asks for.
pub struct MachineFilter {
    query: String,
    keys: Keys,
}

/// What a machine must have.
enum Keys {
    Ids(Vec<String>),
    /// The starts of names.
    Names(Vec<String>),
}

impl MachineFilter {
    fn of_ids(ids: &[&String]) -> Self {
        let literals: Vec<_> = ids.iter().map(|id| odata_literal(id)).collect();
        let keys = Keys::Ids(ids.iter().map(|id| (*id).clone()).collect());
        Self { query: format!("id in ({})", literals.join(",")), keys }
    }

    fn of_names(names: &[&String]) -> Self {
        let condition =
            |name: &&String| format!("startswith(computerDnsName,{})", odata_literal(name));
        let keys = Keys::Names(names.iter().map(|name| (*name).clone()).collect());
        Self { query: names.iter().map(condition).collect::<Vec<_>>().join(" or "), keys }
    }

    fn is_for(&self, machine: &Machine) -> bool {
        match &self.keys {
            Keys::Ids(ids) => ids.iter().any(|id| machine.id.eq_ignore_ascii_case(id)),
            Keys::Names(names) => names.iter().any(|name| machine.name_starts_with(name)),
        }
    }
}

/// Returns the filters that find these machines. None: all machines must be listed.
pub fn build_filters(ids: &[&String], names: &[&String]) -> Option<Vec<MachineFilter>> {
    let calls = ids.len().div_ceil(IDS_PER_FILTER) + names.len().div_ceil(NAMES_PER_FILTER);
    if calls > MAX_FILTERED_CALLS {
        return None;
    }
    let by_id = ids.chunks(IDS_PER_FILTER).map(MachineFilter::of_ids);
    Some(by_id.chain(names.chunks(NAMES_PER_FILTER).map(MachineFilter::of_names)).collect())
}

/// Passes each page of the list to `on_page`. A machine may be on two pages.
pub async fn read(
    pipeline: &Pipeline,
    filters: Option<Vec<MachineFilter>>,
    mut on_page: impl FnMut(Vec<Machine>),
) -> Result<()> {
    let Some(filters) = filters else { return read_pages(pipeline, None, &mut on_page).await };
    for filter in filters {
        match read_pages(pipeline, Some(&filter), &mut on_page).await {
            // The limits of a filter are not documented. The list without a filter always works.
            Err(error) if error.kind == Kind::InvalidRequest => {
                return read_pages(pipeline, None, &mut on_page).await;
            }
            other => other?,
        }
    }
    Ok(())
}

async fn read_pages(
    pipeline: &Pipeline,
    filter: Option<&MachineFilter>,
    on_page: &mut impl FnMut(Vec<Machine>),
) -> Result<()> {
    let started = pipeline.clock.now();
    let mut guard = PageGuard::default();
    let mut count = 0;
    let mut next: Option<String> = None;
    let mut rereads = pauses::REREAD_NOT_FOUND.into_iter();
    let query = filter.map(|filter| filter.query.as_str());
    loop {
        match pipeline.list_machines_page(query, next.clone()).await {
            // A list of several pages may be one that the filter did not narrow.
            Ok((machines, None)) if next.is_none() && is_of_others(&machines, filter) => {
                let pause = rereads.next().ok_or_else(other_machines_error)?;
                pipeline.clock.sleep(pause.seconds(&pipeline.options.limits)).await;
            }
            Ok((machines, link)) => {
                count += machines.len();
                on_page(machines);
                let Some(link) = link else { return Ok(()) };
                guard.check(&link, count)?;
                next = Some(link);
            }
            Err(error) => {
                let limits = &pipeline.options.limits;
                let waited = pipeline.clock.now() - started;
                if !error.retryable || waited > limits.queue_time {
                    return Err(error);
                }
                pipeline.clock.sleep(pauses::LIST_MACHINES.seconds(limits)).await;
            }
        }
    }
}

/// Returns whether a page has none of the machines that the filter asks for, but has others.
fn is_of_others(machines: &[Machine], filter: Option<&MachineFilter>) -> bool {
    filter.is_some_and(|filter| {
        !machines.is_empty() && !machines.iter().any(|machine| filter.is_for(machine))
    })
}
