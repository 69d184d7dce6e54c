//! The filters that list only the machines of a run.

use crate::client::odata_literal;

/// Ids in one `$filter`, as many as the poller uses. The service documents no limit of the URL's
/// length (docs/service.md, section 6).
const IDS_PER_FILTER: usize = 50;
/// Names in one `$filter`. Each is a condition of its own, and OData services commonly allow 100
/// nodes in a filter.
const NAMES_PER_FILTER: usize = 20;

/// Returns how many filters list so many ids and names.
pub fn count_filters(ids: usize, names: usize) -> usize {
    ids.div_ceil(IDS_PER_FILTER) + names.div_ceil(NAMES_PER_FILTER)
}

pub fn build_filters<'a>(
    ids: impl Iterator<Item = &'a String>,
    names: impl Iterator<Item = &'a String>,
) -> Vec<String> {
    let ids: Vec<String> = ids.map(|id| odata_literal(id)).collect();
    let condition = |name: &String| format!("startswith(computerDnsName,{})", odata_literal(name));
    let names: Vec<String> = names.map(condition).collect();
    let by_id = ids.chunks(IDS_PER_FILTER).map(|chunk| format!("id in ({})", chunk.join(",")));
    by_id.chain(names.chunks(NAMES_PER_FILTER).map(|chunk| chunk.join(" or "))).collect()
}
