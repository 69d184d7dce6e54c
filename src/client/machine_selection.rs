//! Lists the machines that satisfy several conditions.

use super::odata_literal;
use crate::error::{Error, Result};
use crate::model::{Machine, Timestamp};
use crate::pipeline::Pipeline;

/// Conditions for machines. All that are given must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MachineSelection {
    /// An OData filter.
    pub filter: Option<String>,
    pub tag: Option<String>,
    /// The name of the device group.
    pub group: Option<String>,
    pub os: Option<String>,
    pub health: Option<String>,
    /// The last IP address.
    pub ip: Option<String>,
    /// Seconds since the last full report.
    pub seen_within: Option<f64>,
}

impl MachineSelection {
    /// Refuses an empty value, which no machine has, before any request.
    pub fn check(&self) -> Result<()> {
        let given = [
            ("tag", &self.tag),
            ("group", &self.group),
            ("os", &self.os),
            ("health", &self.health),
            ("ip", &self.ip),
        ];
        match given.into_iter().find(|(_, it)| it.as_ref().is_some_and(|it| it.trim().is_empty())) {
            Some((name, _)) => Err(Error::invalid(format!("{name} is empty"))
                .with_hint("give a value, or None for any")),
            None => Ok(()),
        }
    }

    /// Returns the part that the service's own filter decides (page "get-machines").
    fn odata_filter(&self, service_now: f64) -> Option<String> {
        let equal = |name, value: &Option<String>| {
            value.as_ref().map(|value| format!("{name} eq {}", odata_literal(value)))
        };
        let since = self.seen_within.and_then(|age| Timestamp::from_unix(service_now - age));
        let parts = [
            self.filter.as_ref().map(|filter| format!("({filter})")),
            self.tag.as_ref().map(|tag| format!("machineTags/any(t: t eq {})", odata_literal(tag))),
            equal("osPlatform", &self.os),
            equal("healthStatus", &self.health),
            equal("lastIpAddress", &self.ip),
            since.map(|since| format!("lastSeen ge {since}")),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        match (parts.as_slice(), &self.filter) {
            ([], _) => None,
            // Unchanged if it is alone: the service may not accept every filter in parentheses.
            ([_], Some(filter)) => Some(filter.clone()),
            _ => Some(parts.join(" and ")),
        }
    }

    /// Returns whether the machine satisfies what the service cannot filter by.
    fn matches(&self, machine: &Machine) -> bool {
        let group = machine.rbac_group_name.as_deref().unwrap_or_default();
        self.group.as_ref().is_none_or(|wanted| wanted.trim().eq_ignore_ascii_case(group))
    }
}

impl Pipeline {
    /// Lists the machines of a selection.
    pub async fn select_machines(
        &self,
        selection: &MachineSelection,
        top: Option<u32>,
    ) -> Result<Vec<Machine>> {
        selection.check()?;
        let filter = selection.odata_filter(self.service_clock.earliest_at(self.clock.now(), 1.0));
        // The service counts machines of other groups too.
        let top_of_service = top.filter(|_| selection.group.is_none());
        let mut found = self.list_machines(filter.as_deref(), top_of_service).await?;
        found.retain(|machine| selection.matches(machine));
        found.truncate(top.map_or(usize::MAX, |top| top as usize));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_filter_has_every_condition() {
        let filter = |selection: MachineSelection| selection.odata_filter(1_795_428_060.0);
        assert_eq!(filter(MachineSelection::default()), None);
        let alone = MachineSelection { filter: Some("a or b".into()), ..Default::default() };
        assert_eq!(filter(alone.clone()).unwrap(), "a or b");
        assert_eq!(
            filter(MachineSelection { group: Some("g".into()), ..Default::default() }),
            None
        );
        let all = MachineSelection {
            tag: Some("it's".into()),
            os: Some("Windows11".into()),
            health: Some("Active".into()),
            ip: Some("192.0.2.1".into()),
            seen_within: Some(60.0),
            ..alone
        };
        assert_eq!(
            filter(all).unwrap(),
            "(a or b) and machineTags/any(t: t eq 'it''s') and osPlatform eq 'Windows11' and \
             healthStatus eq 'Active' and lastIpAddress eq '192.0.2.1' and \
             lastSeen ge 2026-11-23T10:00:00Z"
        );
    }

    #[test]
    fn an_empty_condition_is_refused() {
        let empty = MachineSelection { tag: Some(" ".into()), ..Default::default() };
        assert!(empty.check().unwrap_err().message.contains("tag"));
        assert!(MachineSelection::default().check().is_ok());
    }
}
