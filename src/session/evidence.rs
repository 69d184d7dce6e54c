//! Decides whether an action that the service shows is the one that a submit started.
//!
//! The tag in the comment is the best proof, but a service, a policy or a gateway may cut, change or
//! hide the comment. Then the circumstances decide: an action that nobody knew before, on our
//! machine, with our commands, created after our POST began, is ours unless it has another tag.

use std::collections::HashSet;

use super::Tag;
use crate::model::{ActionCommand, Command, MachineAction};

/// Seconds by which the clocks of the service's replicas may differ.
const CLOCK_SKEW: f64 = 0.25;

/// Whose action it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It has our tag.
    OursByTag,
    /// It has no tag, and everything else agrees.
    OursByCircumstances,
    /// Someone else started it, or an earlier submit of ours.
    Foreign,
    /// The service has not filled in what is needed to decide.
    Undecided,
}

/// What is known of a submit, to compare it with an action.
pub struct Evidence<'a> {
    pub tag: &'a Tag,
    pub machine_id: &'a str,
    pub commands: &'a [Command],
    /// The earliest time, by the service's clock, at which the first POST can have begun. None: no
    /// POST was sent, so only the tag can prove anything.
    pub posted_at: Option<f64>,
    /// The actions that existed before the first POST.
    pub known_before: &'a HashSet<String>,
}

impl Evidence<'_> {
    /// Returns whose action it is. `complete`: the service had enough time to fill in the action.
    pub fn judge(&self, action: &MachineAction, complete: bool) -> Ownership {
        if self.tag.matches(action) {
            return Ownership::OursByTag;
        }
        if Tag::is_any_on(action) || self.contradicts(action) {
            return Ownership::Foreign;
        }
        let Some(posted_at) = self.posted_at else { return Ownership::Foreign };
        let has_date = action.creation_date_time_utc.is_some();
        if has_date && !is_newer(action, posted_at) {
            return Ownership::Foreign;
        }
        if !has_date || action.commands.is_empty() || (!complete && has_no_comment(action)) {
            return Ownership::Undecided;
        }
        Ownership::OursByCircumstances
    }

    /// Returns whether the action cannot be ours: it is known, on another machine, or runs other
    /// commands.
    fn contradicts(&self, action: &MachineAction) -> bool {
        self.known_before.contains(&action.id)
            || is_on_another_machine(action, self.machine_id)
            || !has_same_commands(action, self.commands)
    }
}

/// Returns whether the action was created after a POST that began at `posted_at`.
pub fn is_newer(action: &MachineAction, posted_at: f64) -> bool {
    let created = action.creation_date_time_utc.map(|created| created.to_unix());
    created.is_some_and(|created| created >= posted_at - CLOCK_SKEW)
}

/// Returns whether the action names a machine other than `machine_id`.
pub fn is_on_another_machine(action: &MachineAction, machine_id: &str) -> bool {
    action.machine_id.as_deref().is_some_and(|id| !id.eq_ignore_ascii_case(machine_id))
}

/// Returns whether the action runs `commands`. An action without commands counts as the same,
/// because the service may fill them in later.
pub fn has_same_commands(action: &MachineAction, commands: &[Command]) -> bool {
    let is_same =
        |(entry, command): (&ActionCommand, &Command)| entry.command.matches_submitted(command);
    action.commands.is_empty()
        || (action.commands.len() == commands.len()
            && action.commands.iter().zip(commands).all(is_same))
}

/// The service rejects an empty comment, so an action without one is not filled in yet, or the
/// tenant hides comments.
pub fn has_no_comment(action: &MachineAction) -> bool {
    action.requestor_comment.as_deref().unwrap_or_default().trim().is_empty()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::state::QuotaKey;

    const MACHINE: &str = "9a0b1c2d3e4f5061728394a5b6c7d8e9f0a1b2c3";
    /// 2026-03-10T14:36:51Z.
    const POSTED_AT: f64 = 1_773_153_411.0;

    fn tag(correlation_id: &str) -> Tag {
        let key = QuotaKey { host: "h".into(), tenant: "t".into(), application: "a".into() };
        Tag::new(&key, MACHINE, correlation_id)
    }

    fn action(change: impl Fn(&mut Value)) -> MachineAction {
        let mut body = json!({
            "id": "6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10",
            "status": "Pending",
            "machineId": MACHINE,
            "requestorComment": "case 42",
            "creationDateTimeUtc": "2026-03-10T14:36:51.5Z",
            "commands": [{"index": 0, "commandStatus": "Created", "command":
                {"type": "RunScript", "params": [{"key": "ScriptName", "value": "a.ps1"}]}}],
        });
        change(&mut body);
        crate::model::decode_entity(body.to_string().as_bytes()).unwrap()
    }

    fn judge(change: impl Fn(&mut Value)) -> Ownership {
        let commands = [Command::run_script("a.ps1", None).unwrap()];
        let evidence = Evidence {
            tag: &tag("ours"),
            machine_id: MACHINE,
            commands: &commands,
            posted_at: Some(POSTED_AT),
            known_before: &HashSet::from(["known".to_owned()]),
        };
        evidence.judge(&action(change), true)
    }

    #[test]
    fn an_untagged_action_is_ours_only_if_everything_agrees() {
        use Ownership::{Foreign, OursByCircumstances, OursByTag, Undecided};
        assert_eq!(judge(|_| {}), OursByCircumstances);
        assert_eq!(judge(|body| body["machineId"] = Value::Null), OursByCircumstances);
        assert_eq!(judge(|body| body["requestorComment"] = Value::Null), OursByCircumstances);
        assert_eq!(judge(|body| body["id"] = json!("known")), Foreign);
        assert_eq!(judge(|body| body["machineId"] = json!("0".repeat(40))), Foreign);
        assert_eq!(
            judge(|body| body["creationDateTimeUtc"] = json!("2026-03-10T14:36:50Z")),
            Foreign
        );
        assert_eq!(
            judge(|body| body["commands"][0]["command"]["type"] = json!("GetFile")),
            Foreign
        );
        assert_eq!(judge(|body| body["commands"] = json!([])), Undecided);
        assert_eq!(judge(|body| body["creationDateTimeUtc"] = Value::Null), Undecided);
        let old_and_empty = |body: &mut Value| {
            body["commands"] = json!([]);
            body["creationDateTimeUtc"] = json!("2026-03-10T14:36:50Z");
        };
        assert_eq!(judge(old_and_empty), Foreign);
        let foreign_tag = tag("theirs").add_to("case 42");
        assert_eq!(judge(|body| body["requestorComment"] = json!(foreign_tag)), Foreign);
        let our_tag = tag("ours").add_to("case 42").to_uppercase();
        assert_eq!(judge(|body| body["requestorComment"] = json!(our_tag)), OursByTag);
    }

    #[test]
    fn without_a_post_only_the_tag_proves_anything() {
        let commands = [Command::run_script("a.ps1", None).unwrap()];
        let evidence = Evidence {
            tag: &tag("ours"),
            machine_id: MACHINE,
            commands: &commands,
            posted_at: None,
            known_before: &HashSet::new(),
        };
        assert_eq!(evidence.judge(&action(|_| {}), true), Ownership::Foreign);
    }
}
