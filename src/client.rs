//! One short function per operation of the service.

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

/// The unreserved characters of RFC 3986 stay as they are.
const URL_COMPONENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The largest page that the service gives (page "api-odata" of the service's own).
const MAX_PAGE_SIZE: u32 = 10_000;

fn encode(text: &str) -> String {
    utf8_percent_encode(text, URL_COMPONENT).to_string()
}

/// A string literal of OData.
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

    /// Reads the one machine that `name` means: an id, a full or a short computer name.
    pub async fn resolve_machine(&self, name: &str) -> Result<Machine> {
        let name = name.trim();
        if is_machine_id(name) {
            return self.get_machine(&name.to_ascii_lowercase()).await;
        }
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(Error::invalid(format!("{name:?} is not a machine"))
                .with_hint("give a machine id of 40 hexadecimal digits, or a computer name"));
        }
        let filter = format!("startswith(computerDnsName,{})", odata_literal(&name.to_lowercase()));
        let mut found = self.list_machines(Some(&filter), None).await?;
        found.retain(|machine| machine.is_named(name));
        single_match(name, found)
    }

    /// Lists machines (page "get-machines"). Nothing recent is a 404 there, and an empty list here.
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

    /// Reads one page of machines, and where the next one is. `next`: what an earlier page told.
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

    /// Gets the link of a command's result, good for 30 minutes (page "get-live-response-result").
    pub async fn get_result_link(&self, id: &str, index: u32) -> Result<SecretUrl> {
        #[derive(Deserialize)]
        struct Link {
            value: String,
        }
        let path = format!(
            "/api/machineactions/{}/GetLiveResponseResultDownloadLink(index={index})",
            encode(id)
        );
        let call = ApiCall::get(Operation::GetResultLink, path).with_action_id(id);
        // What is wrong with a link is never told in its own words: it is a secret.
        let wrong =
            || Error::new(Kind::Service, format!("the service gave no link for command {index}"));
        let decode = |body: &[u8]| {
            let link: Link = serde_json::from_slice(body).map_err(|_| wrong())?;
            SecretUrl::parse(link.value.trim_matches('"'), "the link of the result")
                .map_err(|_| wrong())
        };
        self.call(&call, decode).await
    }

    /// Lists the live response library (page "list-library-files").
    pub async fn list_library_files(&self) -> Result<Vec<LibraryFile>> {
        self.list(Operation::ListLibraryFiles, "/api/libraryfiles", None, None, None).await
    }

    /// Uploads to the live response library (page "upload-library").
    pub async fn upload_library_file(&self, form: &LibraryUpload) -> Result<LibraryFile> {
        let (content_type, body) = encode_multipart(form);
        let mut call = ApiCall::get(Operation::UploadLibraryFile, "/api/libraryfiles");
        call.method = Method::POST;
        call.content_type = Some(content_type);
        call.body = body;
        call.file_name = Some(form.file_name.clone());
        self.call(&call, model::decode_entity).await
    }

    /// Deletes from the live response library (page "delete-library").
    pub async fn delete_library_file(&self, name: &str) -> Result<()> {
        let mut call = ApiCall::get(
            Operation::DeleteLibraryFile,
            format!("/api/libraryfiles/{}", encode(name)),
        );
        call.method = Method::DELETE;
        call.file_name = Some(name.to_owned());
        self.call(&call, |_| Ok(())).await
    }

    /// Submits, once (page "run-live-response"). What an unclear attempt came to is the caller's to find out.
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
            if !seen.insert(next.clone()) {
                return Err(Error::new(
                    Kind::Service,
                    "the service's list leads back to a page that was read already",
                ));
            }
            call.path = next_page_path(&next)?;
        }
        all.truncate(wanted);
        Ok(all)
    }
}

fn query(filter: Option<&str>, top: Option<u32>, order: Option<&str>) -> String {
    // More than a page is not asked for by number: the pages' links lead there.
    let top = top.filter(|top| *top <= MAX_PAGE_SIZE).map(|top| top.to_string());
    let options = [("$filter", filter), ("$top", top.as_deref()), ("$orderby", order)];
    let given =
        options.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", encode(value?))));
    let text = given.collect::<Vec<_>>().join("&");
    if text.is_empty() { text } else { format!("?{text}") }
}

/// The path and query of a next page: the link may name another of the service's hosts, and our token stays with ours.
fn next_page_path(link: &str) -> Result<String> {
    let url = SecretUrl::parse(link, "@odata.nextLink")
        .map_err(|error| Error::new(Kind::Service, error.message.clone()))?;
    let url = url.expose();
    Ok(url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path())))
}

fn single_match(name: &str, mut found: Vec<Machine>) -> Result<Machine> {
    let candidates: Vec<_> = found.iter().map(|machine| machine.id.clone()).collect();
    match (found.pop(), found.len()) {
        (Some(machine), 0) => Ok(machine),
        (None, _) => Err(Error::new(Kind::NotFound, format!("no machine is named {name:?}")).with_hint(
            "check the name in the Defender portal's device inventory, or give the machine id; a device group may hide it",
        )),
        (Some(last), _) => {
            found.push(last);
            let message = format!("{} machines are named {name:?}: {}", found.len(), candidates.join(", "));
            let mut error = Error::new(Kind::AmbiguousMachine, message).with_hint("give the machine id of the one meant");
            error.candidates = found.iter().filter_map(|machine| serde_json::from_str(&machine.raw).ok()).collect();
            Err(error)
        }
    }
}

/// Reads the machine action out of the answer to a submit.
pub fn parse_submit_response(answer: &ApiResponse) -> Result<MachineAction> {
    model::decode_entity(&answer.body)
}
