//! Finds accepted submits that repeat an earlier one.

use foldhash::{HashMap, HashSet};

use crate::emulator::session::action::Command;

/// An application, a machine, and what ran there.
type Work = (u32, u32, Vec<Command>);

/// The accepted submits.
#[derive(Debug, Default)]
pub struct SubmitLog {
    /// The tags of this package's client, of which each is for one submit.
    tags: HashSet<String>,
    /// What was submitted before, and how.
    known: HashMap<Work, EarlierSubmits>,
    /// The actions whose response did not reach the client, or has not yet, as it should.
    disturbed: HashMap<u32, Work>,
    duplicates: u64,
}

/// The earlier submits of the same work.
#[derive(Debug, Default)]
struct EarlierSubmits {
    /// Comments with a tag.
    comments: HashSet<String>,
    /// How many of them have a disturbed response.
    disturbed: u64,
}

impl SubmitLog {
    /// Records an accepted submit, and counts it if it repeats an earlier one.
    ///
    /// Its response counts as disturbed until [`mark_settled`](Self::mark_settled).
    pub fn record(
        &mut self,
        action: u32,
        application: u32,
        machine: u32,
        commands: Vec<Command>,
        comment: &str,
    ) {
        let work = (application, machine, commands);
        let earlier = self.known.entry(work.clone()).or_default();
        // A client that did not get an undisturbed response cannot know that the work was not done,
        // so it must look before it submits again.
        let mut repeats = earlier.disturbed > 0;
        if has_bracketed_tag(comment) {
            repeats |= !earlier.comments.insert(comment.to_owned());
        }
        // A comment may quote the tag of an earlier action. The client's own is at the end, or at
        // the start of a long comment.
        if let Some(tag) = own_tag(comment) {
            repeats |= !self.tags.insert(tag.to_ascii_lowercase());
        }
        earlier.disturbed += 1;
        self.duplicates += u64::from(repeats);
        self.disturbed.insert(action, work);
    }

    /// Records that the response of an accepted submit reached its client unchanged, or that its
    /// action ended before it began on the machine.
    pub fn mark_settled(&mut self, action: u32) {
        if let Some(earlier) =
            self.disturbed.remove(&action).and_then(|work| self.known.get_mut(&work))
        {
            earlier.disturbed = earlier.disturbed.saturating_sub(1);
        }
    }

    /// Returns how many accepted submits repeat an earlier one.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Returns whether a comment begins or ends with text in brackets.
fn has_bracketed_tag(comment: &str) -> bool {
    let comment = comment.trim();
    let at_end = comment.strip_suffix(']').and_then(|rest| rest.rsplit_once('['));
    let at_start = comment.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let inner = [at_end.map(|(_, inner)| inner), at_start.map(|(inner, _)| inner)];
    inner.into_iter().flatten().any(|inner| !inner.trim().is_empty())
}

/// Returns the tag of this package's client: `aa` in `case 1 [mlr:aa]` and in `[mlr:aa] case 1`.
fn own_tag(comment: &str) -> Option<&str> {
    const PREFIX: &str = "[mlr:";
    let comment = comment.trim();
    let at_end = comment
        .strip_suffix(']')
        .and_then(|rest| rest.rsplit_once(PREFIX))
        .map(|(_, tag)| tag)
        .filter(|tag| !tag.contains([']', ' ']));
    at_end.or_else(|| comment.strip_prefix(PREFIX)?.split_once(']').map(|(tag, _)| tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(name: &str) -> Vec<Command> {
        vec![Command::RunScript { name: name.to_owned(), args: None }]
    }

    /// Returns the duplicates among submits of one script to one machine. `true` means that the
    /// response reached the client.
    fn duplicates(submits: &[(&str, bool)]) -> u64 {
        let mut log = SubmitLog::default();
        for (action, (comment, delivered)) in (0..).zip(submits) {
            log.record(action, 0, 0, script("a.ps1"), comment);
            if *delivered {
                log.mark_settled(action);
            }
        }
        log.duplicates()
    }

    #[test]
    fn repeated_runs_after_a_whole_response_are_no_duplicates() {
        assert_eq!(duplicates(&[("case 1", true), ("case 1", true), ("case 1", true)]), 0);
        assert_eq!(duplicates(&[("a [mlr:aa]", true), ("a [mlr:aa] [mlr:bb]", true)]), 0);
        assert_eq!(duplicates(&[("a [x] b", true), ("a [x] b", true), ("[]", true)]), 0);
    }

    #[test]
    fn the_same_comment_with_a_tag_is_a_duplicate() {
        assert_eq!(duplicates(&[("why [client 7f]", true), ("why [client 7f]", true)]), 1);
        assert_eq!(duplicates(&[("[7f] why", true), ("[7f] why", true), ("[8] why", true)]), 1);
        assert_eq!(duplicates(&[("why [mlr:aa]", true), ("[mlr:aa] more", true)]), 1);
    }

    #[test]
    fn a_submit_after_a_disturbed_response_is_a_duplicate() {
        assert_eq!(duplicates(&[("one", false), ("two [mlr:bb]", true), ("three", true)]), 2);
    }

    #[test]
    fn other_work_is_no_duplicate() {
        let mut log = SubmitLog::default();
        log.record(0, 0, 0, script("a.ps1"), "one [t]");
        log.record(1, 0, 0, script("b.ps1"), "one [t]");
        log.record(2, 0, 1, script("a.ps1"), "one [t]");
        log.record(3, 1, 0, script("a.ps1"), "one [t]");
        assert_eq!(log.duplicates(), 0);
        log.record(4, 0, 0, script("a.ps1"), "two");
        assert_eq!(log.duplicates(), 1);
    }
}
