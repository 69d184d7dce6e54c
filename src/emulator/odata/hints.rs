//! Narrows a list by an index before the filter runs on each item.

use super::FieldValue;
use super::filter::{Filter, Operand, Operator};
use super::function::Function;

/// The conditions that every match of a filter must satisfy: its top-level `and` parts.
pub(in crate::emulator) struct IndexHints<'a>(Vec<&'a Filter>);

impl<'a> IndexHints<'a> {
    pub fn from_filter(filter: Option<&'a Filter>) -> Self {
        // Only the parts of a top-level `and` are certain. A part of an `or` may fail in a match.
        Self(match filter {
            Some(Filter::And(parts)) => parts.iter().collect(),
            Some(other) => vec![other],
            None => Vec::new(),
        })
    }

    /// Returns the strings that `property` may equal, if the filter restricts it to such a set.
    pub fn equal_to(&self, property: &str) -> Option<Vec<&'a str>> {
        self.0.iter().find_map(|filter| match filter {
            Filter::Compare(name, Operator::Eq, FieldValue::Text(text)) if *name == property => {
                Some(vec![text.as_ref()])
            }
            Filter::In(name, literals) if *name == property => Some(
                literals
                    .iter()
                    .filter_map(|literal| match literal {
                        FieldValue::Text(text) => Some(text.as_ref()),
                        _ => None,
                    })
                    .collect(),
            ),
            _ => None,
        })
    }

    /// Returns the prefix that `property` must begin with, if the filter requires one.
    pub fn prefix(&self, property: &str) -> Option<&'a str> {
        self.0.iter().find_map(|filter| match filter {
            Filter::Compare(name, Operator::Eq, FieldValue::Text(text)) if *name == property => {
                Some(text.as_ref())
            }
            Filter::FunctionCall(Function::StartsWith, arguments) => match arguments.as_slice() {
                [Operand::Property(name), Operand::Literal(FieldValue::Text(text))]
                    if *name == property =>
                {
                    Some(text.as_ref())
                }
                _ => None,
            },
            _ => None,
        })
    }
}
