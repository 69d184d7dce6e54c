//! The tag in an action's comment. It identifies the actions of a submit in the service's list.

use sha2::{Digest, Sha256};

use crate::model::MachineAction;
use crate::state::QuotaKey;

const PREFIX: &str = "[mlr:";
const HEX_DIGITS: usize = 16;
/// The longest comment, in characters, that has its tag at the end. The service's own limit is not
/// known (docs/service.md, section 5.1); no database column for text is usually shorter than this.
const MAX_WITH_TAG_AT_END: usize = 200;

/// A short hash of the quota key, the machine and the correlation id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    pub fn new(key: &QuotaKey, machine_id: &str, correlation_id: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [&key.host, &key.tenant, &key.application, machine_id, correlation_id] {
            // With the lengths, "ab" and "c" have another hash than "a" and "bc".
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let hex =
            hash.finalize().iter().take(HEX_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect();
        Self(hex)
    }

    /// Returns `text` with this tag, in place of any tags that it begins or ends with.
    ///
    /// The tag is at the end, where people expect it. A long text has it at the start, so that it
    /// survives if the service cuts the comment.
    pub fn add_to(&self, text: &str) -> String {
        let text = strip_tags(text);
        let tagged = format!("{text} {PREFIX}{}]", self.0);
        if tagged.chars().count() <= MAX_WITH_TAG_AT_END {
            return tagged.trim_start().to_owned();
        }
        format!("{PREFIX}{}] {text}", self.0)
    }

    /// Returns whether this tag is anywhere in `text`.
    pub fn is_in(&self, text: &str) -> bool {
        text.to_ascii_lowercase().contains(&self.0)
    }

    /// Returns whether the action has this tag.
    pub fn matches(&self, action: &MachineAction) -> bool {
        tag_of(action).is_some_and(|tag| tag.eq_ignore_ascii_case(&self.0))
    }

    /// Returns the tag that a comment of ours has.
    pub fn in_comment(comment: &str) -> Option<Self> {
        tag_in(comment).map(|digits| Self(digits.to_ascii_lowercase()))
    }

    /// Returns whether the action has the tag of any submit.
    pub fn is_any_on(action: &MachineAction) -> bool {
        tag_of(action).is_some()
    }
}

/// Returns the tag of an action: the last one of its comment if it ends in one, else the one that
/// it begins with.
fn tag_of(action: &MachineAction) -> Option<&str> {
    tag_in(action.requestor_comment.as_deref().unwrap_or_default())
}

fn tag_in(comment: &str) -> Option<&str> {
    let comment = comment.trim();
    let at_end = split_last(comment).map(|(_, tag)| tag);
    at_end.or_else(|| split_first(comment).map(|(tag, _)| tag))
}

fn strip_tags(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let rest = split_last(text)
            .map(|(before, _)| before)
            .or_else(|| split_first(text).map(|(_, after)| after));
        match rest {
            Some(rest) => text = rest.trim(),
            None => return text,
        }
    }
}

/// Splits a tag off the end of `comment`.
fn split_last(comment: &str) -> Option<(&str, &str)> {
    let inner = comment.strip_suffix(']')?;
    let start = inner.len().checked_sub(PREFIX.len() + HEX_DIGITS)?;
    let (before, tag) = inner.split_at_checked(start)?;
    Some((before, digits_of(tag)?))
}

/// Splits a tag off the start of `comment`.
fn split_first(comment: &str) -> Option<(&str, &str)> {
    let (tag, after) = comment.split_at_checked(PREFIX.len() + HEX_DIGITS)?;
    Some((digits_of(tag)?, after.strip_prefix(']')?))
}

/// Returns the digits after the prefix. A service may change the case of a comment.
fn digits_of(tag: &str) -> Option<&str> {
    let (prefix, digits) = tag.split_at_checked(PREFIX.len())?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex && prefix.eq_ignore_ascii_case(PREFIX)).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(correlation_id: &str) -> Tag {
        let key = QuotaKey { host: "h".into(), tenant: "t".into(), application: "a".into() };
        Tag::new(&key, "m", correlation_id)
    }

    fn action(comment: &str) -> MachineAction {
        let body = serde_json::json!({"id": "1", "status": "Pending", "requestorComment": comment});
        crate::model::decode_entity(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn only_the_last_tag_counts() {
        let (ours, theirs) = (tag("ours"), tag("theirs"));
        let comment = ours.add_to(&theirs.add_to("case 42"));
        assert_eq!(comment, format!("case 42 [mlr:{}]", ours.0));
        assert!(ours.matches(&action(&comment)) && !theirs.matches(&action(&comment)));
        let both = format!("{} [mlr:{}]", ours.add_to("x"), theirs.0);
        assert!(!ours.matches(&action(&both)));
        assert!(!ours.matches(&action(&format!("{comment} and more"))));
        assert!(!ours.matches(&action("")));
    }

    #[test]
    fn a_long_comment_has_its_tag_where_a_cut_leaves_it() {
        let ours = tag("ours");
        let comment = ours.add_to(&"why ".repeat(200));
        assert!(comment.starts_with("[mlr:") && comment.contains("why why"));
        assert!(ours.matches(&action(&comment[..30])));
        assert_eq!(ours.add_to(&tag("theirs").add_to(&"why ".repeat(200))), comment);
        assert!(ours.add_to("why").ends_with(']'));
    }

    #[test]
    fn odd_comments_do_no_harm() {
        for comment in ["[mlr:", "[mlr:0123456789abcdef", "é[mlr:é123456789abcdef]", "]", "[mlr:]"]
        {
            assert!(!Tag::is_any_on(&action(comment)), "{comment}");
        }
        assert!(Tag::is_any_on(&action("[MLR:0123456789ABCDEF]")));
    }

    #[test]
    fn the_hash_separates_its_parts() {
        let key = |tenant: &str, application: &str| QuotaKey {
            host: "h".into(),
            tenant: tenant.into(),
            application: application.into(),
        };
        assert_ne!(Tag::new(&key("ab", "c"), "m", "1"), Tag::new(&key("a", "bc"), "m", "1"));
        assert_ne!(Tag::new(&key("a", "b"), "m1", ""), Tag::new(&key("a", "b"), "m", "1"));
    }
}
