//! Tests that the quick ways of decoding find exactly what serde finds.

use proptest::prelude::*;
use serde::de::DeserializeOwned;

use super::*;
use crate::model::{MachineAction, Timestamp};

const NAMES: [&str; 10] = [
    "id",
    "status",
    "machineId",
    "machine_id",
    "creationDateTimeUtc",
    "errorHResult",
    "commands",
    "type",
    "_raw",
    "new",
];

/// Well-formed values. serde_json cannot read some of them: a number that is too large, half of a
/// surrogate pair, a list that is too deep.
fn value() -> impl Strategy<Value = String> {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let plain = [
        "null",
        "true",
        "0",
        "-0",
        "7",
        "5.0",
        "1e2",
        "1e999",
        "9223372036854775808",
        r#""""#,
        r#""a""#,
        r#"" ""#,
        r#""a\"b""#,
        r#""\ud800""#,
        r#""\u00e9é""#,
        r#""\n""#,
        "[]",
        "{}",
        r#"["a", null]"#,
        r#"{"a": {"a": []}}"#,
        r#""2026-03-10T14:36:51.8759111Z""#,
        r#""2026-03-10T14:36:51""#,
        r#""2026-03-10T14:36:51\u005a""#,
        r#""2026-02-30T00:00:00Z""#,
    ];
    let commands = [
        r#"[{"index": 1, "commandStatus": "Completed"}, null, {"index": 0}, 7, [3, null]]"#,
        r#"[{"index": 1, "index": 2}, {"errors": [1, "e", "\ud800"], "startTime": "x"}, "\ud800"]"#,
        r#"[{"command": {"type": "GetFile", "params": [{"key": "Path", "value": "a"}, null]}}]"#,
        r#"[{"command": {"type": 5}, "commandStatus": "Failed"}, {"\ud800": 1, "index": 4}]"#,
    ];
    let all = plain.into_iter().chain(commands).map(str::to_owned).chain([deep]);
    proptest::sample::select(all.collect::<Vec<_>>())
}

fn record() -> impl Strategy<Value = String> {
    let member = (proptest::sample::select(NAMES.to_vec()), value());
    let members = proptest::collection::vec(member, 0..6).prop_map(|members| {
        let members = members.iter().map(|(name, value)| format!("\"{name}\" : {value}"));
        format!(r#"{{"id": "a-1"{}}}"#, members.map(|it| format!(", {it}")).collect::<String>())
    });
    prop_oneof![4 => members, 1 => value()]
}

fn page() -> impl Strategy<Value = String> {
    let ends = proptest::sample::select(vec![
        "",
        r#", "@odata.nextLink": "https://a/b""#,
        r#", "@odata.nextLink": null, "x": [{"\ud800": 1e999}]"#,
        r#", "@odata.nextLink": 5"#,
        r#", "value": []"#,
    ]);
    (proptest::collection::vec(record(), 0..5), ends).prop_map(|(items, end)| {
        format!("{{ \"c\":1, \"value\" : [ {}\n] {end}}}", items.join(" ,"))
    })
}

/// Decodes a page in two passes: serde finds the records, and then decodes each.
fn decode_in_two_passes(text: &str) -> Option<Page<MachineAction>> {
    let raw: RawPage<'_> = decode_slowly(text).ok()?;
    let mut page = Page { next_link: raw.next_link, ..Page::default() };
    raw.value.iter().for_each(|item| page.add(item.get()));
    Some(page)
}

/// Reads a field as serde reads it.
fn read_by_serde<T: DeserializeOwned + Default>(json: &str) -> T {
    serde_json::from_str(json).unwrap_or_default()
}

proptest! {
    #[test]
    fn one_pass_finds_what_two_find(text in page(), cut in 0_usize..400, by in "[a\\[\\]{},:\" ]?") {
        let expected = decode_in_two_passes(&text);
        let found = PageReader::new(&text).read::<MachineAction>();
        prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        if let (Some(head), Some(tail)) = (text.get(..cut), text.get(cut + 1..)) {
            let damaged = format!("{head}{by}{tail}");
            let expected = decode_in_two_passes(&damaged);
            let found = PageReader::new(&damaged).read::<MachineAction>();
            prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{}", damaged);
        }
    }

    #[test]
    fn a_field_is_read_as_serde_reads_it(value in value()) {
        let body = format!(
            r#"{{"id":"a","status":{value},"machineId":{value},"errorHResult":{value},
                "creationDateTimeUtc":{value},"commands":[{{"index":{value},"errors":{value}}}]}}"#
        );
        let action: MachineAction = decode_entity(body.as_bytes()).unwrap();
        prop_assert_eq!(&action.status, &read_by_serde::<String>(&value));
        prop_assert_eq!(&action.machine_id, &read_by_serde::<Option<String>>(&value));
        prop_assert_eq!(action.error_hresult, read_by_serde::<Option<i64>>(&value));
        prop_assert_eq!(action.creation_date_time_utc, read_by_serde::<Option<Timestamp>>(&value));
        let [command] = &action.commands[..] else { return Err(TestCaseError::fail("one command")) };
        prop_assert_eq!(command.index, read_by_serde::<Option<u32>>(&value).unwrap_or(0));
        let errors: Vec<&RawValue> = serde_json::from_str(&value).unwrap_or_default();
        let errors = errors.iter().filter_map(|it| serde_json::from_str::<String>(it.get()).ok());
        prop_assert_eq!(&command.errors, &errors.collect::<Vec<_>>());
    }
}

#[test]
fn a_record_that_cannot_be_used_is_named() {
    for (body, what) in [
        (r#"{"id": 5}"#, "id: invalid type: integer `5`"),
        (r#"{"status": "a"}"#, "the body: missing field `id`"),
        (r#"{"id": " "}"#, "the body: the id is not usable"),
        (r#"{"id": "a", "_raw": 5}"#, "the body: a field has two values, or not its type"),
        (r#"{"id": "a", "commands": [}"#, "commands: expected value at line 1 column 26"),
        (r#"{"id": "a"} x"#, "the body: trailing characters"),
    ] {
        let error = decode_entity::<MachineAction>(body.as_bytes()).unwrap_err();
        assert!(error.message.contains(what), "{body}: {error}");
    }
}
