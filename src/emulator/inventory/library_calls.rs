//! Handlers of the library: upload, list and delete (docs/service.md, section 8).

use http::StatusCode;

use crate::emulator::clock::Tick;
use crate::emulator::control::switches::UnnamedUpload;
use crate::emulator::inventory::library::{StoredFile, is_valid_file_name};
use crate::emulator::state::State;
use crate::emulator::wire::reply::{ApiError, Reply, status};
use crate::emulator::wire::request::IncomingRequest;

impl State {
    /// Stores a file. Its form was parsed and hashed before, without the lock.
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
        // A client that sent no file name got a file called "file" (docs/service.md,
        // section 15, row 24).
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
        let file = StoredFile {
            sha256: part.sha256.clone(),
            length: part.length,
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
        file.write(&mut out, &self.raw_properties);
        out.push(b'}');
        self.library.insert(file);
        Ok(Reply::entity(StatusCode::OK, out))
    }

    /// Returns the error of an upload that is too large (page "upload-library").
    pub fn upload_too_large(&self) -> ApiError {
        let message = format!(
            "The file is larger than the {} bytes that are allowed.",
            self.limits.upload_size
        );
        ApiError::new(status(self.switches.upload_too_big_status), "InvalidRequestBody", message)
    }

    /// Lists the library's files.
    pub fn list_library(&self) -> Reply {
        let mut out = self.open_odata_body("LibraryFiles");
        out.extend_from_slice(b",\"value\":[");
        for (i, file) in self.library.files().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.push(b'{');
            file.write(&mut out, &self.raw_properties);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
        Reply::entity(StatusCode::OK, out)
    }

    /// Deletes a file.
    pub fn delete_from_library(&mut self, name: &str) -> Result<Reply, ApiError> {
        match self.library.remove(name) {
            true => Ok(Reply::empty(StatusCode::NO_CONTENT)),
            false => Err(ApiError::not_found(format!("File {name} was not found"))),
        }
    }
}
