//! The tag in an action's comment. It identifies the actions of a submit in the service's list.

use sha2::{Digest, Sha256};

use crate::model::MachineAction;
use crate::state::QuotaKey;

const PREFIX: &str = "[mlr:";
const HEX_DIGITS: usize = 16;

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

    /// Returns `text` with this tag at the end. Removes the tags that `text` ends in.
    pub fn append_to(&self, text: &str) -> String {
        let mut text = text.trim_end();
        while let Some((before, _)) = split_tag(text) {
            text = before.trim_end();
        }
        format!("{text} {PREFIX}{}]", self.0).trim_start().to_owned()
    }

    /// Returns whether the action has this tag. Only the last tag of its comment counts.
    pub fn matches(&self, action: &MachineAction) -> bool {
        let comment = action.requestor_comment.as_deref().unwrap_or_default();
        split_tag(comment.trim_end()).is_some_and(|(_, tag)| tag == self.0)
    }
}

/// Splits a tag off the end of `comment`.
fn split_tag(comment: &str) -> Option<(&str, &str)> {
    let (before, tag) = comment.strip_suffix(']')?.rsplit_once(PREFIX)?;
    let well_formed = tag.len() == HEX_DIGITS && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    well_formed.then_some((before, tag))
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
        let comment = ours.append_to(&theirs.append_to("case 42"));
        assert_eq!(comment, format!("case 42 [mlr:{}]", ours.0));
        assert!(ours.matches(&action(&comment)) && !theirs.matches(&action(&comment)));
        let both = format!("{} [mlr:{}]", ours.append_to("x"), theirs.0);
        assert!(!ours.matches(&action(&both)));
        assert!(!ours.matches(&action(&format!("{comment} and more"))));
        assert!(!ours.matches(&action("")));
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
