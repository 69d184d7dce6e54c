//! Scripts of the emulator that are written in Python.

use std::sync::Arc;

use pyo3::prelude::*;

use crate::emulator::{Behaviour, ScriptOutcome};
use crate::python::gil_gate::{attach, call_python};

/// Returns the behaviour of a script. `callable`, if given, gets the machine's id and the
/// arguments and returns `(stdout, stderr, exit_code)`.
pub fn behaviour(outcome: ScriptOutcome, callable: Option<Py<PyAny>>) -> Behaviour {
    match callable {
        None => Behaviour::Fixed(outcome),
        Some(callable) => Behaviour::Callback(Arc::new(move |machine, args| {
            run_script(&callable, machine, args, &outcome)
        })),
    }
}

/// Runs a script written in Python. An exception becomes the command's failure.
fn run_script(
    callable: &Py<PyAny>,
    machine: &str,
    args: Option<&str>,
    rest: &ScriptOutcome,
) -> ScriptOutcome {
    let outcome = attach(|py| {
        let returned = call_python(callable.bind(py), (machine, args));
        match returned.and_then(|returned| returned.extract()) {
            Ok((stdout, stderr, exit_code)) => {
                ScriptOutcome { stdout, stderr, exit_code, ..rest.clone() }
            }
            Err(error) => {
                let fails = Some(format!("The emulator's script raised {error}"));
                error.print(py);
                ScriptOutcome { fails, ..rest.clone() }
            }
        }
    });
    outcome.unwrap_or_else(|| rest.clone())
}
