//! Parses the JSON of machines, which may have raw control characters, stray backslashes and lone
//! surrogates in its strings.

use std::fmt::Write;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// How often each line of an output may be read, on average, in the search for a JSON value.
const MAX_READS: usize = 4;
/// Lines that may be read in the search in a short output.
const MIN_LINES: usize = 200;

/// Parses an object, strictly if possible, or else after repairing its strings.
pub fn parse_object(text: &str) -> Option<Map<String, Value>> {
    let text = text.trim_matches(|c: char| c == '\0' || c == '\u{feff}' || c.is_whitespace());
    if !text.starts_with('{') {
        return None;
    }
    // Strictly first: a repair must never change valid JSON.
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&repair(text))).ok()
}

/// Returns the text from the first line that starts a JSON value, or all of it.
pub(super) fn skip_noise(text: &str) -> &str {
    if serde_json::from_str::<IgnoredAny>(text).is_ok() {
        return text;
    }
    // A broken value may reach to the end from each line, so the work is limited.
    let mut lines_left = text.lines().count() * MAX_READS + MIN_LINES;
    let mut rest = text;
    loop {
        let lines_read = match read_value(rest) {
            ValueRead::Complete => return rest,
            ValueRead::Broken { lines } => lines,
        };
        lines_left = lines_left.saturating_sub(lines_read);
        match rest.split_once('\n') {
            Some((_, next)) if lines_left > 0 => rest = next,
            _ => return text,
        }
    }
}

enum ValueRead {
    /// A value starts the text and ends at the end of a line.
    Complete,
    Broken {
        lines: usize,
    },
}

fn read_value(text: &str) -> ValueRead {
    let starts_like_one = |c: char| "{[\"-tfn".contains(c) || c.is_ascii_digit();
    if !text.trim_start_matches([' ', '\t']).starts_with(starts_like_one) {
        return ValueRead::Broken { lines: 0 };
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Err(error)) => ValueRead::Broken { lines: error.line() },
        _ => {
            let (value, after) = text.split_at_checked(values.byte_offset()).unwrap_or((text, ""));
            match after.lines().next().unwrap_or_default().trim().is_empty() {
                true => ValueRead::Complete,
                false => ValueRead::Broken { lines: value.lines().count() },
            }
        }
    }
}

fn repair(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    let mut in_string = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = skip(rest, c.len_utf8());
        match c {
            '\\' if in_string => rest = copy_escape(rest, &mut out),
            c if in_string && c < ' ' => push_code_unit(&mut out, u32::from(c)),
            c => {
                in_string ^= c == '"';
                out.push(c);
            }
        }
    }
    out
}

/// Copies the escape sequence after a backslash and returns the rest.
fn copy_escape<'a>(rest: &'a str, out: &mut String) -> &'a str {
    match rest.chars().next() {
        Some(c @ ('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't')) => {
            out.extend(['\\', c]);
            skip(rest, 1)
        }
        Some('u') => match (
            parse_code_unit(rest),
            rest.get(5..).and_then(|next| next.strip_prefix('\\')).and_then(parse_code_unit),
        ) {
            (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
                push_code_unit(out, high);
                push_code_unit(out, low);
                skip(rest, 11)
            }
            (Some(0xd800..=0xdfff), _) => {
                out.push(char::REPLACEMENT_CHARACTER);
                skip(rest, 5)
            }
            (Some(unit), _) => {
                push_code_unit(out, unit);
                skip(rest, 5)
            }
            (None, _) => literal_backslash(rest, out),
        },
        _ => literal_backslash(rest, out),
    }
}

/// Escapes a backslash that escapes nothing, as in an unescaped Windows path.
fn literal_backslash<'a>(rest: &'a str, out: &mut String) -> &'a str {
    out.push_str(r"\\");
    rest
}

/// Returns the number of `uXXXX` at the start of `text`.
fn parse_code_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('u')?.get(..4)?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u32::from_str_radix(digits, 16).ok())?
}

fn push_code_unit(out: &mut String, unit: u32) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\u{unit:04x}");
}

fn skip(text: &str, bytes: usize) -> &str {
    text.get(bytes..).unwrap_or_default()
}
