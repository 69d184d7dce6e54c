//! What an index can be asked for, before a filter is tried on each item.

use super::FieldValue;
use super::filter::{Filter, Function, Operator};

/// What must hold of an item for a filter to match, as far as it can be told at a glance. For looking up by an index.
pub(in crate::emulator) struct IndexHints<'a>(Vec<&'a Filter>);

impl<'a> IndexHints<'a> {
    pub fn from_filter(filter: Option<&'a Filter>) -> Self {
        Self(match filter {
            Some(Filter::And(all)) => all.iter().collect(),
            Some(other) => vec![other],
            None => Vec::new(),
        })
    }

    /// The texts of which a property must equal one.
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

    /// What a property must begin with.
    pub fn prefix(&self, property: &str) -> Option<&'a str> {
        self.0.iter().find_map(|filter| match filter {
            Filter::Compare(name, Operator::Eq, FieldValue::Text(text)) if *name == property => {
                Some(text.as_ref())
            }
            Filter::FunctionCall(Function::StartsWith, name, text) if *name == property => {
                Some(text.as_str())
            }
            _ => None,
        })
    }
}
