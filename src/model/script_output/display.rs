//! Makes script output safe for a terminal or a web page: without control sequences and
//! bidirectional controls.

use std::iter::Peekable;
use std::str::Chars;

use crate::text::is_bidi_control;

/// Removes control sequences, control characters other than line feed and tab, and bidirectional
/// controls.
pub(super) fn strip_control_sequences(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_control_string(&mut chars),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || is_bidi_control(c) || c == '\u{feff}' => {}
            c => out.push(c),
        }
    }
    out
}

/// Skips what follows an ESC.
fn skip_escape(chars: &mut Peekable<Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_control_sequence(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            skip_control_string(chars);
        }
        _ => {
            while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
            chars.next_if(|c| ('0'..='~').contains(c));
        }
    }
}

/// Skips parameters and the final byte of a sequence such as `[31m`.
fn skip_control_sequence(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| (' '..='?').contains(c)).is_some() {}
    chars.next_if(|c| ('@'..='~').contains(c));
}

/// Skips a title or a link up to its terminator.
fn skip_control_string(chars: &mut Peekable<Chars<'_>>) {
    // Ends at a line feed too: an unterminated string must not hide the following lines.
    while chars.next_if(|c| !matches!(c, '\u{7}' | '\u{9c}' | '\u{1b}' | '\n')).is_some() {}
    chars.next_if(|c| matches!(c, '\u{7}' | '\u{9c}'));
}
