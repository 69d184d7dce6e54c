//! The scripts, each of which has several operations.

use redis::Script;

/// Redis runs a script from its first line at each call, and an admission is the most frequent
/// call. What it needs is apart from the rest.
pub struct LuaScripts {
    admission: Script,
    all: Script,
}

impl LuaScripts {
    pub fn new() -> Self {
        Self {
            admission: Script::new(concat!(
                include_str!("base.lua"),
                include_str!("windows.lua"),
                include_str!("queue.lua"),
                include_str!("answer.lua")
            )),
            all: Script::new(concat!(
                include_str!("base.lua"),
                include_str!("windows.lua"),
                include_str!("queue.lua"),
                include_str!("actions.lua"),
                include_str!("sessions.lua"),
                include_str!("checks.lua"),
                include_str!("runs.lua"),
                include_str!("run_outcomes.lua"),
                include_str!("answer.lua")
            )),
        }
    }

    pub fn of(&self, operation: &str) -> &Script {
        match operation {
            "request_admission" | "end_call" | "block_window" | "window_usage" => &self.admission,
            _ => &self.all,
        }
    }
}
