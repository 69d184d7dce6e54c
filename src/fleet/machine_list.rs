//! Reads the list of machines in pages: those with given ids and names, or all.

use crate::client::{PageGuard, odata_literal};
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

/// Returns the filters that find these machines. None: all machines must be listed.
pub fn build_filters(ids: &[&String], names: &[&String]) -> Option<Vec<String>> {
    let calls = ids.len().div_ceil(IDS_PER_FILTER) + names.len().div_ceil(NAMES_PER_FILTER);
    if calls > MAX_FILTERED_CALLS {
        return None;
    }
    let ids: Vec<String> = ids.iter().map(|id| odata_literal(id)).collect();
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("startswith(computerDnsName,{})", odata_literal(name)))
        .collect();
    let by_id = ids.chunks(IDS_PER_FILTER).map(|chunk| format!("id in ({})", chunk.join(",")));
    Some(by_id.chain(names.chunks(NAMES_PER_FILTER).map(|chunk| chunk.join(" or "))).collect())
}

/// Passes each page of the list to `on_page`. A machine may be on two pages.
pub async fn read(
    pipeline: &Pipeline,
    filters: Option<Vec<String>>,
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
    filter: Option<&str>,
    on_page: &mut impl FnMut(Vec<Machine>),
) -> Result<()> {
    let started = pipeline.clock.now();
    let mut guard = PageGuard::default();
    let mut count = 0;
    let mut next: Option<String> = None;
    loop {
        match pipeline.list_machines_page(filter, next.clone()).await {
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
