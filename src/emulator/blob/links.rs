//! Handler of GetLiveResponseResultDownloadLink (docs/service.md, section 7).

use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::emulator::clock::{Tick, format_time, seconds, ticks};
use crate::emulator::session::action::{Action, Command, Status, Step};
use crate::emulator::state::State;
use crate::emulator::wire::reply::{ApiError, Reply, status};
use crate::emulator::write_json;

impl State {
    /// Returns a link to the result of one command. It is valid for 30 minutes (page
    /// "get-live-response-result").
    pub fn result_link(&mut self, id: &str, arguments: &str, now: Tick) -> Result<Reply, ApiError> {
        let action_index = self.find_action(id, now)?;
        let given = command_index(arguments)?;
        let Some(action) = self.actions.get(action_index) else {
            return Err(ApiError::not_found(id));
        };
        let known =
            usize::try_from(given).ok().and_then(|index| Some((index, action.steps.get(index)?)));
        let Some((index, step)) = known else {
            let message = format!(
                "Command index {given} is out of range: the action has {} commands.",
                action.steps.len()
            );
            return Err(ApiError::new(
                status(self.switches.out_of_range_status),
                "InvalidInput",
                message,
            ));
        };
        if !self.has_result(action, step, now) {
            let message = format!("The result of command {index} of action {id} was not found");
            let comes_later = action.status.is_open() || step.result.is_some();
            let number = status(if comes_later {
                self.switches.early_link_status
            } else {
                self.switches.no_result_status
            });
            let code =
                if number == StatusCode::NOT_FOUND { "ResourceNotFound" } else { "InvalidInput" };
            return Err(ApiError::new(number, code, message));
        }
        let blob = blob_name(action.id, index);
        let link = self.signed_link(&blob, &output_name(action.id, index, step), now);
        self.results.add_link(blob, (action_index, index));
        let mut out = self.open_odata_body("Edm.String");
        out.extend_from_slice(b",\"value\":");
        write_json(&mut out, &if self.switches.quoted_link { format!("\"{link}\"") } else { link });
        out.push(b'}');
        Ok(Reply::entity(StatusCode::OK, out))
    }

    /// Returns whether a step has a result that can be downloaded now.
    fn has_result(&self, action: &Action, step: &Step, now: Tick) -> bool {
        let lag = self.switches.result_lag;
        let is_late_enough = match action.ended {
            Some(ended) => now >= ended + ticks(lag),
            None => lag <= 0.0 && action.status == Status::InProgress,
        };
        is_late_enough && step.end.is_some() && step.result.is_some()
    }

    // Clients compare `se` with their own clock, so it is in wall time. The emulator itself checks
    // the expiry inside the signature, which is in emulated time.
    fn signed_link(&self, blob: &str, output_name: &str, now: Tick) -> String {
        let lifetime = ticks(self.switches.link_life);
        let wall = self.wall_now + seconds(lifetime) / self.speed;
        let se = format_time(ticks(wall.ceil()));
        let disposition = format!("attachment; filename={output_name}");
        let signature = self.results.sign(blob, &format!("{se}\n{disposition}"), now + lifetime);
        let encode = |text: &str| {
            utf8_percent_encode(text, NON_ALPHANUMERIC)
                .to_string()
                .replace("%2D", "-")
                .replace("%2E", ".")
                .replace("%5F", "_")
        };
        format!(
            "{}/investigation-actions-data/{}/CustomPlaybookCommandOutput/{blob}\
             ?se={}&sp=rt&sv=2020-06-12&sr=b&rscd={}&sig={}",
            self.addresses.blob,
            self.tenant_id,
            encode(&se),
            encode(&disposition),
            encode(&signature),
        )
    }
}

/// Parses the number in `index=0`.
fn command_index(arguments: &str) -> Result<i64, ApiError> {
    let argument = arguments.split_once('=').filter(|(name, _)| name.trim() == "index");
    let (_, text) = argument.ok_or_else(|| {
        ApiError::bad_request(
            "MissingRequiredParameter",
            "The required parameter 'index' is missing.",
        )
    })?;
    let text = text.trim();
    text.parse().map_err(|_| {
        ApiError::bad_request("InvalidInput", format!("The index '{text}' is not a whole number."))
    })
}

/// Returns the name of a command's blob: 32 hexadecimal digits that differ from the action's id.
fn blob_name(action: Uuid, index: usize) -> String {
    let digest = Sha256::new()
        .chain_update(action.as_bytes())
        .chain_update((index as u64).to_le_bytes())
        .finalize();
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the file name that the service gives a result (docs/service.md, section 7.1).
fn output_name(action: Uuid, index: usize, step: &Step) -> String {
    let extension = if matches!(step.command, Command::RunScript { .. }) { "json" } else { "gz" };
    format!("output_{action}_{index}.{extension}")
}
