//! A list's query string.

use super::Fields;
use super::filter::{Filter, order};
use crate::emulator::reply::Refusal;

/// The most that a page may hold (pages of both lists).
const MOST: usize = 10_000;

/// The options of a list. Those of OData begin with `$`; others are ignored, as the service does.
#[derive(Debug, Default)]
pub(in crate::emulator) struct Query {
    pub filter: Option<Filter>,
    pub top: Option<usize>,
    pub skip: usize,
    pub count: bool,
    pub select: Option<Vec<&'static str>>,
    order: Vec<(&'static str, bool)>,
    /// As given, for the link to the next page.
    filter_text: Option<String>,
    order_text: Option<String>,
    select_text: Option<String>,
}

impl Query {
    pub fn parse<T: Fields>(text: &str) -> Result<Self, Refusal> {
        let (mut query, mut seen) = (Self::default(), Vec::new());
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let name = name.to_ascii_lowercase();
            if name.starts_with('$') && seen.contains(&name) {
                return Err(odata(format!("Query option '{name}' was specified more than once.")));
            }
            seen.push(name.clone());
            match name.as_str() {
                "$filter" => {
                    query.filter = Some(Filter::parse::<T>(&value).map_err(odata)?);
                    query.filter_text = Some(value.into_owned());
                }
                "$top" => query.top = Some(number("$top", &value)?),
                "$skip" => query.skip = number("$skip", &value)?,
                "$count" => query.count = flag("$count", &value)?,
                "$orderby" => {
                    query.order = ordering::<T>(&value)?;
                    query.order_text = Some(value.into_owned());
                }
                "$select" => {
                    query.select = selection::<T>(&value)?;
                    query.select_text = Some(value.into_owned());
                }
                name if name.starts_with('$') => {
                    return Err(odata(format!("The query parameter '{name}' is not supported.")));
                }
                _ => {}
            }
        }
        if query.top.is_some_and(|top| top > MOST) {
            let message = format!("The limit of '{MOST}' for Top query has been exceeded.");
            return Err(odata(message));
        }
        Ok(query)
    }

    pub fn matches<T: Fields>(&self, item: &T) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(item))
    }

    /// Sorts by `$orderby`; what it does not tell apart stays as it was.
    pub fn sort<T: Fields>(&self, items: &mut [&T]) {
        if self.order.is_empty() {
            return;
        }
        items.sort_by(|a, b| {
            let by = self.order.iter().map(|(name, descending)| {
                let ordering = order(&a.field(name), &b.field(name)).unwrap_or(std::cmp::Ordering::Equal);
                if *descending { ordering.reverse() } else { ordering }
            });
            by.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
        });
    }

    /// The query string of the page that follows after `served` items.
    pub fn next(&self, served: usize) -> String {
        let mut next = url::form_urlencoded::Serializer::new(String::new());
        let texts = [("$filter", &self.filter_text), ("$orderby", &self.order_text), ("$select", &self.select_text)];
        for (name, text) in texts {
            if let Some(text) = text {
                next.append_pair(name, text);
            }
        }
        if let Some(top) = self.top {
            next.append_pair("$top", &top.saturating_sub(served).to_string());
        }
        next.append_pair("$skip", &(self.skip + served).to_string());
        next.finish().replace("%24", "$")
    }
}

fn ordering<T: Fields>(text: &str) -> Result<Vec<(&'static str, bool)>, Refusal> {
    let keys = text.split(',').map(|key| {
        let mut words = key.split_whitespace();
        let name = words.next().unwrap_or("");
        let (known, _) = T::filterable(name).ok_or_else(|| unknown(name))?;
        match words.next().map(str::to_ascii_lowercase).as_deref() {
            None | Some("asc") => Ok((known, false)),
            Some("desc") => Ok((known, true)),
            Some(other) => Err(odata(format!("Syntax error: '{other}' is neither asc nor desc."))),
        }
    });
    keys.collect()
}

/// The properties to be shown; none where all are.
fn selection<T: Fields>(text: &str) -> Result<Option<Vec<&'static str>>, Refusal> {
    if matches!(text.trim(), "" | "*") {
        return Ok(None);
    }
    let names = text.split(',').map(|name| T::property(name.trim()).ok_or_else(|| unknown(name.trim())));
    names.collect::<Result<_, _>>().map(Some)
}

fn flag(name: &str, value: &str) -> Result<bool, Refusal> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(odata(format!(
            "Invalid value '{value}' for {name} query option found. The {name} query option requires a value of 'true' or 'false'."
        ))),
    }
}

fn unknown(name: &str) -> Refusal {
    odata(format!("Could not find a property named '{name}'."))
}

fn number(name: &str, value: &str) -> Result<usize, Refusal> {
    value.parse().map_err(|_| odata(format!("Invalid value '{value}' for {name} query option found.")))
}

fn odata(message: String) -> Refusal {
    Refusal::bad_request("ODataError", message)
}
