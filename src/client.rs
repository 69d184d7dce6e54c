//! One function for each operation of the service.

mod machine_selection;
mod machines;
mod namesakes;
mod pages;

use std::sync::atomic::Ordering;

use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;

use crate::error::{Error, Kind, Result};
use crate::limits::CallPermit;
use crate::model::{
    self, ArgumentRedactor, Command, LibraryFile, MachineAction, Raw, check_action_id,
    check_stored_name,
};
use crate::operation::Operation;
use crate::pipeline::{ApiCall, ApiResponse, AttemptOutcome, Pipeline};
use crate::secret::SecretUrl;
use crate::transfer::{LibraryUpload, encode_multipart};
use crate::transport::SendCheck;
pub use machine_selection::MachineSelection;
pub use machines::{machine_not_found, other_machines_error};
pub use namesakes::{Choice, Namesake, ambiguous_error, choose};
use pages::ListQuery;
pub use pages::{Listed, PageGuard};

/// Every character except the unreserved ones of RFC 3986.
const URL_COMPONENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encode(text: &str) -> String {
    utf8_percent_encode(text, URL_COMPONENT).to_string()
}

/// Returns `text` as an OData string literal.
pub fn odata_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Pipeline {
    /// Reads a machine action (page "get-machineaction-object").
    pub async fn get_machine_action(&self, id: &str) -> Result<MachineAction> {
        check_action_id(id)?;
        let path = format!("/api/machineactions/{}", encode(id));
        let call = ApiCall::get(Operation::GetMachineAction, path).with_action_id(id);
        self.call(&call, |body| decode_action(id, body)).await
    }

    /// Lists machine actions, newest first (page "get-machineactions-collection").
    pub async fn list_machine_actions(
        &self,
        filter: Option<&str>,
        top: Option<u32>,
    ) -> Result<Vec<MachineAction>> {
        Ok(self.list_machine_actions_and_skipped(filter, top).await?.0)
    }

    /// Lists machine actions. Returns also the JSON of the records without a usable id.
    pub async fn list_machine_actions_and_skipped(
        &self,
        filter: Option<&str>,
        top: Option<u32>,
    ) -> Result<(Vec<MachineAction>, Vec<Raw>)> {
        let (operation, path) = (Operation::ListMachineActions, "/api/machineactions");
        let order = Some("creationDateTimeUtc desc");
        let Listed { items: mut actions, skipped } =
            self.list::<MachineAction>(ListQuery { operation, path, filter, top, order }).await?;
        // Sorted here too, because callers rely on the order.
        actions.sort_by_key(|action| std::cmp::Reverse(action.creation_date_time_utc));
        Ok((actions, skipped))
    }

    /// Cancels a machine action (page "cancel-machine-action").
    pub async fn cancel_machine_action(&self, id: &str, comment: &str) -> Result<MachineAction> {
        check_action_id(id)?;
        let path = format!("/api/machineactions/{}/cancel", encode(id));
        let call = ApiCall::post_json(
            Operation::CancelMachineAction,
            path,
            &json!({ "Comment": comment }),
        )
        .with_action_id(id);
        self.call(&call, |body| decode_action(id, body)).await
    }

    /// Gets the link to a command's result, valid for 30 minutes (page "get-live-response-result").
    pub async fn get_result_link(&self, id: &str, index: u32) -> Result<SecretUrl> {
        #[derive(Deserialize)]
        struct ResultLink {
            value: String,
        }
        check_action_id(id)?;
        let path = format!(
            "/api/machineactions/{}/GetLiveResponseResultDownloadLink(index={index})",
            encode(id)
        );
        let call = ApiCall::get(Operation::GetResultLink, path).with_action_id(id);
        // The link is a secret, so no error may contain it or the parser's message about it.
        let invalid = || {
            Error::new(
                Kind::Service,
                format!("the service returned no valid link for command {index}"),
            )
        };
        let decode = |body: &[u8]| {
            let link: ResultLink = serde_json::from_slice(body).map_err(|_| invalid())?;
            SecretUrl::parse(link.value.trim_matches('"'), "the link of the result")
                .map_err(|_| invalid())
        };
        self.call(&call, decode).await
    }

    /// Lists the files of the live response library (page "list-library-files").
    pub async fn list_library_files(&self) -> Result<Vec<LibraryFile>> {
        let (operation, path) = (Operation::ListLibraryFiles, "/api/libraryfiles");
        let query = ListQuery { operation, path, filter: None, top: None, order: None };
        Ok(self.list(query).await?.items)
    }

    /// Uploads a file to the live response library (page "upload-library").
    pub async fn upload_library_file(&self, form: &LibraryUpload) -> Result<LibraryFile> {
        let (content_type, body) = encode_multipart(form);
        let mut call = ApiCall::get(Operation::UploadLibraryFile, "/api/libraryfiles");
        call.method = Method::POST;
        call.content_type = Some(content_type);
        call.body = body;
        call.file_name = Some(form.file_name.clone());
        self.call(&call, model::decode_entity).await
    }

    /// Deletes a file of the live response library (page "delete-library").
    pub async fn delete_library_file(&self, name: &str) -> Result<()> {
        check_stored_name(name)?;
        let mut call = ApiCall::get(
            Operation::DeleteLibraryFile,
            format!("/api/libraryfiles/{}", encode(name)),
        );
        call.method = Method::DELETE;
        call.file_name = Some(name.to_owned());
        self.call(&call, |_| Ok(())).await
    }

    /// Sends one submit, without retries (page "run-live-response"). If the outcome is ambiguous,
    /// the caller has to find out whether a session started.
    pub async fn run_live_response(
        &self,
        machine_id: &str,
        commands: &[Command],
        comment: &str,
        permit: CallPermit,
        check: SendCheck,
    ) -> AttemptOutcome {
        let mut call = encode_submit(machine_id, commands, comment);
        call.body = call.body.with_check(check);
        let outcome = self.attempt(&call, permit).await;
        if let AttemptOutcome::Succeeded(response) = &outcome {
            self.accepted_status.store(response.status.as_u16(), Ordering::Relaxed);
        }
        outcome
    }
}

/// Returns the call of a submit (page "run-live-response").
pub fn encode_submit(machine_id: &str, commands: &[Command], comment: &str) -> ApiCall {
    let path = format!("/api/machines/{}/runliveresponse", encode(machine_id));
    let body = json!({ "Commands": commands, "Comment": comment });
    let mut call =
        ApiCall::post_json(Operation::RunLiveResponse, path, &body).with_machine_id(machine_id);
    call.arguments = ArgumentRedactor::new(commands);
    call
}

/// Returns the path and the query of the next page. The host of the link is ignored: the token must
/// not be sent to another host.
fn next_page_path(link: &str) -> Result<String> {
    let url = SecretUrl::parse(link, "@odata.nextLink")
        .map_err(|error| Error::new(Kind::Service, error.message.clone()))?;
    let url = url.expose();
    Ok(url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path())))
}

/// Decodes the action `id`. An answer about another action must not pass for it.
fn decode_action(id: &str, body: &[u8]) -> Result<MachineAction> {
    let action: MachineAction = model::decode_entity(body)?;
    check_same_id("machine action", id, &action.id)?;
    Ok(action)
}

/// Fails if the service answered about another object than the one that was asked for.
fn check_same_id(what: &str, wanted: &str, got: &str) -> Result<()> {
    if got.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let message =
        format!("the service answered about another {what}, {}", crate::text::sanitize(got, 60));
    Err(Error::new(Kind::Service, message).with_hint(
        "the answer was not used: try again; if the error persists, a gateway or proxy may be \
         mixing up answers",
    ))
}

/// Reads the machine action from the response to a submit.
pub fn parse_submit_response(response: &ApiResponse) -> Result<MachineAction> {
    model::decode_entity(&response.body)
}
