//! A list's query as a fuzz target has it.

use std::borrow::Cow;

use super::{Field, Fields, Kind, Query};
use crate::emulator::clock::SECOND;

/// An item that has a property of each kind.
struct Sample;

const FILTERABLE: [(&str, Kind); 6] = [
    ("status", Kind::Text),
    ("number", Kind::Number),
    ("flag", Kind::Flag),
    ("creationDateTimeUtc", Kind::Time),
    ("machineTags", Kind::List),
    ("id", Kind::Key),
];

impl Fields for Sample {
    fn filterable(name: &str) -> Option<(&'static str, Kind)> {
        FILTERABLE.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn property(name: &str) -> Option<&'static str> {
        Self::filterable(name).map(|(known, _)| known)
    }

    fn field(&self, name: &'static str) -> Field<'_> {
        match name {
            "status" => Field::Text(Cow::Borrowed("Pending")),
            "number" => Field::Number(3.0),
            "flag" => Field::Flag(true),
            "creationDateTimeUtc" => Field::Time(1_795_428_000 * SECOND),
            "machineTags" => Field::List(vec!["red".to_owned(), "blue".to_owned()]),
            "id" => Field::Text(Cow::Borrowed("6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10")),
            _ => Field::Null,
        }
    }
}

/// What is taken is taken again as the link to the next page has it, and asks for the same.
pub fn query(text: &str) {
    let Ok(query) = Query::parse::<Sample>(text) else { return };
    query.sort(&mut [&Sample, &Sample]);
    let again = Query::parse::<Sample>(&query.next(0));
    assert_eq!(again.ok().map(|again| again.matches(&Sample)), Some(query.matches(&Sample)));
}
