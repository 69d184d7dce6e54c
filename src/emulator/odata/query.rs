//! The query string of a list call.

use super::Queryable;
use super::filter::{Filter, compare_values};
use crate::emulator::clock::Tick;
use crate::emulator::wire::reply::ApiError;

/// The highest `$top` (pages "get-machines" and "get-machineactions-collection").
const MAX_TOP: usize = 10_000;

/// The options of a list call. Names that do not begin with `$` are ignored, as by the service.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Query {
    pub filter: Option<Filter>,
    pub top: Option<usize>,
    pub skip: usize,
    pub count: bool,
    pub select: Option<Vec<&'static str>>,
    /// The properties to sort by, and whether descending.
    order: Vec<(&'static str, bool)>,
    // The options as given: the next-page link repeats them.
    filter_text: Option<String>,
    order_text: Option<String>,
    select_text: Option<String>,
}

impl Query {
    /// Parses a query string; an invalid option is a 400 `ODataError`. `now` is the filter's
    /// `now()`.
    pub fn parse<T: Queryable>(text: &str, now: Tick) -> Result<Self, ApiError> {
        let (mut query, mut seen) = (Self::default(), Vec::new());
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let name = name.to_ascii_lowercase();
            if name.starts_with('$') && seen.contains(&name) {
                return Err(odata_error(format!(
                    "Query option '{name}' was specified more than once."
                )));
            }
            seen.push(name.clone());
            match name.as_str() {
                "$filter" => {
                    query.filter = Some(Filter::parse::<T>(&value, now).map_err(odata_error)?);
                    query.filter_text = Some(value.into_owned());
                }
                "$top" => query.top = Some(parse_number("$top", &value)?),
                "$skip" => query.skip = parse_number("$skip", &value)?,
                "$count" => query.count = parse_bool("$count", &value)?,
                "$orderby" => {
                    query.order = parse_orderby::<T>(&value)?;
                    query.order_text = Some(value.into_owned());
                }
                "$select" => {
                    query.select = parse_select::<T>(&value)?;
                    query.select_text = Some(value.into_owned());
                }
                name if name.starts_with('$') => {
                    return Err(odata_error(format!(
                        "The query parameter '{name}' is not supported."
                    )));
                }
                _ => {}
            }
        }
        if query.top.is_some_and(|top| top > MAX_TOP) {
            let message = format!("The limit of '{MAX_TOP}' for Top query has been exceeded.");
            return Err(odata_error(message));
        }
        Ok(query)
    }

    /// Returns whether `item` matches the `$filter`.
    pub fn matches<T: Queryable>(&self, item: &T) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(item))
    }

    /// Sorts by `$orderby`. Items that compare equal keep their order.
    pub fn sort<T: Queryable>(&self, items: &mut [&T]) {
        if self.order.is_empty() {
            return;
        }
        items.sort_by(|a, b| {
            let orderings = self.order.iter().map(|(name, descending)| {
                let ordering = compare_values(&a.field(name), &b.field(name))
                    .unwrap_or(std::cmp::Ordering::Equal);
                if *descending { ordering.reverse() } else { ordering }
            });
            orderings.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
    }

    /// Returns the query string of the page after the `served` items.
    pub fn next_page(&self, served: usize) -> String {
        let mut next = url::form_urlencoded::Serializer::new(String::new());
        let texts = [
            ("$filter", &self.filter_text),
            ("$orderby", &self.order_text),
            ("$select", &self.select_text),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                next.append_pair(name, text);
            }
        }
        if let Some(top) = self.top {
            next.append_pair("$top", &top.saturating_sub(served).to_string());
        }
        next.append_pair("$skip", &(self.skip + served).to_string());
        // `$skip` reads better in logs than `%24skip`. Clients treat the link as opaque, and the
        // service's own form is not known (docs/service.md, section 13).
        next.finish().replace("%24", "$")
    }
}

fn parse_orderby<T: Queryable>(text: &str) -> Result<Vec<(&'static str, bool)>, ApiError> {
    let keys = text.split(',').map(|key| {
        let mut words = key.split_whitespace();
        let name = words.next().unwrap_or("");
        let (known, _) = T::filterable(name).ok_or_else(|| unknown_property(name))?;
        match words.next().map(str::to_ascii_lowercase).as_deref() {
            None | Some("asc") => Ok((known, false)),
            Some("desc") => Ok((known, true)),
            Some(other) => {
                Err(odata_error(format!("Syntax error: '{other}' must be 'asc' or 'desc'.")))
            }
        }
    });
    keys.collect()
}

/// Returns the selected properties, or `None` if all are selected.
fn parse_select<T: Queryable>(text: &str) -> Result<Option<Vec<&'static str>>, ApiError> {
    if matches!(text.trim(), "" | "*") {
        return Ok(None);
    }
    let names = text
        .split(',')
        .map(|name| T::property(name.trim()).ok_or_else(|| unknown_property(name.trim())));
    names.collect::<Result<_, _>>().map(Some)
}

fn parse_bool(name: &str, value: &str) -> Result<bool, ApiError> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(odata_error(format!(
            "Invalid value '{value}' for {name} query option found. The {name} query option \
             requires a value of 'true' or 'false'."
        ))),
    }
}

fn unknown_property(name: &str) -> ApiError {
    odata_error(format!("Could not find a property named '{name}'."))
}

fn parse_number(name: &str, value: &str) -> Result<usize, ApiError> {
    value
        .parse()
        .map_err(|_| odata_error(format!("Invalid value '{value}' for {name} query option found.")))
}

fn odata_error(message: String) -> ApiError {
    ApiError::bad_request("ODataError", message)
}
