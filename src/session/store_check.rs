//! Holds a state store whose memory may not be whole against the service's list.

use std::collections::HashSet;

use super::{Sessions, Tag};
use crate::error::Result;
use crate::limits::Quota;
use crate::model::{MachineAction, Timestamp};
use crate::state::store::{ListedActions, OpenSession};
use crate::trace::LOG_TARGET;

/// Seconds of the list that are read at least.
const MIN_SPAN: f64 = 3600.0;
/// Seconds by which the service's clock may be behind ours.
const CLOCK_SKEW: f64 = 600.0;

/// Reads the service's list once if the store is new, or may have lost or rewound its memory.
///
/// If the list has submits of this library that the store does not know, they count as made, and
/// the intents of the store count as lost.
pub(super) async fn check_store(sessions: &Sessions, quota: &Quota) -> Result<()> {
    let store = quota.store();
    if !store.needs_check().await? {
        return Ok(());
    }
    // One of many submits reads the list for all.
    let _checking = quota.begin_check().await;
    if !store.needs_check().await? {
        return Ok(());
    }
    read_list(sessions, quota).await
}

/// Reads the list again for an action of ours that an earlier submit started and the store does not
/// know: the list did not show it yet when the store was held against it.
pub(super) async fn check_again(
    sessions: &Sessions,
    quota: &Quota,
    found: &MachineAction,
) -> Result<()> {
    let now = sessions.pipeline.clock.now();
    let created = found.creation_date_time_utc.map_or(now, Timestamp::to_unix);
    // An older one counts in no window, and the check may have left it out.
    if now - created > MIN_SPAN
        || quota.store().find_unknown_actions(vec![found.id.clone()]).await?.is_empty()
    {
        return Ok(());
    }
    read_list(sessions, quota).await
}

/// Records what the service's list shows and the store does not know.
async fn read_list(sessions: &Sessions, quota: &Quota) -> Result<()> {
    let store = quota.store();
    let pipeline = &sessions.pipeline;
    let limits = &pipeline.options.limits;
    // No session lasts longer, even with ten commands.
    let longest = limits.queue_time + limits.settle_time + 10.0 * limits.script_time;
    let now = pipeline.clock.now();
    let since = Timestamp::from_unix(now - longest.max(MIN_SPAN) - CLOCK_SKEW);
    let filter = since.map_or_else(
        || "type eq 'LiveResponse'".to_owned(),
        |since| format!("type eq 'LiveResponse' and creationDateTimeUtc ge {since}"),
    );
    let actions = pipeline.list_machine_actions(Some(&filter), None).await?;
    let unknown = find_unknown(quota, &actions).await?;
    let age = |action: &MachineAction| {
        let created = action.creation_date_time_utc.map_or(now, Timestamp::to_unix);
        (action.id.clone(), (now - created).max(0.0))
    };
    let listed = ListedActions {
        unknown: unknown.into_iter().map(age).collect(),
        open: actions.iter().filter_map(|action| open_session(action, longest)).collect(),
    };
    let missing = listed.unknown.len();
    quota.record_check(listed).await?;
    if missing > 0 {
        log::warn!(
            target: LOG_TARGET,
            "the state store {} does not know all submits of this application that the service \
             lists, {missing} are missing: it is new, was restored or lost its memory, or another state store is \
             in use for this application. They count as made, and for {:.0} s each correlation_id \
             is looked for in the service's list before it is submitted",
            store.address(),
            limits.settle_time
        );
    }
    Ok(())
}

/// Returns the actions that this library submitted for this application and the store does not
/// know.
async fn find_unknown<'a>(
    quota: &Quota,
    actions: &'a [MachineAction],
) -> Result<Vec<&'a MachineAction>> {
    let tagged: Vec<_> = actions.iter().filter(|action| Tag::is_any_on(action)).collect();
    if tagged.is_empty() {
        return Ok(Vec::new());
    }
    let ids = tagged.iter().map(|action| action.id.clone()).collect();
    let unknown: HashSet<String> =
        quota.store().find_unknown_actions(ids).await?.into_iter().collect();
    // The tag does not name the application, but the requestor of a known action does.
    let ours: HashSet<_> = tagged
        .iter()
        .filter(|action| !unknown.contains(&action.id))
        .filter_map(|action| action.requestor.as_deref())
        .collect();
    let is_ours = |action: &MachineAction| {
        let requestor = action.requestor.as_deref();
        ours.is_empty() || requestor.is_none_or(|requestor| ours.contains(requestor))
    };
    Ok(tagged
        .into_iter()
        .filter(|action| unknown.contains(&action.id) && is_ours(action))
        .collect())
}

fn open_session(action: &MachineAction, lease: f64) -> Option<OpenSession> {
    let machine_id = action.machine_id.clone().filter(|_| !action.is_done())?;
    Some(OpenSession { machine_id, action_id: action.id.clone(), lease })
}

/// Returns whether the comment begins or ends with a tag of this library. A service may change its
/// case.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_recognized_at_both_ends() {
        let action = |comment: &str| -> MachineAction {
            let body = serde_json::json!({"id": "1", "status": "x", "requestorComment": comment});
            crate::model::decode_entity(body.to_string().as_bytes()).unwrap()
        };
        let tag = "[mlr:0123456789abcdef]";
        for ours in [tag.into(), format!("é {tag} "), format!("{tag} é"), tag.to_uppercase()] {
            assert!(Tag::is_any_on(&action(&ours)), "{ours}");
        }
        for other in ["", "case", "[mlr:0123456789abcdeg]", "é[mlr:", "[mlr:0123] x"] {
            assert!(!Tag::is_any_on(&action(other)), "{other}");
        }
        assert!(!Tag::is_any_on(&action(&format!("a {tag} b"))));
    }
}
