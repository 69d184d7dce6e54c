//! Functions, lambdas and times in a `$filter` (docs/service.md, sections 3.4 and 19).

use std::time::Duration;

use mde_live_response::emulator::NewMachine;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use crate::emulator_support::{Service, new_service};

fn filtered(path: &str, filter: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("$filter", filter)
        .finish();
    format!("{path}?{query}")
}

/// Three machines of the default, and two with tags.
fn tagged() -> Service {
    let service = new_service();
    for (name, tags, address) in [
        ("Tagged.example.test", json!(["it's", "red", "Site 4"]), "10.1.0.5"),
        ("blue.example.test", json!(["blue", "red"]), "10.1.0.6"),
    ] {
        let mut machine = NewMachine::named(name);
        machine.properties.insert("machineTags".to_owned(), tags);
        machine.properties.insert("lastIpAddress".to_owned(), json!(address));
        service.emulator.add_machine(machine).unwrap();
    }
    service
}

async fn names(service: &Service, filter: &str) -> Vec<String> {
    let response = service.get(&filtered("/api/machines", filter)).await;
    assert_eq!(response.status, 200, "{filter}: {response:?}");
    let items = response.json()["value"].as_array().unwrap().clone();
    let name = |item: &serde_json::Value| item["computerDnsName"].as_str().unwrap().to_owned();
    items.iter().map(|item| name(item).split('.').next().unwrap().to_owned()).collect()
}

/// Section 19: `any` and `all` find machines by their tags.
#[tokio::test(start_paused = true)]
async fn lambdas_over_the_tags() {
    let service = tagged();
    let (both, first, second) = (vec!["Tagged", "blue"], vec!["Tagged"], vec!["blue"]);
    let plain = vec!["ws-0001", "ws-0002", "ws-0003"];
    for (filter, expected) in [
        ("machineTags/any(t: t eq 'red')", &both),
        ("machineTags/any(tag:tag eq 'it''s')", &first),
        ("MachineTags/Any(t : t eq 'blue') and healthStatus eq 'Active'", &second),
        ("not machineTags/any(t: t eq 'red')", &plain),
        ("machineTags/any(t: t eq 'blue' or t eq 'it''s')", &both),
        ("machineTags/any(t: t eq 'blue' and t eq 'red')", &vec![]),
        ("machineTags/any(t: (t eq 'blue' or t eq 'x') and not startswith(t,'z'))", &second),
        ("machineTags/any(t: t in ('blue','green'))", &second),
        ("machineTags/any(t: startswith(tolower(t),'site'))", &first),
        ("machineTags/any(t: contains(t,' ') and endswith(t,'4'))", &first),
        ("machineTags/any(t: t ne 'red')", &both),
        ("machineTags/any(t: machineTags/any(u: u ne t and u eq 'blue'))", &second),
        ("machineTags/any(t: t eq 'red' and $it/lastIpAddress eq '10.1.0.6')", &second),
        ("machineTags/any(t: t eq 'red' and lastIpAddress eq '10.1.0.6')", &second),
        ("$it/machineTags/any(t: t eq 'blue')", &second),
        ("machineTags/any()", &both),
        ("not machineTags/any()", &plain),
        ("machineTags/all(t: length(t) le 4) and machineTags/any()", &second),
        ("machineTags/all(t: t eq 'none')", &plain),
        ("machineTags/any(t: t eq 're')", &vec![]),
        ("(machineTags/any(t: t eq 'blue')) eq true", &second),
        ("machineTags/any(t: t eq 'blue') or startswith(computerDnsName,'Tag')", &both),
        ("machineTags eq 'blue'", &second),
    ] {
        assert_eq!(&names(&service, filter).await, expected, "{filter}");
    }
}

/// The functions of OData 4.0 on texts and times.
#[tokio::test(start_paused = true)]
async fn functions_of_properties() {
    let service = tagged();
    let (first, none) = (vec!["Tagged"], Vec::<&str>::new());
    for (filter, expected) in [
        ("tolower(computerDnsName) eq 'tagged.example.test'", &first),
        ("ToUpper(computerDnsName) eq 'TAGGED.EXAMPLE.TEST'", &first),
        ("'tagged.example.test' eq tolower(computerDnsName)", &first),
        ("startswith(tolower(computerDnsName),'tag')", &first),
        ("startswith(tolower(computerDnsName),tolower('TAG'))", &first),
        ("contains(computerDnsName,'agg') eq true", &first),
        ("contains('Tagged.example.test',computerDnsName)", &first),
        ("endswith(lastIpAddress,'.5') and startswith(lastIpAddress,'10.1.')", &first),
        ("tolower(computerDnsName) in ('tagged.example.test','x')", &first),
        ("indexof(computerDnsName,'agged') eq 1", &first),
        ("indexof(computerDnsName,'none') ne -1", &none),
        ("substring(computerDnsName,0,3) eq 'Tag'", &first),
        ("substring(computerDnsName,1) eq 'agged.example.test'", &first),
        ("concat(concat(osPlatform,'/'),lastIpAddress) eq 'Windows11/10.1.0.5'", &first),
        ("trim('  10.1.0.5 ') eq lastIpAddress", &first),
        ("length(computerDnsName) eq 19 and length(lastIpAddress) add 1 eq 9", &first),
        ("tolower(aadDeviceId) eq 'x'", &none),
        ("tolower(aadDeviceId) ne null", &none),
        ("rbacGroupId add 2 lt 1", &none),
    ] {
        assert_eq!(&names(&service, filter).await, expected, "{filter}");
    }
}

/// `now()` is the emulator's time, and a time span may be added or subtracted.
#[tokio::test(start_paused = true)]
async fn now_and_time_spans() {
    let service = new_service();
    let ids = async |filter: &str| {
        let response = service.get(&filtered("/api/machineactions", filter)).await;
        assert_eq!(response.status, 200, "{filter}: {response:?}");
        response.ids().len()
    };
    service.submit(&service.machine(0), "a.ps1").await;
    tokio::time::sleep(Duration::from_secs(7200)).await;
    service.submit(&service.machine(1), "a.ps1").await;
    for (filter, count) in [
        ("creationDateTimeUtc le now()", 2),
        ("creationDateTimeUtc gt now()", 0),
        ("now() gt creationDateTimeUtc", 1),
        ("creationDateTimeUtc ge now() sub duration'PT1H'", 1),
        ("creationDateTimeUtc gt (now() sub duration'P1DT12H30M5.5S')", 2),
        ("creationDateTimeUtc add duration'PT2H1M' lt now()", 0),
        ("creationDateTimeUtc add duration'PT1H59M' lt now()", 1),
        ("now() sub creationDateTimeUtc gt duration'PT1H'", 1),
        ("duration'PT90M' eq duration'PT1H' add duration'PT30M'", 2),
        ("creationDateTimeUtc lt now() add duration'-PT1H'", 1),
        ("year(creationDateTimeUtc) eq year(now())", 2),
        ("month(creationDateTimeUtc) le 12 and day(now()) ge 1 and minute(now()) lt 60", 2),
        ("hour(creationDateTimeUtc) ge 0 and second(creationDateTimeUtc) lt 60", 2),
        ("hour(2026-03-10T14:36:51Z) eq 14 and second(2026-03-10T14:36:51Z) eq 51", 2),
    ] {
        assert_eq!(ids(filter).await, count, "{filter}");
    }
}

/// What OData does not allow is a 400 that says why.
#[tokio::test(start_paused = true)]
async fn invalid_functions_and_lambdas() {
    let service = tagged();
    for (filter, expected) in [
        ("machineTags/any(t: x eq 'red')", "a property named 'x'"),
        ("machineTags/any(t: t eq red)", "a property named 'red'"),
        ("machineTags/any(t: t eq 'red'", "')' expected, the end found"),
        ("machineTags/any(t t eq 'red')", "':' expected"),
        ("machineTags/any(: t eq 'red')", "the variable of a lambda was expected"),
        ("machineTags/any(t: t)", "must be 'Edm.Boolean', not 'Edm.String'"),
        ("machineTags/any(t: t/name eq 'x')", "a property named 'name' on type 'Edm.String'"),
        ("machineTags/any(t: machineTags/any(t: t eq 'x'))", "'t' has already been declared"),
        ("machineTags/any(t: t eq 'a') and t eq 'b'", "a property named 't'"),
        ("machineTags/any(t: t eq 5)", "'Edm.String' and 'Edm.Int32'"),
        ("machineTags/all()", "the variable of a lambda was expected"),
        ("machineTags/some(t: t eq 'red')", "unknown function with name 'some'"),
        ("osPlatform/any(t: t eq 'red')", "following a collection"),
        ("osPlatform/name eq 'x'", "a property named 'name' on type 'Edm.String'"),
        ("tolower(rbacGroupId) eq 'x'", "No function signature"),
        ("tolower(computerDnsName,'x') eq 'x'", "No function signature"),
        ("tolower(machineTags) eq 'x'", "No function signature"),
        ("tolower() eq 'x'", "an expression was expected"),
        ("concat(computerDnsName) eq 'x'", "No function signature"),
        ("substring(computerDnsName,'1') eq 'x'", "No function signature"),
        ("year(computerDnsName) eq 2026", "No function signature"),
        ("length(computerDnsName) eq '3'", "'Edm.Int32' and 'Edm.String'"),
        ("lastSeen gt now(1)", "')' expected"),
        ("lastSeen gt now", "a property named 'now'"),
        ("lastSeen gt now() sub 5", "kind 'Subtract'"),
        ("lastSeen gt duration'PT1H' sub now()", "kind 'Subtract'"),
        ("lastSeen gt now() sub duration'1 hour'", "literal in the filter"),
        ("lastSeen gt now() sub duration'P'", "literal in the filter"),
        ("lastSeen gt now() sub duration'PT'", "literal in the filter"),
        ("lastSeen gt now() sub duration'P1H'", "literal in the filter"),
        ("now()", "single boolean value"),
        ("'a' in ('a')", "a property was expected before 'in'"),
    ] {
        let response = service.get(&filtered("/api/machines", filter)).await;
        assert_eq!((response.status, response.code().as_str()), (400, "ODataError"), "{filter}");
        let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(expected), "{filter}: {message}");
    }
    let lambdas: String = (0..5000).map(|it| format!("machineTags/any(a{it}: ")).collect();
    let nested = lambdas + "true" + &")".repeat(5000);
    let calls = "tolower(".repeat(5000) + "'x'" + &")".repeat(5000) + " eq 'x'";
    let sum = "rbacGroupId".to_owned() + &" add 1".repeat(5000) + " eq 1";
    for deep in [nested, calls, sum] {
        assert_eq!(service.get(&filtered("/api/machines", &deep)).await.code(), "ODataError");
    }
}

const WORDS: [&str; 36] = [
    "machineTags/any(t:",
    "machineTags/all(u:",
    "machineTags/any()",
    "(",
    ")",
    ")",
    ",",
    ":",
    "t",
    "u",
    "$it/osPlatform",
    "osPlatform",
    "lastSeen",
    "rbacGroupId",
    "aadDeviceId",
    "machineTags",
    "tolower(",
    "substring(",
    "indexof(",
    "year(",
    "now()",
    "duration'PT1H'",
    "duration'x'",
    "2026-03-10Z",
    "'red'",
    "'it''s'",
    "5",
    "-1",
    "null",
    "true",
    "eq",
    "and",
    "or",
    "not",
    "add",
    "in",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Any words of the language get a 200 or a 400.
    #[test]
    fn any_words_are_answered(words in vec(select(WORDS.to_vec()), 0..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let path = filtered("/api/machines", &words.join(" "));
        let status = runtime.block_on(async { tagged().get(&path).await.status });
        prop_assert!(status == 200 || status == 400, "{}", status);
    }
}
