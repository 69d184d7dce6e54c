//! The fuzz target for query strings.

use std::borrow::Cow;

use super::{FieldType, FieldValue, Query, Queryable};
use crate::emulator::clock::{SECOND, Tick};

/// The time of the sample item, and the value of `now()`.
const TIME: Tick = 1_795_428_000 * SECOND;

/// An item with one property of each type.
struct SampleItem;

const FILTERABLE: [(&str, FieldType); 6] = [
    ("status", FieldType::Text),
    ("number", FieldType::Number),
    ("flag", FieldType::Bool),
    ("creationDateTimeUtc", FieldType::Time),
    ("machineTags", FieldType::List),
    ("id", FieldType::Key),
];

impl Queryable for SampleItem {
    fn filterable(name: &str) -> Option<(&'static str, FieldType)> {
        FILTERABLE.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn property(name: &str) -> Option<&'static str> {
        Self::filterable(name).map(|(known, _)| known)
    }

    fn field(&self, name: &'static str) -> FieldValue<'_> {
        match name {
            "status" => FieldValue::Text(Cow::Borrowed("Pending")),
            "number" => FieldValue::Number(3.0),
            "flag" => FieldValue::Bool(true),
            "creationDateTimeUtc" => FieldValue::Time(TIME),
            "machineTags" => FieldValue::List(vec!["red".to_owned(), "blue".to_owned()]),
            "id" => FieldValue::Text(Cow::Borrowed("6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10")),
            _ => FieldValue::Null,
        }
    }
}

/// Checks that an accepted query survives the round trip through a next-page link.
pub fn query(text: &str) {
    let Ok(query) = Query::parse::<SampleItem>(text, TIME) else { return };
    query.sort(&mut [&SampleItem, &SampleItem]);
    let again = Query::parse::<SampleItem>(&query.next_page(0), TIME);
    assert_eq!(
        again.ok().map(|again| again.matches(&SampleItem)),
        Some(query.matches(&SampleItem))
    );
}
