//! The behaviour of a script, as an entry: the parameters of `on_script`.

use serde_json::{Map, Value, json};

use crate::emulator::control::fields::Fields;
use crate::emulator::inventory::library::check_file_name;
use crate::emulator::session::script::ScriptOutcome;
use crate::error::Result;

const KEYS: [&str; 6] = ["name", "stdout", "stderr", "exit_code", "duration", "fails"];

/// What a script does.
#[derive(Clone, Debug)]
pub struct ScriptEntry {
    pub name: String,
    pub outcome: ScriptOutcome,
}

impl ScriptEntry {
    pub fn parse(given: Map<String, Value>) -> Result<Self> {
        let mut fields = Fields::new("script", given, &KEYS)?;
        let name = fields.required_text("name")?;
        check_file_name(&name)?;
        let defaults = ScriptOutcome::default();
        let exit_code = match fields.take("exit_code") {
            None => defaults.exit_code,
            Some(Value::Null) => None,
            Some(value) => match value.as_i64() {
                Some(code) if (i64::from(i32::MIN)..=i64::from(u32::MAX)).contains(&code) => {
                    Some(code)
                }
                _ => {
                    let expected = "a whole number, -2147483648 to 4294967295, or null";
                    return Err(fields.wrong("exit_code", &value, expected));
                }
            },
        };
        let outcome = ScriptOutcome {
            stdout: fields.text("stdout")?.unwrap_or_default(),
            stderr: fields.text("stderr")?.unwrap_or_default(),
            exit_code,
            duration: fields.seconds("duration")?.unwrap_or(defaults.duration),
            fails: fields.text("fails")?,
            raw: None,
        };
        Ok(Self { name, outcome })
    }

    /// Returns the entry of a script.
    pub fn describe(name: &str, outcome: &ScriptOutcome) -> Value {
        json!({
            "name": name,
            "stdout": outcome.stdout,
            "stderr": outcome.stderr,
            "exit_code": outcome.exit_code,
            "duration": outcome.duration,
            "fails": outcome.fails,
        })
    }
}
