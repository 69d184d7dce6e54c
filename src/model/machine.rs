//! Machines: devices that Defender for Endpoint manages.

use serde::{Deserialize, Serialize};

use super::id::is_machine_id;
use super::record::{Entity, NeededId, Raw};
use super::timestamp::Timestamp;

/// A machine as the service describes it (page "machine").
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub id: String,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "computerDnsName")]
    pub computer_dns_name: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "osPlatform")]
    pub os_platform: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    pub version: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "healthStatus")]
    pub health_status: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "onboardingStatus", alias = "onboardingstatus")]
    pub onboarding_status: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "lastSeen")]
    pub last_seen: Option<Timestamp>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "rbacGroupName")]
    pub rbac_group_name: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::list")]
    #[serde(alias = "machineTags")]
    pub machine_tags: Vec<String>,
    /// The id of the record that replaces this one (docs/service.md, section 19).
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "mergedIntoMachineId")]
    pub merged_into_machine_id: Option<String>,
    #[serde(rename = "_raw", default = "super::record::empty_raw")]
    pub raw: Raw,
}

impl Entity for Machine {
    type Needed = NeededId;

    fn set_raw(&mut self, raw: Raw) {
        self.raw = raw;
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl Machine {
    /// Returns the id of the record into which this one was merged.
    pub fn merged_into(&self) -> Option<String> {
        let id = self.merged_into_machine_id.as_deref()?.trim();
        (is_machine_id(id) && !id.eq_ignore_ascii_case(&self.id)).then(|| id.to_ascii_lowercase())
    }

    /// Returns whether `name` is the full or the short name of this machine.
    pub fn is_named(&self, name: &str) -> bool {
        let Some(own) = &self.computer_dns_name else { return false };
        let short = own.split('.').next().unwrap_or(own);
        own.eq_ignore_ascii_case(name) || short.eq_ignore_ascii_case(name)
    }

    /// Returns whether the name of this machine starts with `prefix`, as a filter of the list can
    /// ask.
    pub fn name_starts_with(&self, prefix: &str) -> bool {
        let own = self.computer_dns_name.as_deref().unwrap_or_default();
        own.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    }
}
