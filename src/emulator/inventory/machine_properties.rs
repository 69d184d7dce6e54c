//! The properties of a machine: their order, defaults, types and OData support (docs/service.md,
//! section 9).

use serde_json::{Map, Value};

use crate::emulator::odata::FieldType;
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

/// Refuses a property of a wrong type. Ignores properties that the service does not have.
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

/// What `$filter` may name (page "get-machines").
pub const FILTERABLE: [(&str, FieldType); 14] = [
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
