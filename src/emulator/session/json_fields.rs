//! Writes properties of a machine action as JSON.

use crate::emulator::clock::{Tick, write_time};
use crate::emulator::write_json;

/// Appends one entry of `params`.
pub fn write_param(out: &mut Vec<u8>, key: &str, value: &str) {
    out.extend_from_slice(b"{\"key\":\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\",\"value\":");
    write_json(out, value);
    out.push(b'}');
}

/// Appends a property with a text, or null.
pub fn write_text_field(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    write_key(out, name);
    match value {
        Some(value) => write_json(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends a property with a time, or null.
pub fn write_time_field(out: &mut Vec<u8>, name: &str, value: Option<Tick>) {
    write_key(out, name);
    match value {
        Some(tick) => {
            out.push(b'"');
            write_time(out, tick);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn write_key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}
