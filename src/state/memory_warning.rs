//! Warns if the memory store is the wrong one: in engines that start a process for each step.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};

/// An environment variable, and the engine that sets it in the processes it starts.
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

/// Returns the engine that started this process, if it is one that starts many.
pub fn detect_engine() -> Option<&'static str> {
    find_engine(|name| std::env::var_os(name))
}

fn find_engine(variable: impl Fn(&str) -> Option<OsString>) -> Option<&'static str> {
    ENGINES
        .iter()
        .find(|(name, _)| variable(name).is_some_and(|value| !value.is_empty()))
        .map(|(_, engine)| *engine)
}

/// Logs the warning, once in a process.
pub fn warn_once() {
    if let Some(engine) = detect_engine()
        && !WARNED.swap(true, Ordering::Relaxed)
    {
        log::warn!(target: crate::trace::LOG_TARGET, "{}; {HINT}", message(engine));
    }
}

/// Returns the text of the warning.
pub fn message(engine: &str) -> String {
    format!(
        "{engine} runs each step in its own process, but the memory store is not shared between \
         processes"
    )
}

pub const HINT: &str = "set MDE_LIVE_RESPONSE_STATE to sqlite:///path or redis://host:6379/0, so \
                        that all processes \
                        share the limits and no action starts twice";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_detected_by_its_variable() {
        let set = |known: &'static str| {
            find_engine(move |name| (name == known).then(|| OsString::from("x")))
        };
        assert_eq!(set("AWS_LAMBDA_FUNCTION_NAME"), Some("AWS Lambda"));
        assert_eq!(set("PATH"), None);
        assert_eq!(
            find_engine(|_| Some(OsString::new())),
            None,
            "an empty variable does not \
            count"
        );
    }
}
