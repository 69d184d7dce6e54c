//! Uploads to the library (facts.md, section 8). The form is read and hashed without the lock.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::emulator::clock::Tick;
use crate::emulator::control::switches::UnnamedUpload;
use crate::emulator::inventory::library::{LibraryFile, is_valid_file_name, sha256};
use crate::emulator::state::{IncomingRequest, State};
use crate::emulator::wire::multipart;
use crate::emulator::wire::reply::{ApiError, Reply, status};

/// What an upload's form says.
#[derive(Clone, Debug)]
pub struct UploadForm {
    file: Option<UploadedFile>,
    description: String,
    parameters: Option<String>,
    has_parameters: bool,
    overrides: bool,
}

#[derive(Clone, Debug)]
struct UploadedFile {
    name: Option<String>,
    length: u64,
    sha256: String,
}

impl UploadForm {
    /// Reads a form; slow, so done without the lock.
    pub fn parse(headers: &HeaderMap, body: &Bytes) -> Result<Self, String> {
        let form = multipart::parse_form(headers, body)?;
        let flag =
            |name: &str| form.text(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Ok(Self {
            file: form.part("file").map(|part| UploadedFile {
                name: part.file_name.clone(),
                length: part.content.len() as u64,
                sha256: sha256(&part.content),
            }),
            description: form.text("Description").unwrap_or_default(),
            parameters: form.text("ParametersDescription"),
            has_parameters: flag("HasParameters"),
            overrides: flag("OverrideIfExists"),
        })
    }
}

impl State {
    pub fn upload(
        &mut self,
        request: &IncomingRequest,
        application: u32,
        now: Tick,
    ) -> Result<Reply, ApiError> {
        let invalid = |why: &str| ApiError::bad_request("InvalidRequestBody", why);
        let upload = match &request.upload {
            Some(Ok(upload)) => upload,
            Some(Err(why)) => return Err(invalid(why)),
            None => return Err(invalid("The form could not be read.")),
        };
        let part = upload.file.as_ref().ok_or_else(|| {
            ApiError::bad_request("MissingRequiredParameter", "The form has no part named 'file'.")
        })?;
        if part.name.is_none() && self.switches.unnamed_upload == UnnamedUpload::Refused {
            return Err(invalid("The part 'file' has no file name."));
        }
        // A client that gave no name got one called "file" (facts 15, row 24).
        let name = part.name.clone().unwrap_or_else(|| "file".to_owned());
        if part.length > self.limits.upload_size {
            return Err(self.upload_too_large());
        }
        if !is_valid_file_name(&name) {
            return Err(ApiError::bad_request(
                "InvalidInput",
                format!("The file name '{name}' is not valid."),
            ));
        }
        let old = self.library.get(&name);
        if old.is_some() && !upload.overrides {
            let message = format!("A file named '{name}' already exists in the library.");
            return Err(ApiError::new(
                status(self.switches.upload_exists_status),
                "BadRequest",
                message,
            ));
        }
        let file = LibraryFile {
            sha256: part.sha256.clone(),
            description: upload.description.clone(),
            created: old.map_or(now, |old| old.created),
            updated: now,
            created_by: self.requestor(application),
            has_parameters: upload.has_parameters,
            parameters: upload.parameters.clone(),
            name,
        };
        let mut out = self.open_odata_body("LibraryFiles/$entity");
        out.push(b',');
        file.write(&mut out);
        out.push(b'}');
        self.library.insert(file);
        Ok(Reply::entity(StatusCode::OK, out))
    }

    /// What an upload over the size gets (page "upload-library").
    pub fn upload_too_large(&self) -> ApiError {
        let message = format!(
            "The file is larger than the {} bytes that are allowed.",
            self.limits.upload_size
        );
        ApiError::new(status(self.switches.upload_too_big_status), "InvalidRequestBody", message)
    }
}
