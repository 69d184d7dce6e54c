//! Reads lists page by page. A list ends, whatever the service links to.

use std::collections::HashSet;

use super::{encode, next_page_path};
use crate::error::{Error, Kind, Result};
use crate::model::{self, Entity, Raw};
use crate::operation::Operation;
use crate::pipeline::{ApiCall, Pipeline};
use crate::trace::LOG_TARGET;

/// The largest page that the service returns (page "api-odata").
const MAX_PAGE_SIZE: u32 = 10_000;
/// The most pages of one list. At the read limit they take 40 minutes.
const MAX_PAGES: usize = 1000;
/// The most records of one list.
const MAX_ITEMS: usize = 1_000_000;

/// What to list.
pub(super) struct ListQuery<'a> {
    pub operation: Operation,
    pub path: &'a str,
    pub filter: Option<&'a str>,
    pub top: Option<u32>,
    pub order: Option<&'a str>,
}

/// The records of a list.
pub struct Listed<T> {
    pub items: Vec<T>,
    /// Records without a usable id.
    pub skipped: Vec<Raw>,
}

/// Counts the pages of one list, and refuses a list that does not end.
#[derive(Default)]
pub struct PageGuard {
    links: HashSet<String>,
    pages: usize,
}

impl PageGuard {
    /// Checks the link to the next page. `items`: the records that were read so far.
    pub fn check(&mut self, link: &str, items: usize) -> Result<()> {
        self.pages += 1;
        let what = if !self.links.insert(link.to_owned()) {
            "links to a page that was read already"
        } else if self.pages >= MAX_PAGES || items > MAX_ITEMS {
            "does not end"
        } else {
            return Ok(());
        };
        let message =
            format!("the service's list {what}: {} pages and {items} records", self.pages);
        Err(Error::new(Kind::Service, message)
            .with_hint("read less at once: give a filter, or top")
            .not_retryable())
    }
}

impl Pipeline {
    pub(super) async fn list<T: Entity>(&self, query: ListQuery<'_>) -> Result<Listed<T>> {
        if query.top == Some(0) {
            return Err(
                Error::invalid("top is 0").with_hint("give 1 or more, or None to read every page")
            );
        }
        let wanted = query.top.map_or(usize::MAX, |top| top as usize);
        let path = format!("{}{}", query.path, encode_query(&query));
        let mut call = ApiCall::get(query.operation, path);
        let mut all = Listed { items: Vec::new(), skipped: Vec::new() };
        let mut guard = PageGuard::default();
        loop {
            let page = self.call(&call, model::decode_page).await?;
            warn_skipped(query.operation, page.skipped.len());
            all.items.extend(page.value);
            all.skipped.extend(page.skipped);
            let Some(next) = page.next_link.filter(|_| all.items.len() < wanted) else { break };
            guard.check(&next, all.items.len() + all.skipped.len())?;
            call.path = next_page_path(&next)?;
        }
        all.items.truncate(wanted);
        Ok(all)
    }
}

/// Logs that records of a page could not be used.
pub(super) fn warn_skipped(operation: Operation, count: usize) {
    if count > 0 {
        let doing = operation.description();
        log::warn!(target: LOG_TARGET, "{doing}: {count} records have no usable id and are skipped");
    }
}

fn encode_query(query: &ListQuery<'_>) -> String {
    // The service rejects a larger $top. The links of the pages lead to the rest.
    let top = query.top.filter(|top| *top <= MAX_PAGE_SIZE).map(|top| top.to_string());
    let options = [("$filter", query.filter), ("$top", top.as_deref()), ("$orderby", query.order)];
    let given =
        options.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encode(value?))));
    let text = given.collect::<Vec<_>>().join("&");
    if text.is_empty() { text } else { format!("?{text}") }
}
