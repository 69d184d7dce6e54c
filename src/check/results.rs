//! Checks whether the host of results can be reached: a firewall may allow the API only.

use super::Check;
use crate::error::{Error, Kind};
use crate::model::{CommandType, MachineAction};
use crate::pipeline::{Pipeline, is_access_blocked};
use crate::transfer::BlobRange;

/// Opens the result of an earlier session, whose link names the host. Without one, the host is not
/// known and nothing is checked.
pub(super) async fn check_results_host(
    pipeline: &Pipeline,
    actions: &[MachineAction],
    check: &mut Check,
) {
    let with_result = actions.iter().filter(|action| action.is_done()).find_map(|action| {
        let command = action.commands.iter().find(|command| {
            command.status == "Completed"
                && matches!(
                    command.command.command_type(),
                    Some(CommandType::RunScript | CommandType::GetFile)
                )
        })?;
        Some((action.id.as_str(), command.index))
    });
    let Some((action_id, index)) = with_result else { return };
    // An old result may be gone, which says nothing about the next one.
    let Ok(link) = pipeline.get_result_link(action_id, index).await else { return };
    match pipeline.open_link(&link, &BlobRange::default()).await {
        Ok(blob) if blob.origin.is_page() => {
            let message = format!(
                "{} answered with {} in place of a result",
                link.host(),
                blob.origin.describe_page(b"?")
            );
            let error = Error::new(Kind::Download, message).with_hint(
                "a proxy or firewall answers in place of the results' host: ask its administrators \
                 to allow *.blob.core.windows.net",
            );
            check.add_error("results", &error);
        }
        Err(error) if error.status.is_none() || is_access_blocked(&error) => {
            check.add_error("results", &error);
        }
        _ => {}
    }
}
