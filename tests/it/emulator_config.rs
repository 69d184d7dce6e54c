//! A config: what it sets, its mistakes with their places, and that a saved one loads again.

use std::path::Path;

use mde_live_response::emulator::{
    Behaviour, Emulator, EmulatorConfig, ScriptOutcome, Settings, Switches,
};
use mde_live_response::error::{Kind, Result};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::emulator_support::{Service, run_script};
use crate::support::paused_runtime;

fn read(text: &str) -> Result<EmulatorConfig> {
    EmulatorConfig::from_text(text, "config box.yaml", Path::new("/nowhere"))
}

/// Starts an emulator as the settings of a config say.
fn start(config: &EmulatorConfig) -> Result<Emulator> {
    let defaults = Settings::default();
    let settings = Settings {
        machines: config.machines.unwrap_or(defaults.machines),
        limits: config.limits.clone().unwrap_or(defaults.limits),
        seed: config.seed.unwrap_or(defaults.seed),
        switches: Switches::default().with(config.switches.clone()).unwrap(),
        ..Settings::default()
    };
    let emulator = Emulator::new(settings)?;
    emulator.apply(config)?;
    Ok(emulator)
}

const EXAMPLE: &str = r#"
# A box for a playbook.
seed: 7
limits: {sessions: 5, submit: [{count: 2, per: 60}], queue_time: 100}
switches:
  accepted_status: 200
machines:
  - ws-0001.example.test
  - name: srv-01.example.test
    online: false
    osPlatform: Linux
    machineTags: [red, "blue team"]
library:
  - {name: helper.exe, content_base64: AAE=}
scripts:
  - name: triage.ps1
    stdout: |
      found it
    exit_code: 3
    duration: 20
files:
  - path: 'C:\Temp\triage.zip'
    content: evidence
faults:
  - {method: POST, path: runliveresponse, kind: status, status: 502, nth: 2}
foreign_sessions:
  - {machine: srv-01, seconds: 600, listed: false}
properties:
  - {entity: machines, name: riskScore, value: null}
"#;

#[tokio::test(start_paused = true)]
async fn a_config_sets_everything() {
    let emulator = start(&read(EXAMPLE).unwrap()).unwrap();
    let config = emulator.config();
    assert_eq!(config["seed"], 7);
    assert_eq!(config["limits"]["sessions"], 5);
    assert_eq!(config["switches"], json!({"accepted_status": 200}));
    let names: Vec<&Value> =
        config["machines"].as_array().unwrap().iter().map(|machine| &machine["name"]).collect();
    assert_eq!(names, ["ws-0001.example.test", "srv-01.example.test"]);
    assert_eq!(config["machines"][1]["machineTags"], json!(["red", "blue team"]));
    assert_eq!(config["scripts"][0]["stdout"], "found it\n");
    assert_eq!(config["files"][0]["content"], "evidence");
    assert_eq!(config["faults"][0]["status"], 502);
    assert_eq!(config["foreign_sessions"][0]["seconds"], 600.0);
    assert_eq!(config["properties"][0]["value"], Value::Null);
    let service = Service { token: emulator.token(), emulator };
    let machine = service.machine(0);
    assert_eq!(service.run(&machine, &json!([run_script("triage.ps1")]), "c").await.status, 200);
    assert_eq!(service.run(&machine, &json!([run_script("triage.ps1")]), "c").await.status, 502);
    assert_eq!(service.get("/api/libraryfiles").await.json()["value"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_machines() {
    for (text, expected) in [("", 3), ("machines: 5", 5), ("machines: []", 0), ("notes: [x]", 3)] {
        let emulator = start(&read(text).unwrap()).unwrap();
        assert_eq!(emulator.machine_ids().len(), expected, "{text}");
    }
}

#[test]
fn mistakes_name_their_place() {
    for (text, message) in [
        ("[1]", "config box.yaml, line 1: a config is a mapping of keys"),
        ("a: [", "config box.yaml, line "),
        ("seed: 1\nmachine: 3", "config box.yaml, line 2: config has no key \"machine\"; valid"),
        ("machines: many", "config box.yaml, line 1: machines must be a number or a list"),
        ("machines: -1", "config box.yaml, line 1: config machines is -1; it must be a whole"),
        ("scripts: 5", "config box.yaml, line 1: scripts must be a list"),
        ("scripts:\n  - name: a.ps1\n  - nam: b", "line 3, scripts[1]: script has no key \"nam\""),
        ("machines:\n  - a\n  - {name: b, online: yes}", "line 3, machines[1]: machine online is"),
        ("machines:\n  - 5", "line 2, machines[0]: 5 must be a name or a mapping"),
        ("faults: [x]", "faults[0]: \"x\" must be a mapping"),
        ("switches:\n  windows: fixed\n  window: x", "line 3: there is no switch \"window\""),
        ("switches: 5", "line 1: switches must be a mapping"),
        ("limits: {session: 5}", "line 1: limits has no key \"session\""),
        ("limits: {sessions: 0}", "line 1: limits sessions is 0; it must be a whole number"),
        ("limits: {submit: 5}", "limits submit is 5; it must be a list such as"),
        ("limits: {submit: [{count: 0, per: 60}]}", "a rate of 0 calls"),
        ("speed: 0", "line 1: config speed is 0; it must be a number above 0"),
        ("seed: 1.5", "line 1: config seed is 1.5; it must be a whole number"),
        ("library: [{name: a, file: b.txt}]", "library[0]: file /nowhere/b.txt cannot be read"),
        ("{\"machines\": [\n{\"name\": \"\"}]}", "line 2, machines[0]: machine name is \"\""),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.message.contains(message), "{text}: {error}");
        assert!(error.message.starts_with("config box.yaml, line "), "{text}: {error}");
        assert_eq!(error.kind, Kind::InvalidRequest);
    }
}

/// What only shows when it is applied names its place too.
#[tokio::test(start_paused = true)]
async fn a_machine_that_is_not_there() {
    for (text, message) in [
        ("files:\n  - {machine: nobody, path: /a, content: x}", "line 2, files[0]: the emulator"),
        ("foreign_sessions: [{machine: ws-9, seconds: 1}]", "foreign_sessions[0]: the emulator"),
        (
            "machines:\n  - {name: a, id: \"0123456789012345678901234567890123456789\"}\n  \
             - {name: b, id: \"0123456789012345678901234567890123456789\"}",
            "line 3, machines[1]: a machine with id",
        ),
    ] {
        let error = start(&read(text).unwrap()).unwrap_err();
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.kind, Kind::InvalidRequest);
    }
}

#[test]
fn files() {
    let folder = std::env::temp_dir().join(format!("mde-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("a.bin"), b"\xff").unwrap();
    let path = folder.join("box.yaml");
    let message = |text: &[u8]| {
        std::fs::write(&path, text).unwrap();
        EmulatorConfig::from_file(&path).map(|_| String::new()).unwrap_or_else(|e| e.to_string())
    };
    assert_eq!(message(b"files: [{path: /a, file: a.bin}]"), "");
    assert_eq!(message(b"\xef\xbb\xbfmachines: 3"), "");
    assert_eq!(message(b"\t{\n\t\"machines\": 1,\n\t\"notes\": \"\\ud83d\\ude00\"}"), "");
    assert!(message(b"machines: \xff").ends_with("is not text in UTF-8"));
    let named = message(b"machines: x");
    assert!(named.starts_with(&format!("config {}, line 1: ", path.display())), "{named}");
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(EmulatorConfig::from_file(&path).unwrap_err().kind, Kind::Io);
}

#[tokio::test(start_paused = true)]
async fn what_a_config_cannot_say_is_named() {
    let emulator = start(&read(EXAMPLE).unwrap()).unwrap();
    let script = |_: &str, _: Option<&str>| ScriptOutcome::default();
    emulator.on_script("code.ps1", Behaviour::Callback(std::sync::Arc::new(script)));
    let config = emulator.config();
    assert!(config["notes"].to_string().contains("code.ps1"), "{}", config["notes"]);
    assert_eq!(config["scripts"].as_array().unwrap().len(), 1);
}

/// Returns texts that JSON or YAML could read as something else.
fn text() -> impl Strategy<Value = String> {
    let odd =
        ["", "yes", "null", "1e5", "- a", "{x", "a: b", "#", "\u{85}\u{2028}\u{feff}", "\t\r\n"];
    prop_oneof![any::<String>(), prop::sample::select(odd.to_vec()).prop_map(str::to_owned)]
}

fn not_empty() -> impl Strategy<Value = String> {
    text().prop_map(|text| if text.is_empty() { "x".to_owned() } else { text })
}

prop_compose! {
    fn machine()(
        name in not_empty(), online: bool, stuck: bool, delay in 0.0..1e9_f64,
        tags in vec(text(), 0..3), os in prop::option::of(text()),
    ) -> Value {
        json!({"name": name, "online": online, "stuck": stuck, "start_delay": delay,
            "machineTags": tags, "osPlatform": os})
    }
}

prop_compose! {
    fn script()(
        number in 0..9, stdout in text(), stderr in text(), code in prop::option::of(any::<i32>()),
        duration in 0.0..1e9_f64, fails in prop::option::of(text()),
    ) -> Value {
        json!({"name": format!("s{number}.ps1"), "stdout": stdout, "stderr": stderr,
            "exit_code": code, "duration": duration, "fails": fails})
    }
}

fn fault() -> impl Strategy<Value = Value> {
    let details = prop_oneof![
        (200..600_u16, text()).prop_map(|(status, body)| {
            json!({"kind": "status", "status": status, "body": body, "acts": true})
        }),
        Just(json!({"kind": "page"})),
        (0.0..1e9_f64).prop_map(|seconds| json!({"kind": "delay", "seconds": seconds})),
        Just(json!({"kind": "truncate", "keep": 7})),
    ];
    let path = prop::sample::select(vec!["cancel", "/api/machines/*", "resultlink"]);
    (details, path, 1..5_u32, 1..u32::MAX).prop_map(|(mut fault, path, nth, times)| {
        let own = json!({"path": path, "nth": nth, "times": times, "method": "GET"});
        fault.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        fault
    })
}

prop_compose! {
    fn config()(
        seed: u64, machines in vec(machine(), 1..4), scripts in vec(script(), 0..4),
        files in vec((not_empty(), text()), 0..4), binary in vec(any::<u8>(), 0..50),
        faults in vec(fault(), 0..4), foreign in prop::option::of(0.0..1e9_f64),
        status in prop::option::of(200..600_u16), value in text(), sessions in 1..u32::MAX,
    ) -> Value {
        use base64::Engine;
        let files: Vec<Value> =
            files.into_iter().map(|(path, text)| json!({"path": path, "content": text})).collect();
        let binary = base64::engine::general_purpose::STANDARD.encode(binary);
        let first = machines[0]["name"].clone();
        let foreign: Vec<Value> =
            foreign.map(|seconds| json!({"machine": first, "seconds": seconds})).into_iter().collect();
        let shown = json!({"entity": "machines", "name": value, "value": [value, null]});
        let properties = if value.is_empty() { json!([]) } else { json!([shown]) };
        let switches = match status {
            Some(status) => json!({"accepted_status": status, "comment_suffix": value}),
            None => json!({}),
        };
        json!({
            "seed": seed, "machines": machines, "scripts": scripts, "files": files,
            "library": [{"name": "b.bin", "content_base64": binary, "description": value}],
            "faults": faults, "foreign_sessions": foreign, "switches": switches,
            "properties": properties,
            "limits": {"sessions": sessions},
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A config that was saved gives the same emulator, whatever the texts in it are.
    #[test]
    fn a_saved_config_loads_again(given in config()) {
        paused_runtime().block_on(async {
            let first = start(&read(&given.to_string()).unwrap()).unwrap();
            let saved = first.config();
            let second = start(&read(&saved.to_string()).unwrap()).unwrap();
            prop_assert_eq!(&second.config(), &saved);
            prop_assert_eq!(second.machine_ids(), first.machine_ids());
            prop_assert_eq!(second.client_secret(), first.client_secret());
            // Nothing was lost on the way in.
            for (saved, given) in saved["machines"].as_array().unwrap().iter()
                .zip(given["machines"].as_array().unwrap())
            {
                for (key, value) in given.as_object().unwrap() {
                    if key == "start_delay" { continue }
                    prop_assert_eq!(&saved[key], value);
                }
            }
            prop_assert_eq!(saved["faults"].as_array().map_or(0, Vec::len),
                given["faults"].as_array().unwrap().len());
            Ok(())
        })?;
    }

    /// No text makes the reader fail otherwise than with an error.
    #[test]
    fn any_text(given in vec(prop::sample::select("a:- \n\t{}[]&*!|>'\"#%@`,?0\u{e9}".chars().collect::<Vec<_>>()), 0..60)) {
        let _ = read(&given.into_iter().collect::<String>());
    }
}
