//! What becomes of a comment. Of our own comments it is known how they ended: in our tag.

use super::observations::Observations;
use super::on_machine::COMMENT;
use super::shape::has_only_known_words;
use crate::model::MachineAction;

/// The digits of a tag.
const DIGITS: usize = 16;
/// The tag's start and end, and the form of the comment that shows them so.
const FORMS: [(&str, &str, Option<&str>); 4] = [
    // A comment in lower case has this form too.
    ("[mlr:", "]", None),
    ("[MLR:", "]", Some("upper")),
    ("&#91;mlr:", "&#93;", Some("escape")),
    ("%5Bmlr%3A", "%5D", Some("percent")),
];
/// An action of this age shows its comment, if it ever does.
const OLD: f64 = 600.0;
/// How many actions must lack a comment before all do.
const MIN_WITHOUT: usize = 3;
const LONGEST_SUFFIX: usize = 60;

/// A tag in a comment.
#[derive(Debug, PartialEq)]
struct Found<'a> {
    form: Option<&'static str>,
    /// The text before the tag.
    before: &'a str,
    /// The text after the tag, or after the part of it that is left.
    after: &'a str,
    is_whole: bool,
}

/// `now` is the service's time.
pub(super) fn read_comments(actions: &[MachineAction], now: f64, evidence: &mut Observations) {
    for comment in actions.iter().filter_map(|action| action.requestor_comment.as_deref()) {
        evidence.fact_at_least("longest_comment", comment.chars().count() as u64);
        match find_tag(comment) {
            Some(found) => read_tag(comment, &found, evidence),
            None if comment.to_ascii_lowercase().contains("mlr") => {
                evidence.tally("tags", "not recognized");
            }
            None => {}
        }
    }
    read_absence(actions, now, evidence);
}

/// Every submit has a comment. So a service that shows none of the old ones hides all.
fn read_absence(actions: &[MachineAction], now: f64, evidence: &mut Observations) {
    let is_old = |action: &&MachineAction| {
        action.creation_date_time_utc.is_some_and(|created| now - created.to_unix() > OLD)
    };
    let old: Vec<_> = actions.iter().filter(is_old).map(|it| &it.requestor_comment).collect();
    if old.len() < MIN_WITHOUT {
        return;
    }
    let count = old.len() as u64;
    if old.iter().all(|comment| comment.is_none()) {
        evidence.add_many("comment_form", "null", count);
    } else if old.iter().all(|comment| comment.as_deref() == Some("")) {
        evidence.add_many("comment_form", "empty", count);
    }
}

fn read_tag(comment: &str, found: &Found<'_>, evidence: &mut Observations) {
    let has_capital = found.before.chars().any(char::is_uppercase);
    match found.form {
        Some(form) => evidence.add("comment_form", form),
        None if has_capital => evidence.add("comment_form", "keep"),
        // Our own comment had capitals.
        None if found.before.starts_with(&COMMENT.to_lowercase()) => {
            evidence.add("comment_form", "lower");
        }
        None => {}
    }
    let at_start = found.before.trim().is_empty();
    let word = match (found.is_whole, at_start && !found.after.is_empty()) {
        (false, _) => "cut",
        (true, true) => "at the start",
        (true, false) if found.after.is_empty() => "at the end",
        (true, false) => "before other text",
    };
    evidence.tally("tags", word);
    let is_suffix =
        found.after.len() <= LONGEST_SUFFIX && has_only_known_words(found.after) && !at_start;
    if is_suffix {
        evidence.add("comment_suffix", found.after);
    }
    // Only the end of a tag is certainly missing: other comments end where their author ended.
    if !found.is_whole && (found.after.is_empty() || is_suffix) {
        let kept = comment.strip_suffix(found.after).unwrap_or(comment);
        evidence.add("comment_limit", kept.chars().count());
    }
}

/// Returns the last tag of a comment, or what is left of it.
fn find_tag(comment: &str) -> Option<Found<'_>> {
    let starts = FORMS
        .into_iter()
        .filter_map(|(open, close, form)| comment.rfind(open).map(|at| (at, open, close, form)));
    let (at, open, close, form) = starts.max_by_key(|(at, ..)| *at)?;
    let (before, tag) = comment.split_at_checked(at)?;
    let rest = tag.strip_prefix(open)?;
    let digits = rest.bytes().take(DIGITS).take_while(u8::is_ascii_hexdigit).count();
    let mut after = rest.get(digits..)?;
    let mut is_whole = false;
    if digits == DIGITS {
        let kept = (0..=close.len())
            .rev()
            .find(|kept| close.get(..*kept).is_some_and(|start| after.starts_with(start)));
        is_whole = kept == Some(close.len());
        after = after.get(kept?..)?;
    }
    Some(Found { form, before, after, is_whole })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const TAG: &str = "[mlr:0123456789abcdef]";

    fn observed(comments: &[&str]) -> Value {
        let action = |comment: &&str| {
            let record = json!({
                "id": "1", "requestorComment": comment,
                "creationDateTimeUtc": "2026-01-01T00:00:00Z",
            });
            crate::model::decode_entity(record.to_string().as_bytes()).unwrap()
        };
        let actions: Vec<MachineAction> = comments.iter().map(action).collect();
        let mut evidence = Observations::default();
        read_comments(&actions, 2e9, &mut evidence);
        Value::Object(evidence.into_profile().observed)
    }

    #[test]
    fn the_form_follows_from_the_tag() {
        let cases = [
            (format!("Why {TAG}"), json!({"comment_form": "keep", "comment_suffix": ""})),
            // Nobody knows whether it had capitals.
            (format!("why {TAG}"), json!({"comment_suffix": ""})),
            (
                format!("WHY {TAG}").to_uppercase(),
                json!({"comment_form": "upper", "comment_suffix": ""}),
            ),
            (
                "Why &#91;mlr:0123456789abcdef&#93; (by API)".to_owned(),
                json!({"comment_form": "escape", "comment_suffix": " (by API)"}),
            ),
            (format!("Why {TAG} (Contoso)"), json!({"comment_form": "keep"})),
            (format!("{TAG} A long reason"), json!({})),
            (
                "Why [mlr:01234567".to_owned(),
                json!({
                    "comment_form": "keep", "comment_limit": 17, "comment_suffix": ""
                }),
            ),
            (
                "Why [mlr:0123456789abcdef (by API)".to_owned(),
                json!({
                    "comment_form": "keep", "comment_limit": 25, "comment_suffix": " (by API)"
                }),
            ),
            ("Why [mlr:012 secret".to_owned(), json!({"comment_form": "keep"})),
            ("Case 42".to_owned(), json!({})),
            (String::new(), json!({})),
        ];
        for (comment, expected) in cases {
            assert_eq!(observed(&[&comment]), expected, "{comment}");
        }
    }

    #[test]
    fn comments_are_hidden_only_if_all_are() {
        assert_eq!(observed(&["", "", ""]), json!({"comment_form": "empty"}));
        assert_eq!(observed(&["", ""]), json!({}));
        assert_eq!(observed(&["", "", "", "x"]), json!({}));
    }
}
