//! The OData query options of the service's lists: `$filter`, `$top`, `$skip`, `$orderby`, `$count`
//! and `$select` (docs/service.md, section 3.4).

mod filter;
mod function;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod hints;
mod lexer;
mod operand;
mod parser;
mod primary;
mod query;

#[cfg(any(test, fuzzing))]
pub use fuzz::query as fuzz_query;
pub(super) use hints::IndexHints;
pub(super) use query::Query;

use std::borrow::Cow;

use super::clock::Tick;

/// The value of a property.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FieldValue<'a> {
    Null,
    Text(Cow<'a, str>),
    Number(f64),
    Bool(bool),
    Time(Tick),
    TimeSpan(Tick),
    List(Vec<String>),
}

/// A type of the service's schema. A comparison of two types that do not fit is a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldType {
    Text,
    Number,
    Bool,
    Time,
    TimeSpan,
    List,
    /// A GUID literal without quotes.
    Guid,
    /// A GUID property. The service accepts it in quotes too (docs/service.md, section 3.4).
    Key,
}

impl FieldType {
    /// Returns the type's name in the service's error messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "Edm.String",
            Self::Number => "Edm.Int32",
            Self::Bool => "Edm.Boolean",
            Self::Time => "Edm.DateTimeOffset",
            Self::TimeSpan => "Edm.Duration",
            Self::List => "Collection(Edm.String)",
            Self::Guid | Self::Key => "Edm.Guid",
        }
    }

    /// Returns whether the service compares values of the two types.
    pub fn compares_with(self, other: Self) -> bool {
        self == other
            || matches!(
                (self, other),
                (Self::Key, Self::Text | Self::Guid) | (Self::Text | Self::Guid, Self::Key)
            )
    }
}

/// An item of a list that supports OData queries.
pub(super) trait Queryable {
    /// Returns the property with that name in any case, and its type, if `$filter` supports it.
    fn filterable(name: &str) -> Option<(&'static str, FieldType)>;
    /// Returns the property with that name in any case.
    fn property(name: &str) -> Option<&'static str>;
    /// Returns the value of a property.
    fn field(&self, name: &'static str) -> FieldValue<'_>;
}
