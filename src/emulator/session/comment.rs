//! The comment that the API shows, as the switches change it.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::emulator::clock::{Tick, ticks};
use crate::emulator::control::switches::{CommentForm, Switches};

/// Returns what the API shows as the comment of an action that was created at `created`.
///
/// The form comes first, then the cut, then the suffix: as from a service that escapes a comment,
/// stores it in a short column and adds a note when it shows it.
pub fn shown_comment<'a>(
    comment: &'a str,
    created: Tick,
    now: Tick,
    switches: &Switches,
) -> Option<Cow<'a, str>> {
    let is_new = |seconds: f64| seconds > 0.0 && now < created + ticks(seconds);
    if is_new(switches.comment_delay)
        || (switches.null_first_comment && is_new(switches.null_first_body))
    {
        return None;
    }
    let mut shown = match switches.comment_form {
        CommentForm::Null => return None,
        CommentForm::Empty => return Some(Cow::Borrowed("")),
        CommentForm::Keep => Cow::Borrowed(comment),
        CommentForm::Upper => Cow::Owned(comment.to_uppercase()),
        CommentForm::Lower => Cow::Owned(comment.to_lowercase()),
        CommentForm::Escape => Cow::Owned(escape_html(comment)),
        CommentForm::Percent => {
            Cow::Owned(utf8_percent_encode(comment, NON_ALPHANUMERIC).to_string())
        }
    };
    if let Some(limit) = switches.comment_limit
        && shown.chars().count() > limit
    {
        shown = Cow::Owned(shown.chars().take(limit).collect());
    }
    if !switches.comment_suffix.is_empty() {
        shown.to_mut().push_str(&switches.comment_suffix);
    }
    Some(shown)
}

/// Escapes what has a meaning in HTML, and brackets.
fn escape_html(comment: &str) -> String {
    let mut out = String::with_capacity(comment.len());
    for c in comment.chars() {
        match c {
            '&' | '<' | '>' | '"' | '\'' | '[' | ']' | '(' | ')' | '{' | '}' | '`' => {
                out.push_str(&format!("&#{};", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out
}
