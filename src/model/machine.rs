//! Machines: devices that Defender for Endpoint manages.

use serde::{Deserialize, Serialize};

use super::decode::{Entity, Raw};
use super::timestamp::Timestamp;

/// A machine as the service describes it (page "machine").
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub id: String,
    #[serde(alias = "computerDnsName")]
    pub computer_dns_name: Option<String>,
    #[serde(alias = "osPlatform")]
    pub os_platform: Option<String>,
    pub version: Option<String>,
    #[serde(alias = "healthStatus")]
    pub health_status: Option<String>,
    #[serde(alias = "onboardingStatus", alias = "onboardingstatus")]
    pub onboarding_status: Option<String>,
    #[serde(alias = "lastSeen")]
    pub last_seen: Option<Timestamp>,
    #[serde(alias = "rbacGroupName")]
    pub rbac_group_name: Option<String>,
    #[serde(default, deserialize_with = "super::decode::null_as_empty")]
    #[serde(alias = "machineTags")]
    pub machine_tags: Vec<String>,
    #[serde(rename = "_raw", default = "super::decode::empty_raw")]
    pub raw: Raw,
}

impl Entity for Machine {
    fn set_raw(&mut self, raw: Raw) {
        self.raw = raw;
    }
}

impl Machine {
    /// Returns whether `name` is the full or the short name of this machine.
    pub fn is_named(&self, name: &str) -> bool {
        let Some(own) = &self.computer_dns_name else { return false };
        let short = own.split('.').next().unwrap_or(own);
        own.eq_ignore_ascii_case(name) || short.eq_ignore_ascii_case(name)
    }
}
