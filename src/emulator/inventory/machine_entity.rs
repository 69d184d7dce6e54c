//! A machine as the API shows it: its properties with their defaults, and what a filter reads.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::emulator::clock::format_time;
use crate::emulator::control::raw_properties::{EntityKind, RawProperties};
use crate::emulator::inventory::machine::Machine;
use crate::emulator::inventory::machine_properties::{FILTERABLE, PROPERTIES};
use crate::emulator::odata::{FieldType, FieldValue, Queryable};
use crate::emulator::write_json;

impl Machine {
    /// Writes the entity in the service's order, without braces and `@odata.context`.
    pub fn write(&self, out: &mut Vec<u8>, raw: &RawProperties) {
        let start = out.len();
        self.write_properties(out);
        raw.apply(EntityKind::Machine, &self.id, out, start);
    }

    fn write_properties(&self, out: &mut Vec<u8>) {
        let known = PROPERTIES.iter().map(|name| Cow::Borrowed(*name));
        // Tests add properties that the service may gain; clients must ignore them.
        let own = self.properties.keys().filter(|name| !PROPERTIES.contains(&name.as_str()));
        for (i, name) in known.chain(own.map(|name| Cow::Borrowed(name.as_str()))).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write_json(out, name.as_ref());
            out.push(b':');
            write_json(out, &self.value(&name));
        }
    }

    /// Returns whether the machine has this IP address.
    pub fn has_address(&self, ip: &str) -> bool {
        let addresses = self.value("ipAddresses");
        let listed = addresses
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|address| address.get("ipAddress")?.as_str());
        listed.chain([self.value("lastIpAddress").as_str().unwrap_or("")]).any(|own| own == ip)
    }

    /// Returns whether the machine has this tag, or a tag that starts with it.
    pub fn has_tag(&self, tag: &str, starts_with: bool) -> bool {
        let tags = self.value("machineTags");
        let mut own = tags.as_array().into_iter().flatten().filter_map(Value::as_str);
        own.any(|own| if starts_with { own.starts_with(tag) } else { own == tag })
    }

    /// Returns a property: the machine's own value, or the default.
    pub fn value(&self, name: &str) -> Value {
        if let Some(own) = self.properties.get(name) {
            return own.clone();
        }
        let address = || format!("10.0.{}.{}", self.number() / 250 % 250, self.number() % 250 + 1);
        match name {
            "id" => json!(self.id),
            "computerDnsName" => json!(self.name),
            "firstSeen" => json!(format_time(self.first_seen)),
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
            "ipAddresses" => json!([
                {
                    "ipAddress": address(),
                    "macAddress": "0C9D92000001",
                    "type": "Ethernet",
                    "operationalStatus": "Up",
                },
            ]),
            _ => Value::Null,
        }
    }

    /// Returns a number that differs between machines, for addresses.
    fn number(&self) -> u32 {
        self.id.get(..6).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0)
    }
}

impl Queryable for Machine {
    fn filterable(name: &str) -> Option<(&'static str, FieldType)> {
        FILTERABLE.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn property(name: &str) -> Option<&'static str> {
        PROPERTIES.into_iter().find(|known| known.eq_ignore_ascii_case(name))
    }

    fn field(&self, name: &'static str) -> FieldValue<'_> {
        // Compared as a time: as texts, times with different numbers of decimals sort wrongly.
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
