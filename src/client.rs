//! One function for each operation of the service.

use std::collections::HashSet;

use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;

use crate::error::{Error, Kind, Result};
use crate::limits::CallPermit;
use crate::model::{self, Command, Entity, LibraryFile, Machine, MachineAction, is_machine_id};
use crate::operation::Operation;
use crate::pipeline::{ApiCall, ApiResponse, AttemptOutcome, Pipeline};
use crate::secret::SecretUrl;
use crate::transfer::{LibraryUpload, encode_multipart};

/// Every character except the unreserved ones of RFC 3986.
const URL_COMPONENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The largest page that the service returns (page "api-odata").
const MAX_PAGE_SIZE: u32 = 10_000;

fn encode(text: &str) -> String {
    utf8_percent_encode(text, URL_COMPONENT).to_string()
}

/// Returns `text` as an OData string literal.
pub fn odata_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Pipeline {
    /// Reads a machine by its id (page "get-machine-by-id").
    pub async fn get_machine(&self, id: &str) -> Result<Machine> {
        let call =
            ApiCall::get(Operation::GetMachine, format!("/api/machines/{id}")).with_machine_id(id);
        self.call(&call, model::decode_entity).await
    }

    /// Reads the machine with this id, full computer name or short computer name.
    pub async fn resolve_machine(&self, name: &str) -> Result<Machine> {
        let name = name.trim();
        if is_machine_id(name) {
            return self.get_machine(&name.to_ascii_lowercase()).await;
        }
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(Error::invalid(format!("{name:?} is not a machine id or name"))
                .with_hint("give a machine id of 40 hexadecimal digits, or a computer name"));
        }
        // A short name has no domain, so the filter matches a prefix and `is_named` decides.
        let filter = format!("startswith(computerDnsName,{})", odata_literal(&name.to_lowercase()));
        let mut found = self.list_machines(Some(&filter), None).await?;
        found.retain(|machine| machine.is_named(name));
        single_match(name, found)
    }

    /// Lists machines (page "get-machines"). If no machine matches, the service may answer 404, and
    /// the result is an empty list.
    pub async fn list_machines(
        &self,
        filter: Option<&str>,
        top: Option<u32>,
    ) -> Result<Vec<Machine>> {
        match self.list(Operation::ListMachines, "/api/machines", filter, top, None).await {
            Err(error) if error.status == Some(404) => Ok(Vec::new()),
            other => other,
        }
    }

    /// Reads one page of machines. Returns the path of the next page, to pass as `next`.
    pub async fn list_machines_page(
        &self,
        filter: Option<&str>,
        next: Option<String>,
    ) -> Result<(Vec<Machine>, Option<String>)> {
        let path = next.unwrap_or_else(|| format!("/api/machines{}", query(filter, None, None)));
        match self.call(&ApiCall::get(Operation::ListMachines, path), model::decode_page).await {
            Ok(page) => {
                Ok((page.value, page.next_link.as_deref().map(next_page_path).transpose()?))
            }
            Err(error) if error.status == Some(404) => Ok((Vec::new(), None)),
            Err(error) => Err(error),
        }
    }

    /// Reads a machine action (page "get-machineaction-object").
    pub async fn get_machine_action(&self, id: &str) -> Result<MachineAction> {
        let path = format!("/api/machineactions/{}", encode(id));
        let call = ApiCall::get(Operation::GetMachineAction, path).with_action_id(id);
        self.call(&call, model::decode_entity).await
    }

    /// Lists machine actions, newest first (page "get-machineactions-collection").
    pub async fn list_machine_actions(
        &self,
        filter: Option<&str>,
        top: Option<u32>,
    ) -> Result<Vec<MachineAction>> {
        let order = Some("creationDateTimeUtc desc");
        let mut actions: Vec<MachineAction> = self
            .list(Operation::ListMachineActions, "/api/machineactions", filter, top, order)
            .await?;
        // Sorted here too, because callers rely on the order.
        actions.sort_by_key(|action| std::cmp::Reverse(action.creation_date_time_utc));
        Ok(actions)
    }

    /// Cancels a machine action (page "cancel-machine-action").
    pub async fn cancel_machine_action(&self, id: &str, comment: &str) -> Result<MachineAction> {
        let path = format!("/api/machineactions/{}/cancel", encode(id));
        let call = ApiCall::post_json(
            Operation::CancelMachineAction,
            path,
            &json!({ "Comment": comment }),
        )
        .with_action_id(id);
        self.call(&call, model::decode_entity).await
    }

    /// Gets the link to a command's result, valid for 30 minutes (page "get-live-response-result").
    pub async fn get_result_link(&self, id: &str, index: u32) -> Result<SecretUrl> {
        #[derive(Deserialize)]
        struct ResultLink {
            value: String,
        }
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
        self.list(Operation::ListLibraryFiles, "/api/libraryfiles", None, None, None).await
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
    ) -> AttemptOutcome {
        let path = format!("/api/machines/{machine_id}/runliveresponse");
        let body = json!({ "Commands": commands, "Comment": comment });
        let call =
            ApiCall::post_json(Operation::RunLiveResponse, path, &body).with_machine_id(machine_id);
        self.attempt(&call, permit).await
    }

    async fn list<T: Entity>(
        &self,
        operation: Operation,
        path: &str,
        filter: Option<&str>,
        top: Option<u32>,
        order: Option<&str>,
    ) -> Result<Vec<T>> {
        let wanted = top.map_or(usize::MAX, |top| top as usize);
        let mut call = ApiCall::get(operation, format!("{path}{}", query(filter, top, order)));
        let mut all = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let page = self.call(&call, model::decode_page).await?;
            all.extend(page.value);
            let Some(next) = page.next_link.filter(|_| all.len() < wanted) else { break };
            // If the links form a circle, the loop would never end.
            if !seen.insert(next.clone()) {
                return Err(Error::new(
                    Kind::Service,
                    "the service's list links to a page that was read already",
                ));
            }
            call.path = next_page_path(&next)?;
        }
        all.truncate(wanted);
        Ok(all)
    }
}

fn query(filter: Option<&str>, top: Option<u32>, order: Option<&str>) -> String {
    // The service rejects a larger $top. The links of the pages lead to the rest.
    let top = top.filter(|top| *top <= MAX_PAGE_SIZE).map(|top| top.to_string());
    let options = [("$filter", filter), ("$top", top.as_deref()), ("$orderby", order)];
    let given =
        options.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encode(value?))));
    let text = given.collect::<Vec<_>>().join("&");
    if text.is_empty() { text } else { format!("?{text}") }
}

/// Returns the path and the query of the next page. The host of the link is ignored: the token must
/// not be sent to another host.
fn next_page_path(link: &str) -> Result<String> {
    let url = SecretUrl::parse(link, "@odata.nextLink")
        .map_err(|error| Error::new(Kind::Service, error.message.clone()))?;
    let url = url.expose();
    Ok(url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path())))
}

/// Returns the error for a name that no machine has.
pub fn machine_not_found(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("no machine is named {name:?}")).with_hint(
        "check the name in the device inventory of the Defender portal, or give the machine id; a \
         device group may hide the machine from this application",
    )
}

fn single_match(name: &str, mut found: Vec<Machine>) -> Result<Machine> {
    match (found.pop(), found.len()) {
        (Some(machine), 0) => Ok(machine),
        (None, _) => Err(machine_not_found(name)),
        (Some(last), _) => {
            found.push(last);
            Err(ambiguous_machine(name, &found))
        }
    }
}

fn ambiguous_machine(name: &str, found: &[Machine]) -> Error {
    let ids: Vec<_> = found.iter().map(|machine| machine.id.as_str()).collect();
    let message = format!("{} machines are named {name:?}: {}", ids.len(), ids.join(", "));
    let mut error = Error::new(Kind::AmbiguousMachine, message)
        .with_hint("give the id of the machine that you mean");
    let json = |machine: &Machine| serde_json::from_str(&machine.raw).ok();
    error.candidates = found.iter().filter_map(json).collect();
    error
}

/// Reads the machine action from the response to a submit.
pub fn parse_submit_response(response: &ApiResponse) -> Result<MachineAction> {
    model::decode_entity(&response.body)
}
