//! One function for each name of an argument. It reads the argument, and its errors name it:
//! `#[pyo3(from_py_with = named::comment)] comment: String`.

use pyo3::prelude::*;

use super::reading::{self, Argument};

macro_rules! named {
    ($($name:ident)*) => {
        $(
            pub fn $name<'a, 'py, T: Argument<'a, 'py>>(
                object: &'a Bound<'py, PyAny>,
            ) -> PyResult<T> {
                reading::read(stringify!($name), object)
            }
        )*
    };
}

named! {
    action_id address args authority
    ca_bundle cancel_pending_after certificate client_id client_secret cloud code command commands
    comment connect_timeout correlation_id count credential
    delete description dry_run
    endpoint exit_code
    file file_name filter folder
    group
    health
    ip
    limits
    machine machines max_age max_wait
    name
    older_than on_busy on_update os overwrite
    parameters_description password path per progress proxy
    queue_time
    read request_timeout run_id running
    save_to save_transcripts scope script_name script_time seen_within sessions settle_time shell
    state stderr stdout strict submit
    tag tenant_id timeout to token_file_path top
    until upload_size user_agent
    verify
    wire
}
