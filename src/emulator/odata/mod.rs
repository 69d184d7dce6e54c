//! OData as the service has it (facts.md, section 3.4): `$filter`, `$top`, `$skip`, `$orderby`, `$count`, `$select`.

mod filter;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod hints;
mod lexer;
mod parser;
mod query;

#[cfg(any(test, fuzzing))]
pub use fuzz::query as fuzz_query;
pub(super) use hints::IndexHints;
pub(super) use query::Query;

use std::borrow::Cow;

use super::clock::Tick;

/// A property's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FieldValue<'a> {
    Null,
    Text(Cow<'a, str>),
    Number(f64),
    Bool(bool),
    Time(Tick),
    List(Vec<String>),
}

/// A type of the service's schema. Unlike ones are not compared but refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldType {
    Text,
    Number,
    Bool,
    Time,
    List,
    /// A GUID without quotes.
    Guid,
    /// A property that is a GUID; the service takes it in quotes too (facts 3.4).
    Key,
}

impl FieldType {
    /// The name that the service's messages have for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "Edm.String",
            Self::Number => "Edm.Int32",
            Self::Bool => "Edm.Boolean",
            Self::Time => "Edm.DateTimeOffset",
            Self::List => "Collection(Edm.String)",
            Self::Guid | Self::Key => "Edm.Guid",
        }
    }

    pub fn compares_with(self, other: Self) -> bool {
        self == other
            || matches!(
                (self, other),
                (Self::Key, Self::Text | Self::Guid) | (Self::Text | Self::Guid, Self::Key)
            )
    }
}

/// What a list can be asked of.
pub(super) trait Queryable {
    /// The property of that name, whatever its case, if a filter may name it; with its type.
    fn filterable(name: &str) -> Option<(&'static str, FieldType)>;
    /// The property of that name, whatever its case.
    fn property(name: &str) -> Option<&'static str>;
    fn field(&self, name: &'static str) -> FieldValue<'_>;
}
