//! A tenant with a history in which a probe can see each switch that a read can show.

use mde_live_response::config::Limits;
use mde_live_response::emulator::{
    Content, Emulator, NewMachine, ScriptOutcome, Settings, Switches,
};
use mde_live_response::probe::{Profile, survey};
use serde_json::{Value, json};

use crate::emulator_support::{Service, get_file, put_file, run_script};
use crate::support::{Fixture, HOUR, sleep, within};

pub const FILE: &str = r"C:\Data\evidence.txt";
/// The actions of [`Tenant::new`] if no submit is refused.
pub const ACTIONS: usize = 11;

pub struct Tenant {
    pub fixture: Fixture,
    pub service: Service,
    /// Begins each comment, before a letter and the tag. 5 characters.
    word: String,
}

impl Tenant {
    /// Returns a tenant whose history is over, except for two sessions that run.
    pub async fn new(switches: Switches) -> Self {
        let tenant = Self::empty(switches, "Case ");
        tenant.add_scripts("");
        tenant.add_history().await;
        tenant
    }

    /// Returns a tenant with machines, and without sessions.
    pub fn empty(switches: Switches, word: &str) -> Self {
        let limits = Limits { submit: vec![], read: vec![], ..Limits::default() };
        let settings = Settings { machines: 0, limits, switches, ..Settings::default() };
        let fixture = Fixture::with_settings(settings);
        let emulator = fixture.emulator.clone();
        for number in 0..10 {
            // Machines 4 and 7 never answer.
            let online = !matches!(number, 4 | 7);
            let name = format!("host-{number}.example.test");
            emulator.add_machine(NewMachine { online, ..NewMachine::named(name) }).unwrap();
        }
        let mut merged = NewMachine::named("old-host.example.test");
        let into = Value::from(emulator.machine_ids()[0].clone());
        merged.properties.insert("mergedIntoMachineId".to_owned(), into);
        emulator.add_machine(merged).unwrap();
        let service = Service { token: emulator.token(), emulator };
        Self { fixture, service, word: word.to_owned() }
    }

    /// Adds the scripts of the history. Their names and outputs contain `marker`.
    pub fn add_scripts(&self, marker: &str) {
        let emulator = &self.service.emulator;
        let script = |exit_code, duration, fails: Option<&str>| ScriptOutcome {
            stdout: format!("Hello {marker}\nWorld\n"),
            exit_code: Some(exit_code),
            duration,
            fails: fails.map(|text| format!("{text} {marker}")),
            ..ScriptOutcome::default()
        };
        emulator.on_script(&format!("{marker}good.ps1"), script(0, 1.0, None));
        emulator.on_script(&format!("{marker}good.sh"), script(0, 1.0, None));
        emulator.on_script(&format!("{marker}three.sh"), script(3, 1.0, None));
        let fails = script(0, 20.0, Some("Access is denied (0x80070005):"));
        emulator.on_script(&format!("{marker}fails.sh"), fails);
        emulator.on_script(&format!("{marker}long.sh"), script(0, 700.0, None));
        emulator.on_script(&format!("{marker}slow.sh"), script(0, 400.0, None));
        let content = Content::Bytes(bytes::Bytes::from(format!("{marker} evidence")));
        let path = FILE.replace("evidence", &format!("{marker}evidence"));
        emulator.put_remote_file("*", &path, content).unwrap();
    }

    async fn add_history(&self) {
        self.add_history_with("").await;
    }

    /// Runs every session of the history. All free texts contain `marker`.
    pub async fn add_history_with(&self, marker: &str) {
        let script = |name: &str| run_script(&format!("{marker}{name}"));
        let path = FILE.replace("evidence", &format!("{marker}evidence"));
        let with_args = |args: &str| {
            let mut command = script("good.sh");
            let more = json!({"key": "Args", "value": format!("{args}{marker}")});
            command["params"].as_array_mut().unwrap().push(more);
            command
        };
        let first = |args| json!([put_file("helper.exe"), with_args(args), get_file(&path)]);
        if self.submit(0, "A", first("-x 'a;b'")).await.is_none() {
            self.submit(0, "A", first("-x ab")).await.unwrap();
        }
        sleep(2.0).await;
        self.submit(1, "B", json!([script("three.sh"), script("good.sh")])).await;
        self.submit(2, "C", json!([script("fails.sh"), script("good.sh")])).await;
        self.submit(3, "D", json!([script("long.sh")])).await;
        self.submit(4, "E", json!([script("good.sh")])).await;
        self.submit(5, "F", json!([script("absent.sh")])).await;
        let running = self.submit(6, "G", json!([script("slow.sh")])).await.unwrap();
        let pending = self.submit(7, "H", json!([script("good.sh")])).await.unwrap();
        self.submit(8, "K", json!([script("good.ps1")])).await;
        sleep(10.0).await;
        self.cancel(&running, marker).await;
        self.cancel(&pending, marker).await;
        sleep(8000.0).await;
        let running = self.submit(6, "I", json!([script("slow.sh")])).await.unwrap();
        sleep(5.0).await;
        self.cancel(&running, marker).await;
        self.submit(1, "J", json!([script("good.sh")])).await.unwrap();
        // It was handed to its machine, which has not begun.
        sleep(0.53).await;
    }

    /// Submits commands, with a comment as this client writes it. None: the service refuses them.
    pub async fn submit(&self, machine: usize, letter: &str, commands: Value) -> Option<String> {
        let digit = letter.bytes().next().unwrap() - b'A';
        let comment = format!("{}{letter} [mlr:0123456789abcde{digit:x}]", self.word);
        let response = self.service.run(&self.service.machine(machine), &commands, &comment).await;
        (response.status < 300).then(|| response.json()["id"].as_str().unwrap().to_owned())
    }

    pub async fn cancel(&self, id: &str, marker: &str) {
        let body = json!({"Comment": format!("not needed {marker}")});
        let path = format!("/api/machineactions/{id}/cancel");
        assert_eq!(self.service.post(&path, &body).await.status, 200);
    }

    /// Probes the tenant, and checks that it only reads.
    pub async fn survey(&self) -> Profile {
        self.service.emulator.clear_log();
        let profile = within(HOUR, survey(&self.fixture.sessions.pipeline)).await.unwrap();
        let requests = self.service.emulator.requests();
        assert!(!requests.is_empty());
        for request in requests {
            assert_eq!(request.method, http::Method::GET, "{}", request.path);
        }
        self.fixture.assert_no_violations();
        profile
    }

    pub fn emulator(&self) -> &Emulator {
        &self.service.emulator
    }
}
