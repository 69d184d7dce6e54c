//! The OData options of a list (docs/service.md, section 3.4).

use std::time::Duration;

use mde_live_response::emulator::{NewMachine, ScriptOutcome, Settings};
use proptest::prelude::*;
use serde_json::json;

use crate::emulator_support::{Service, new_service, with_settings};

async fn ten_actions() -> (Service, Vec<String>) {
    let service = with_settings(Settings { machines: 10, ..Settings::default() });
    service
        .emulator
        .on_script("a.ps1", ScriptOutcome { duration: 300.0, ..ScriptOutcome::default() });
    let mut ids = Vec::new();
    for at in 0..10 {
        ids.push(service.submit(&service.machine(at), "a.ps1").await);
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    (service, ids)
}

fn filtered(path: &str, filter: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("$filter", filter)
        .finish();
    format!("{path}?{query}")
}

/// Section 3.4: the envelope of a list, its options, and `$count` alone.
#[tokio::test(start_paused = true)]
async fn options_of_a_list() {
    let (service, ids) = ten_actions().await;
    let newest: Vec<String> = ids.iter().rev().cloned().collect();
    let all = service.get("/api/machineactions").await;
    assert_eq!(all.ids(), newest, "newest first (section 6.4)");
    assert!(
        all.json()["@odata.context"].as_str().unwrap().ends_with("/api/$metadata#MachineActions")
    );
    assert!(all.json().get("@odata.count").is_none());
    let two = service.get("/api/machineactions?$top=2&$skip=1&$count=true").await;
    assert_eq!((two.ids(), two.json()["@odata.count"].clone()), (newest[1..3].to_vec(), json!(10)));
    assert!(two.json().get("@odata.nextLink").is_none(), "the page is complete");
    let by_time = service.get("/api/machineactions?$orderby=creationDateTimeUtc+asc").await;
    assert_eq!(by_time.ids(), ids);
    let by_status =
        service.get("/api/machineactions?$orderby=status%20desc,creationDateTimeUtc").await.json();
    assert_eq!(by_status["value"][0]["status"], "Succeeded");
    let count = service.get("/api/machineactions/$count?$filter=status+eq+'InProgress'").await;
    assert_eq!(&count.body[..], b"5");
    let selected = service.get("/api/machineactions?$select=id,status&$top=1").await.json();
    assert_eq!(selected["value"][0], json!({"id": newest[0], "status": "InProgress"}));
}

/// Section 3.4: `@odata.nextLink` is an absolute URL, and the pages cover the list.
#[tokio::test(start_paused = true)]
async fn pages_cover_the_list() {
    let (service, ids) = ten_actions().await;
    service.emulator.set_switches(|s| s.page_size = 4);
    let mut path = filtered("/api/machineactions", "type eq 'LiveResponse'") + "&$top=9";
    let mut seen = Vec::new();
    loop {
        let page = service.get(&path).await;
        seen.extend(page.ids());
        let Some(next) = page.json()["@odata.nextLink"].as_str().map(str::to_owned) else { break };
        path = next.strip_prefix(&service.emulator.url()).unwrap().to_owned();
    }
    assert_eq!(seen, ids.iter().rev().take(9).cloned().collect::<Vec<_>>());
}

/// Section 3.4: operators, functions, property names in any case, and doubled quotes.
#[tokio::test(start_paused = true)]
async fn filters() {
    let (service, ids) = ten_actions().await;
    let machine = service.machine(9);
    for (filter, count) in [
        ("status eq 'Succeeded'".to_owned(), 5),
        ("Status ne 'Succeeded' AND type eq 'LiveResponse'".to_owned(), 5),
        (
            format!("machineId eq '{machine}' and (status eq 'Pending' or status eq 'InProgress')"),
            1,
        ),
        (format!("id in ('{}','{}')", ids[0], ids[9]), 2),
        (format!("not (id in ('{}'))", ids[0]), 9),
        (format!("id eq '{}' or machineId eq '{machine}'", ids[0]), 2),
        ("status in ('Succeeded', 'InProgress')".to_owned(), 10),
        ("creationDateTimeUtc gt 2019-09-22T08:44:05Z".to_owned(), 10),
        ("creationDateTimeUtc lt 2018-08-01Z".to_owned(), 0),
        ("startswith(status,'Succ')".to_owned(), 5),
        ("contains(status, 'Prog')".to_owned(), 5),
        ("requestor eq 'it''s'".to_owned(), 0),
    ] {
        let response = service.get(&filtered("/api/machineactions", &filter)).await;
        assert_eq!(response.status, 200, "{filter}: {response:?}");
        assert_eq!(response.ids().len(), count, "{filter}");
    }
    let middle = service.action(&ids[4]).await["creationDateTimeUtc"].as_str().unwrap().to_owned();
    for (operator, count) in [("lt", 4), ("le", 5), ("eq", 1), ("ge", 6), ("gt", 5), ("ne", 9)] {
        let filter = format!("creationDateTimeUtc {operator} {middle}");
        assert_eq!(
            service.get(&filtered("/api/machineactions", &filter)).await.ids().len(),
            count,
            "{filter}"
        );
    }
}

/// Section 3.4: an invalid option is a 400 `ODataError`; `$top` is at most 10,000.
#[tokio::test(start_paused = true)]
async fn invalid_options_are_rejected() {
    let service = new_service();
    for invalid in [
        "$filter=status+eq+Pending",
        "$filter=nothing+eq+'x'",
        "$filter=status+eq+'x",
        "$filter=status",
        "$filter=(status+eq+'x'",
        "$filter=status+like+'x'",
        "$filter=length(status)+eq+'3'",
        "$filter=soundex(status)+eq+'x'",
        "$filter=commands+eq+null",
        "$filter=",
        "$top=10001",
        "$top=-1",
        "$skip=x",
        "$orderby=nothing",
        "$orderby=status+up",
        "$stop=2",
        "$count=maybe",
        "$top=1&$top=2",
    ] {
        let response = service.get(&format!("/api/machineactions?{invalid}")).await;
        assert_eq!((response.status, response.code().as_str()), (400, "ODataError"), "{invalid}");
    }
    let deep = "(".repeat(5000) + "status eq 'x'" + &")".repeat(5000);
    assert_eq!(service.get(&filtered("/api/machineactions", &deep)).await.code(), "ODataError");
}

/// Section 3.4: a comparison of different types is a 400, not an empty list.
#[tokio::test(start_paused = true)]
async fn comparisons_of_different_types_are_rejected() {
    let service = new_service();
    for (filter, expected) in [
        ("rbacGroupId eq '140'", "'Edm.Int32' and 'Edm.String'"),
        ("'140' ne rbacGroupId", "'Edm.String' and 'Edm.Int32'"),
        ("rbacGroupId in (1,'2')", "'Edm.Int32' and 'Edm.String'"),
        ("version eq 22", "'Edm.String' and 'Edm.Int32'"),
        ("osPlatform eq true", "'Edm.String' and 'Edm.Boolean'"),
        ("lastSeen gt '2020-01-01T00:00:00Z'", "'Edm.DateTimeOffset' and 'Edm.String'"),
        ("healthStatus gt 2020-01-01Z", "'Edm.String' and 'Edm.DateTimeOffset'"),
        ("machineTags gt 'a'", "'Collection(Edm.String)' and 'Edm.String'"),
        ("startswith(version,'2') eq 'true'", "'Edm.Boolean' and 'Edm.String'"),
        ("healthStatus and version eq '1'", "'Edm.Boolean' and 'Edm.String'"),
        ("version eq '1' or 5", "'Edm.Boolean' and 'Edm.Int32'"),
        ("not version eq '1'", "operand type 'Edm.String' for operator kind 'Not'"),
        ("not rbacGroupId", "operand type 'Edm.Int32' for operator kind 'Not'"),
        ("startswith(rbacGroupId,'1')", "No function signature"),
        ("startswith(version,1)", "No function signature"),
        ("version", "single boolean value"),
        ("null", "single boolean value"),
        ("version eq", "an expression was expected, the end found"),
        ("version eq '1' '2'", "Syntax error at '2'"),
        ("(version eq '1'", "')' expected, the end found"),
        ("version eq 6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10", "'Edm.String' and 'Edm.Guid'"),
    ] {
        let response = service.get(&filtered("/api/machines", filter)).await;
        assert_eq!((response.status, response.code().as_str()), (400, "ODataError"), "{filter}");
        let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(expected) && !message.contains("Some("), "{filter}: {message}");
    }
    for chain in
        ["not ".repeat(5000) + "(version eq 'x')", "true".to_owned() + &" eq true".repeat(5000)]
    {
        assert_eq!(service.get(&filtered("/api/machines", &chain)).await.code(), "ODataError");
    }
}

/// Section 3.4: conditions compare with `true`, `false` and `null`, sides may be swapped, and
/// OData's precedence applies.
#[tokio::test(start_paused = true)]
async fn conditions_are_compared() {
    let service = new_service();
    let mut other = NewMachine::named("lin-01.example.test");
    other.properties.insert("osPlatform".into(), json!("Linux"));
    other.properties.insert("aadDeviceId".into(), json!("80fe8ff8-2624-418e-9591-41f0491218f9"));
    let id = service.emulator.add_machine(other).unwrap().id;
    for (filter, count) in [
        ("startswith(computerDnsName,'lin') eq true", 1),
        ("startswith(computerDnsName,'lin') eq false", 3),
        ("startswith(computerDnsName,'lin') ne true", 3),
        ("true eq contains(computerDnsName,'lin')", 1),
        ("(osPlatform eq 'Linux') eq (version eq '22H2')", 1),
        ("osPlatform eq 'Linux' eq true", 1),
        ("startswith(computerDnsName,'lin') eq null", 0),
        ("aadDeviceId eq null", 3),
        ("aadDeviceId ne null", 1),
        ("null eq aadDeviceId", 3),
        ("aadDeviceId gt null", 0),
        ("rbacGroupId eq null", 0),
        ("aadDeviceId eq 80FE8FF8-2624-418e-9591-41f0491218f9", 1),
        ("aadDeviceId in ('80FE8FF8-2624-418e-9591-41f0491218f9')", 1),
        ("'Linux' eq osPlatform", 1),
        ("1 gt rbacGroupId", 4),
        ("osPlatform eq osPlatform", 4),
        ("computerDnsName eq osPlatform", 0),
        ("not startswith(computerDnsName,'lin')", 3),
        ("not startswith(computerDnsName,'lin') eq true", 3),
        ("not osPlatform in ('Linux')", 3),
        ("not (osPlatform eq 'Linux') and version eq '22H2'", 3),
        ("not not (osPlatform eq 'Linux')", 1),
        ("osPlatform eq 'Linux' or osPlatform eq 'Windows11' and version eq 'x'", 1),
        ("(osPlatform eq 'Linux' or osPlatform eq 'Windows11') and version eq 'x'", 0),
        ("true", 4),
        ("false or osPlatform eq 'Linux'", 1),
    ] {
        let response = service.get(&filtered("/api/machines", filter)).await;
        assert_eq!(response.status, 200, "{filter}: {response:?}");
        assert_eq!(response.ids().len(), count, "{filter}");
        assert!(count != 1 || response.ids() == [id.as_str()], "{filter}");
    }
}

/// Section 3.4: `$select` takes names in any case and rejects unknown ones.
#[tokio::test(start_paused = true)]
async fn select_checks_its_names() {
    let service = new_service();
    service.submit(&service.machine(0), "a.ps1").await;
    let one = service.get("/api/machines?$select=ID,vmMetadata&$top=1").await.json();
    assert_eq!(one["value"][0], json!({"id": service.machine(0), "vmMetadata": null}));
    for all in ["*", ""] {
        let whole = service.get(&format!("/api/machineactions?$select={all}")).await.json();
        assert_eq!(whole["value"][0].as_object().unwrap().len(), 20, "{all:?}");
    }
    for invalid in ["id,nothing", "id,", "commands,id/x", "computerDnsNames"] {
        for path in ["/api/machines", "/api/machineactions"] {
            let response = service.get(&format!("{path}?$select={invalid}")).await;
            assert_eq!(
                (response.status, response.code().as_str()),
                (400, "ODataError"),
                "{invalid}"
            );
            assert!(
                response.json()["error"]["message"]
                    .as_str()
                    .unwrap()
                    .contains("Could not find a property named")
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any text gets a 200 or a 400.
    #[test]
    fn any_filter_is_answered(text in "\\PC{0,40}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let path = filtered("/api/machines", &text);
        let status = runtime.block_on(async { new_service().get(&path).await.status });
        prop_assert!(status == 200 || status == 400);
    }

    /// A filter finds a machine with any name.
    #[test]
    fn a_name_is_found_by_a_filter(name in "[a-z][a-z0-9']{0,12}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let service = new_service();
            let machine = NewMachine::named(format!("{name}.example.test"));
            let id = service.emulator.add_machine(machine).unwrap().id;
            let quoted = name.replace('\'', "''");
            let starts_with = format!("startswith(computerDnsName,'{quoted}.')");
            let filter = format!("{starts_with} and healthStatus eq 'Active'");
            assert_eq!(service.get(&filtered("/api/machines", &filter)).await.ids(), [id]);
        });
    }
}
