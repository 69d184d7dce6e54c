//! Where a store of one process's own is surely too little: engines that start a process for each step.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};

/// A variable of the environment, and the engine that sets it for each process that it starts.
const ENGINES: [(&str, &str); 9] = [
    ("AIRFLOW_CTX_TASK_ID", "Airflow"),
    ("AWS_LAMBDA_FUNCTION_NAME", "AWS Lambda"),
    ("CELERY_LOADER", "Celery"),
    ("CONTAINER_APP_JOB_NAME", "Azure Container Apps"),
    ("DEMISTO_ENGINE", "Cortex XSOAR"),
    ("FUNCTIONS_WORKER_RUNTIME", "Azure Functions"),
    ("K_SERVICE", "Cloud Run"),
    ("PHANTOM_HOME", "Splunk SOAR"),
    ("PREFECT__FLOW_RUN_ID", "Prefect"),
];

static WARNED: AtomicBool = AtomicBool::new(false);

/// The engine in whose process this is, where that starts others beside it.
pub fn detect_engine() -> Option<&'static str> {
    find_engine(|name| std::env::var_os(name))
}

fn find_engine(variable: impl Fn(&str) -> Option<OsString>) -> Option<&'static str> {
    ENGINES
        .iter()
        .find(|(name, _)| variable(name).is_some_and(|value| !value.is_empty()))
        .map(|(_, engine)| *engine)
}

/// Warns of it, once in a process.
pub fn warn_once() {
    if let Some(engine) = detect_engine()
        && !WARNED.swap(true, Ordering::Relaxed)
    {
        log::warn!(target: crate::trace::LOG_TARGET, "{}; {HINT}", message(engine));
    }
}

pub fn message(engine: &str) -> String {
    format!(
        "{engine} runs each step in a process of its own, and the state store is this process's memory alone"
    )
}

pub const HINT: &str = "set MDE_LIVE_RESPONSE_STATE to sqlite:///path or redis://host:6379/0, for all of them to keep to \
                        one limit and to start nothing twice";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_known_by_what_it_sets() {
        let set = |known: &'static str| {
            find_engine(move |name| (name == known).then(|| OsString::from("x")))
        };
        assert_eq!(set("AWS_LAMBDA_FUNCTION_NAME"), Some("AWS Lambda"));
        assert_eq!(set("PATH"), None);
        assert_eq!(find_engine(|_| Some(OsString::new())), None, "an empty variable says nothing");
    }
}
