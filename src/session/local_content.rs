//! Uploads what the commands of a submit bring, before its intent is stored.

use super::Sessions;
use super::plan::{SubmitRequest, annotate, commands_mismatch_error};
use super::wait_limit::{Sent, WaitLimit};
use crate::error::Result;
use crate::library::check_content_sizes;
use crate::model::Command;
use crate::state::store::IntentKey;

impl Sessions {
    /// Returns the request with commands that need nothing from this process any more.
    ///
    /// A file that the library has and no submit needs does no harm. A submit whose file is missing
    /// would fail on the machine. So the upload comes first.
    pub(super) async fn upload_local_content(
        &self,
        request: SubmitRequest,
        key: &IntentKey,
        wait_limit: &WaitLimit,
    ) -> Result<SubmitRequest> {
        if request.commands.iter().all(|command| command.content().is_none()) {
            return Ok(request);
        }
        check_content_sizes(&request.commands, &self.pipeline.options.limits)?;
        let uploading = async {
            match self.is_submitted(&request, key).await? {
                true => Ok(()),
                false => self.local_files.upload(&self.pipeline, &request.commands).await,
            }
        };
        match wait_limit.wait_for(uploading).await {
            Ok(uploaded) => uploaded.map_err(|error| annotate(key, error))?,
            Err(elapsed) => {
                return Err(annotate(key, elapsed.into_error(&key.machine_id, Sent::Nothing)));
            }
        }
        let commands = request.commands.iter().map(Command::without_content).collect();
        Ok(SubmitRequest { commands, ..request })
    }

    /// Returns whether the store has the session of the request. Fails if it has an intent with
    /// other commands.
    async fn is_submitted(&self, request: &SubmitRequest, key: &IntentKey) -> Result<bool> {
        if request.correlation_id.is_none() {
            return Ok(false);
        }
        let (_, quota) = self.pipeline.shared_quota().await?;
        match quota.store().get_intent(key.clone()).await? {
            Some(intent) if intent.commands != request.commands => {
                Err(commands_mismatch_error(key))
            }
            intent => Ok(intent.is_some_and(|intent| intent.action_id.is_some())),
        }
    }
}
