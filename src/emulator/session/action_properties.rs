//! The OData properties of an action (docs/service.md, sections 6.1 and 6.4).

use std::borrow::Cow;

use crate::emulator::odata::{FieldType, FieldValue, Queryable};
use crate::emulator::session::action::Action;

/// The properties in the order of the service's JSON.
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

/// The properties that `$filter` supports (page "get-machineactions-collection").
const FILTERABLE: [(&str, FieldType); 6] = [
    ("id", FieldType::Key),
    ("status", FieldType::Text),
    ("machineId", FieldType::Text),
    ("type", FieldType::Text),
    ("requestor", FieldType::Text),
    ("creationDateTimeUtc", FieldType::Time),
];

impl Queryable for Action {
    fn filterable(name: &str) -> Option<(&'static str, FieldType)> {
        FILTERABLE.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn property(name: &str) -> Option<&'static str> {
        PROPERTIES.into_iter().find(|known| known.eq_ignore_ascii_case(name))
    }

    fn field(&self, name: &'static str) -> FieldValue<'_> {
        match name {
            "id" => FieldValue::Text(Cow::Owned(self.id.to_string())),
            "status" => FieldValue::Text(Cow::Borrowed(self.status.as_str())),
            "machineId" => FieldValue::Text(Cow::Borrowed(&self.machine_id)),
            "type" => FieldValue::Text(Cow::Borrowed("LiveResponse")),
            "requestor" => FieldValue::Text(Cow::Borrowed(&self.requestor)),
            "creationDateTimeUtc" => FieldValue::Time(self.created),
            _ => FieldValue::Null,
        }
    }
}
