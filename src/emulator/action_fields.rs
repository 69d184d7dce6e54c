//! What a list of actions can be asked of (facts.md, section 6.4).

use std::borrow::Cow;

use super::action::Action;
use super::odata::{Field, Fields, Kind};

/// Properties in the order of the wire.
const PROPERTIES: [&str; 20] = [
    "id",
    "type",
    "title",
    "requestor",
    "requestorComment",
    "status",
    "machineId",
    "computerDnsName",
    "creationDateTimeUtc",
    "lastUpdateDateTimeUtc",
    "cancellationRequestor",
    "cancellationComment",
    "cancellationDateTimeUtc",
    "errorHResult",
    "scope",
    "externalId",
    "requestSource",
    "relatedFileInfo",
    "commands",
    "troubleshootInfo",
];

/// What `$filter` may name (page "get-machineactions-collection").
const FILTERABLE: [(&str, Kind); 6] = [
    ("id", Kind::Key),
    ("status", Kind::Text),
    ("machineId", Kind::Text),
    ("type", Kind::Text),
    ("requestor", Kind::Text),
    ("creationDateTimeUtc", Kind::Time),
];

impl Fields for Action {
    fn filterable(name: &str) -> Option<(&'static str, Kind)> {
        FILTERABLE.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn property(name: &str) -> Option<&'static str> {
        PROPERTIES.into_iter().find(|known| known.eq_ignore_ascii_case(name))
    }

    fn field(&self, name: &'static str) -> Field<'_> {
        match name {
            "id" => Field::Text(Cow::Owned(self.id.to_string())),
            "status" => Field::Text(Cow::Borrowed(self.status.word())),
            "machineId" => Field::Text(Cow::Borrowed(&self.machine_id)),
            "type" => Field::Text(Cow::Borrowed("LiveResponse")),
            "requestor" => Field::Text(Cow::Borrowed(&self.requestor)),
            "creationDateTimeUtc" => Field::Time(self.created),
            _ => Field::Null,
        }
    }
}
