//! Which options of a list the service accepts.

use serde_json::{Map, Value};

use super::observations::Observations;
use super::{Answer, ask, get};
use crate::operation::Operation;
use crate::pipeline::{ApiResponse, Pipeline};

/// Options of the list of machine actions. Each is a text of ours.
const OF_ACTIONS: [(&str, &str); 12] = [
    ("$count", "$count=true"),
    ("$select", "$select=id"),
    ("$skip", "$skip=1"),
    ("creationDateTimeUtc gt", "$filter=creationDateTimeUtc%20gt%202020-01-01T00:00:00Z"),
    ("id in", "$filter=id%20in%20('00000000-0000-0000-0000-000000000000')"),
    ("machineId eq", "$filter=machineId%20eq%20'0000000000000000000000000000000000000000'"),
    ("not", "$filter=not%20(status%20eq%20'Pending')"),
    ("requestor eq", "$filter=requestor%20eq%20'mlr-probe'"),
    ("requestorComment contains", "$filter=contains(requestorComment,'mlr-probe')"),
    ("status eq", "$filter=status%20eq%20'Pending'"),
    ("status or", "$filter=status%20eq%20'Pending'%20or%20status%20eq%20'InProgress'"),
    ("type eq", "$filter=type%20eq%20'LiveResponse'"),
];
/// Options of the list of machines.
const OF_MACHINES: [(&str, &str); 8] = [
    ("computerDnsName startswith", "$filter=startswith(computerDnsName,'mlr-probe')"),
    ("computerDnsName tolower", "$filter=tolower(computerDnsName)%20eq%20'mlr-probe'"),
    ("healthStatus eq", "$filter=healthStatus%20eq%20'Active'"),
    ("id in", "$filter=id%20in%20('0000000000000000000000000000000000000000')"),
    ("lastSeen gt", "$filter=lastSeen%20gt%202020-01-01T00:00:00Z"),
    ("lastSeen gt now()", "$filter=lastSeen%20gt%20now()"),
    ("machineTags any", "$filter=machineTags/any(tag:%20tag%20eq%20'mlr-probe')"),
    ("osPlatform eq", "$filter=osPlatform%20eq%20'Windows11'"),
];

/// Tries each option with a list of one record.
pub(super) async fn try_filters(pipeline: &Pipeline, evidence: &mut Observations) {
    for (fact, operation, path, options) in [
        ("action_filters", Operation::ListMachineActions, "/api/machineactions", &OF_ACTIONS[..]),
        ("machine_filters", Operation::ListMachines, "/api/machines", &OF_MACHINES[..]),
    ] {
        let mut works = Map::new();
        for (name, option) in options {
            let call = get(operation, format!("{path}?{option}&$top=1"));
            match ask(pipeline, evidence, &call, |_: &ApiResponse| Ok(())).await {
                Answer::Read(()) => works.insert((*name).to_owned(), Value::from(true)),
                // A list of machines without a match may be a 404.
                Answer::Refused(404) => works.insert((*name).to_owned(), Value::from(true)),
                Answer::Refused(_) => works.insert((*name).to_owned(), Value::from(false)),
                Answer::Unknown => None,
            };
        }
        evidence.fact(fact, works);
    }
}
