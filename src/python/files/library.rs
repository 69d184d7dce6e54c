//! `Library`.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::error::{Error, Result};
use crate::library::{self, ensure, upload};
use crate::python::arguments::{UploadContent, read_content};
use crate::python::client::config::ForkSafeClient;
use crate::python::errors::to_pyerr;
use crate::python::operations::operations;
use crate::python::runtime::CoreTask;
use crate::session::Sessions;
use crate::transfer::LibraryUpload;
use crate::transport::BodyPart;

/// The tenant's live response library: scripts and files that commands name.
///
/// Names hold letters, digits, `-`, `_` and `.`.
#[pyclass(frozen, module = "mde_live_response")]
pub struct Library {
    client: ForkSafeClient,
    endpoint: String,
}

/// What `upload` and `ensure` take, read as far as it can be at once.
struct Upload {
    content: UploadContent,
    form: LibraryUpload,
}

impl Library {
    pub fn new(sessions: Arc<Sessions>) -> Self {
        Self {
            endpoint: sessions.pipeline.options.endpoint.to_string(),
            client: ForkSafeClient::new(sessions),
        }
    }
}

impl Upload {
    fn new(
        py: Python<'_>,
        max_size: u64,
        file: &Bound<'_, PyAny>,
        name: Option<String>,
        description: &str,
        parameters_description: Option<String>,
        overwrite: bool,
    ) -> PyResult<Self> {
        let (content, own_name) = read_content(file, max_size)?;
        let file_name = name.or(own_name).ok_or_else(|| {
            let error = Error::invalid("what is uploaded has no name of its own")
                .with_hint("give one by name=");
            to_pyerr(py, error)
        })?;
        let description = description.to_owned();
        let none = BodyPart::Bytes(Bytes::new());
        let form = LibraryUpload {
            file_name,
            content: none,
            description,
            parameters_description,
            overwrite,
        };
        Ok(Self { content, form })
    }

    async fn form(self) -> Result<LibraryUpload> {
        let content = match self.content {
            UploadContent::Bytes(bytes) => BodyPart::Bytes(bytes),
            UploadContent::Path(path) => library::open_file(&path).await?,
        };
        Ok(LibraryUpload { content, ..self.form })
    }
}

fn max_upload_size(sessions: &Sessions) -> u64 {
    sessions.pipeline.options.limits.upload_size
}

operations! {
    Library;

    operations {
        /// List the files of the library.
        ///
        /// Its page: learn.microsoft.com/defender-endpoint/api/list-library-files
        /// Permission: Library.Manage.
        ///
        /// Raises:
        ///     ThrottledError: the line is longer than the client's `max_wait`.
        list_files / list_files_async () []
            |this, py| {
                let sessions = this.client.sessions(py)?;
                PyResult::Ok(CoreTask::new(&sessions.clone(), async move { sessions.pipeline.list_library_files().await }))
            };

        /// Upload a file to the library.
        ///
        /// Its page: learn.microsoft.com/defender-endpoint/api/upload-library
        /// Permission: Library.Manage.
        ///
        /// Args:
        ///     file: a path, the content itself, or a file object open for reading bytes. At most `Limits.upload_size`.
        ///         A path's is read as it is sent.
        ///     name: its name in the library; None: the file's own. Content in bytes needs one.
        ///     description: what it is for.
        ///     parameters_description: what arguments it takes; None: none.
        ///     overwrite: replace a file of this name.
        ///
        /// Raises:
        ///     InvalidRequestError: the name is missing or one the library cannot hold, or the file is too large.
        ///     AlreadyExistsError: there is a file of this name, and `overwrite` is False.
        ///     ThrottledError: the line is longer than the client's `max_wait`.
        ///     OSError: the file could not be read.
        upload / upload_async (file, *, name=None, description="", parameters_description=None, overwrite=false)
            [
                file: Bound<'_, PyAny>,
                name: Option<String>,
                description: &str,
                parameters_description: Option<String>,
                overwrite: bool
            ]
            |this, py| {
                let sessions = this.client.sessions(py)?;
                let given = Upload::new(py, max_upload_size(&sessions), &file, name, description, parameters_description, overwrite);
                given.map(|given| CoreTask::new(&sessions.clone(), async move {
                    upload(&sessions.pipeline, given.form().await?).await
                }))
            };

        /// Upload a file unless the library holds it already, content and all.
        ///
        /// Its pages: learn.microsoft.com/defender-endpoint/api/list-library-files and
        /// learn.microsoft.com/defender-endpoint/api/upload-library
        /// Permission: Library.Manage.
        ///
        /// Args:
        ///     file: a path, or the content itself. At most `Limits.upload_size`.
        ///     name: its name in the library; None: the file's own. Content in bytes needs one.
        ///     description: what it is for.
        ///     parameters_description: what arguments it takes; None: none.
        ///     overwrite: replace other content under this name.
        ///
        /// Returns:
        ///     The library's entry; `changed` tells whether it was uploaded now. What is replaced is told in
        ///     a WARNING, with its SHA-256 and author.
        ///
        /// Raises:
        ///     InvalidRequestError: the name is missing or one the library cannot hold, or the file is too large.
        ///     AlreadyExistsError: the name holds other content, and `overwrite` is False.
        ///     ThrottledError: the line is longer than the client's `max_wait`.
        ///     OSError: the file could not be read.
        ensure / ensure_async (file, *, name=None, description="", parameters_description=None, overwrite=false)
            [
                file: Bound<'_, PyAny>,
                name: Option<String>,
                description: &str,
                parameters_description: Option<String>,
                overwrite: bool
            ]
            |this, py| {
                let sessions = this.client.sessions(py)?;
                let given = Upload::new(py, max_upload_size(&sessions), &file, name, description, parameters_description, overwrite);
                given.map(|given| CoreTask::new(&sessions.clone(), async move {
                    ensure(&sessions.pipeline, given.form().await?).await
                }))
            };

        /// Delete a file from the library.
        ///
        /// Its page: learn.microsoft.com/defender-endpoint/api/delete-library
        /// Permission: Library.Manage.
        ///
        /// Args:
        ///     name: its name in the library.
        ///
        /// Raises:
        ///     NotFoundError: there is none of this name.
        ///     ThrottledError: the line is longer than the client's `max_wait`.
        delete / delete_async (name) [name: String]
            |this, py| {
                let sessions = this.client.sessions(py)?;
                PyResult::Ok(CoreTask::new(&sessions.clone(), async move { sessions.pipeline.delete_library_file(&name).await }))
            };
    }

    methods {
        fn __reduce__(&self) -> PyResult<()> {
            Err(PyTypeError::new_err("a Library is not pickled: it holds a client; pickle what it lists"))
        }

        fn __repr__(&self) -> String {
            format!("<Library of {}>", self.endpoint)
        }
    }
}
