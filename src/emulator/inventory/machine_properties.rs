//! The properties of a machine: their order, defaults, types and OData support (docs/service.md,
//! section 9).

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use crate::emulator::clock::{SECOND, format_time};
use crate::emulator::inventory::machine::Machine;
use crate::emulator::odata::{FieldType, FieldValue, Queryable};
use crate::error::{Error, Result};
use crate::model::{Timestamp, is_machine_id};

/// The properties in the order of the service's JSON.
pub const PROPERTIES: [&str; 32] = [
    "id",
    "mergedIntoMachineId",
    "isPotentialDuplication",
    "isExcluded",
    "exclusionReason",
    "computerDnsName",
    "firstSeen",
    "lastSeen",
    "osPlatform",
    "osVersion",
    "osProcessor",
    "version",
    "lastIpAddress",
    "lastExternalIpAddress",
    "agentVersion",
    "osBuild",
    "healthStatus",
    "deviceValue",
    "rbacGroupId",
    "rbacGroupName",
    "riskScore",
    "exposureLevel",
    "isAadJoined",
    "aadDeviceId",
    "machineTags",
    "defenderAvStatus",
    "onboardingStatus",
    "osArchitecture",
    "managedBy",
    "managedByStatus",
    "ipAddresses",
    "vmMetadata",
];

impl Machine {
    /// Returns the value of a property: the configured one, or else the default.
    pub fn value(&self, name: &str) -> Value {
        if let Some(value) = self.properties.get(name) {
            return value.clone();
        }
        let address = || format!("10.0.{}.{}", self.number() / 250 % 250, self.number() % 250 + 1);
        match name {
            "id" => json!(self.id),
            "computerDnsName" => json!(self.name),
            "firstSeen" => json!(format_time(self.seen - 86_400 * 30 * SECOND)),
            "lastSeen" => json!(format_time(self.seen)),
            "osPlatform" => json!("Windows11"),
            "osProcessor" => json!("x64"),
            "version" => json!("22H2"),
            "lastIpAddress" => json!(address()),
            "lastExternalIpAddress" => json!("203.0.113.7"),
            "agentVersion" => json!("10.8760.22621.2861"),
            "osBuild" => json!(22_621),
            "healthStatus" => json!("Active"),
            "deviceValue" => json!("Normal"),
            "rbacGroupId" => json!(0),
            "riskScore" | "exposureLevel" => json!("Low"),
            "isPotentialDuplication" | "isExcluded" | "isAadJoined" => json!(false),
            "machineTags" => json!([]),
            "defenderAvStatus" => json!("Updated"),
            "onboardingStatus" => json!("Onboarded"),
            "osArchitecture" => json!("64-bit"),
            "managedBy" | "managedByStatus" => json!("Unknown"),
            "ipAddresses" => json!([{
                "ipAddress": address(),
                "macAddress": "0C9D92000001",
                "type": "Ethernet",
                "operationalStatus": "Up",
            }]),
            _ => Value::Null,
        }
    }

    /// Returns a number derived from the id, so that machines get different addresses.
    fn number(&self) -> u32 {
        self.id.get(..6).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0)
    }
}

/// Checks the types of configured properties. Properties that the service does not have may be
/// anything.
pub fn check_properties(properties: &Map<String, Value>) -> Result<()> {
    for (name, value) in properties {
        if let Some(expected) = expected_type(name, value) {
            return Err(Error::invalid(format!(
                "machine property {name} is {value}; it must be {expected}"
            )));
        }
    }
    Ok(())
}

/// Checks that the service has every configured property.
pub fn check_property_names(properties: &Map<String, Value>) -> Result<()> {
    let unknown = properties.keys().find(|name| !PROPERTIES.contains(&name.as_str()));
    let Some(unknown) = unknown else { return Ok(()) };
    let known = PROPERTIES.join(", ");
    Err(Error::invalid(format!("a machine has no property {unknown:?}; it has {known}")))
}

/// Returns what the property must be, if `value` is not that.
fn expected_type(name: &str, value: &Value) -> Option<&'static str> {
    let strings =
        |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
    let objects =
        |value: &Value| value.as_array().is_some_and(|items| items.iter().all(Value::is_object));
    let time = |value: &Value| value.as_str().and_then(Timestamp::parse).is_some();
    let (valid, expected) = match name {
        "id" => (value.as_str().is_some_and(is_machine_id), "40 hexadecimal digits"),
        "computerDnsName" => (false, "omitted: it is the machine's name"),
        // The service's schema does not allow null here (docs/service.md, section 17).
        "rbacGroupId" => (value.is_i64(), "a whole number"),
        _ if !PROPERTIES.contains(&name) || value.is_null() => return None,
        "osBuild" => (value.is_i64(), "a whole number or null"),
        "isPotentialDuplication" | "isExcluded" | "isAadJoined" => {
            (value.is_boolean(), "true, false or null")
        }
        "machineTags" => (strings(value), "a list of strings"),
        "ipAddresses" => (objects(value), "a list of objects"),
        "vmMetadata" => (value.is_object(), "an object or null"),
        "firstSeen" | "lastSeen" => (time(value), "a time such as 2026-03-10T14:36:51Z, or null"),
        _ => (value.is_string(), "a string or null"),
    };
    (!valid).then_some(expected)
}

/// The properties that `$filter` supports (page "get-machines").
const FILTERABLE: [(&str, FieldType); 14] = [
    ("computerDnsName", FieldType::Text),
    ("id", FieldType::Text),
    ("version", FieldType::Text),
    ("deviceValue", FieldType::Text),
    ("aadDeviceId", FieldType::Key),
    ("machineTags", FieldType::List),
    ("lastSeen", FieldType::Time),
    ("exposureLevel", FieldType::Text),
    ("onboardingStatus", FieldType::Text),
    ("lastIpAddress", FieldType::Text),
    ("healthStatus", FieldType::Text),
    ("osPlatform", FieldType::Text),
    ("riskScore", FieldType::Text),
    ("rbacGroupId", FieldType::Number),
];

impl Queryable for Machine {
    fn filterable(name: &str) -> Option<(&'static str, FieldType)> {
        FILTERABLE.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn property(name: &str) -> Option<&'static str> {
        PROPERTIES.into_iter().find(|known| known.eq_ignore_ascii_case(name))
    }

    fn field(&self, name: &'static str) -> FieldValue<'_> {
        if name == "lastSeen" {
            return FieldValue::Time(self.last_seen());
        }
        match self.value(name) {
            Value::String(text) => FieldValue::Text(Cow::Owned(text)),
            Value::Number(number) => FieldValue::Number(number.as_f64().unwrap_or(0.0)),
            Value::Bool(flag) => FieldValue::Bool(flag),
            Value::Array(items) => FieldValue::List(
                items.into_iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
            ),
            _ => FieldValue::Null,
        }
    }
}
