//! What the library shows of its files. Not every token may read it.

use super::observations::Observations;
use super::{Answer, ask, get};
use crate::model::{self, LibraryFile, Page, check_library_name};
use crate::operation::Operation;
use crate::pipeline::{ApiResponse, Pipeline};

pub(super) async fn read_library(pipeline: &Pipeline, evidence: &mut Observations) {
    let call = get(Operation::ListLibraryFiles, "/api/libraryfiles");
    let read = |response: &ApiResponse| model::decode_page(&response.body);
    let Answer::Read(page) = ask(pipeline, evidence, &call, read).await else { return };
    let page: Page<LibraryFile> = page;
    for file in &page.value {
        evidence.tally("library", "file");
        let hash = file.sha256.as_deref().unwrap_or_default();
        evidence.tally("library", hash_word(hash));
        if check_library_name(&file.file_name).is_err() {
            evidence.tally("library", "name that its page does not allow");
        }
        if file.has_parameters == Some(true) {
            evidence.tally("library", "with parameters");
        }
        let description = file.description.as_deref().unwrap_or_default();
        evidence.fact_at_least("longest_description", description.chars().count() as u64);
    }
    evidence.fact("library_has_pages", page.next_link.is_some());
}

fn hash_word(hash: &str) -> &'static str {
    match (hash.is_empty(), hash.bytes().any(|byte| byte.is_ascii_uppercase())) {
        (true, _) => "no sha256",
        (false, true) => "sha256 in upper case",
        (false, false) => "sha256 in lower case",
    }
}
