//! OData as the service has it (facts.md, section 3.4): `$filter`, `$top`, `$skip`, `$orderby`, `$count`, `$select`.

mod filter;
mod hints;
mod lexer;
mod query;

pub(super) use filter::Filter;
pub(super) use hints::Hints;
pub(super) use query::Query;

use std::borrow::Cow;

use super::clock::Tick;

/// A property's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Null,
    Text(Cow<'a, str>),
    Number(f64),
    Flag(bool),
    Time(Tick),
    List(Vec<String>),
}

/// What a filter can be asked of.
pub(super) trait Fields {
    /// The property of that name, whatever its case, if a filter may name it.
    fn filterable(name: &str) -> Option<&'static str>;
    fn field(&self, name: &'static str) -> Field<'_>;
}
