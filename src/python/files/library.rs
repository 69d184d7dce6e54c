//! `Library`. The longest docstring of its operations is in `docs/`.

use std::sync::Arc;

use bytes::Bytes;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::error::{Error, Result};
use crate::library::{self, ensure, prune, sync, upload};
use crate::python::callers_object::FreedInside;
use crate::python::client::config::ForkSafeClient;
use crate::python::files::arguments::{UploadContent, UploadFile};
use crate::python::operations::operations;
use crate::python::paths::PathArgument;
use crate::python::runtime::CoreTask;
use crate::python::seconds::Seconds;
use crate::session::Sessions;
use crate::transfer::LibraryUpload;
use crate::transport::BodyPart;

/// The tenant's live response library: the scripts and files that commands use.
///
/// A file name consists of letters, digits, `-`, `_` and `.`.
#[pyclass(frozen, module = "mde_live_response")]
pub struct Library {
    client: FreedInside<ForkSafeClient>,
    endpoint: String,
}

/// The arguments of `upload` and `ensure`. A file on disk has not been opened yet.
struct Upload {
    content: UploadContent,
    form: LibraryUpload,
}

impl Library {
    pub fn new(sessions: Arc<Sessions>) -> Self {
        Self {
            endpoint: sessions.pipeline.options.endpoint.to_string(),
            client: FreedInside::new(ForkSafeClient::new(sessions)),
        }
    }
}

impl Upload {
    fn new(
        max_size: u64,
        file: UploadFile<'_>,
        name: Option<String>,
        description: &str,
        parameters_description: Option<String>,
        overwrite: bool,
    ) -> PyResult<Self> {
        let (content, own_name) = file.load(max_size)?;
        let file_name = name.or(own_name).ok_or_else(|| {
            Error::invalid("the uploaded content has no file name").with_hint("give one with name=")
        })?;
        let description = description.to_owned();
        // `form` replaces it: a file is opened in the task, without the GIL.
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
        /// List the files in the library.
        ///
        /// The service's page: learn.microsoft.com/defender-endpoint/api/list-library-files
        /// Permission: Library.Manage.
        ///
        /// Raises:
        ///     PermissionDeniedError: the permission is missing.
        ///     ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        list_files / list_files_async () []
            |this, py| {
                let sessions = this.client.sessions(py)?;
                PyResult::Ok(CoreTask::new(&sessions.clone(), async move {
                    sessions.pipeline.list_library_files().await
                }))
            };

        /// Upload a file to the library.
        ///
        /// The service's page: learn.microsoft.com/defender-endpoint/api/upload-library
        /// Permission: Library.Manage.
        ///
        /// Args:
        ///     file: a path, the content as bytes, or a file object open for reading bytes. At
        ///         most `Limits.upload_size` bytes. A file at a path is read while it is sent.
        ///     name: the name in the library. None uses the file's own name; bytes have none.
        ///     description: what the file is for. Default: empty.
        ///     parameters_description: what arguments the script takes. None: it takes none.
        ///     overwrite: replace a file that has this name. Default False.
        ///
        /// Returns:
        ///     The library's entry.
        ///
        /// Raises:
        ///     InvalidRequestError: the name is missing or not allowed, or the file is too
        ///         large.
        ///     AlreadyExistsError: the library has a file with this name, and `overwrite` is
        ///         False.
        ///     PermissionDeniedError: the permission is missing.
        ///     ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        ///     OSError: the file cannot be read.
        upload / upload_async (
            file, *, name=None, description="", parameters_description=None, overwrite=false
        )
            [
                file: UploadFile<'_>,
                name: Option<String>,
                description: &str,
                parameters_description: Option<String>,
                overwrite: bool
            ]
            |this, py| {
                let sessions = this.client.sessions(py)?;
                let given = Upload::new(
                    max_upload_size(&sessions), file, name, description, parameters_description,
                    overwrite,
                );
                given.map(|given| CoreTask::new(&sessions.clone(), async move {
                    upload(&sessions.pipeline, given.form().await?).await
                }))
            };

        /// Upload a file unless the library has it with the same content.
        ///
        /// If only the description or the parameters differ, the same content is uploaded again
        /// with the new ones: the service has no other call for it.
        ///
        /// The service's pages: learn.microsoft.com/defender-endpoint/api/list-library-files
        /// and learn.microsoft.com/defender-endpoint/api/upload-library
        /// Permission: Library.Manage.
        ///
        /// Args:
        ///     file: a path or the content as bytes. At most `Limits.upload_size` bytes.
        ///     name: the name in the library. None uses the file's own name; bytes have none.
        ///     description: what the file is for. Default: empty; a file that the library has
        ///         keeps its description.
        ///     parameters_description: what arguments the script takes. None: it takes none; a
        ///         file that the library has keeps its own.
        ///     overwrite: replace different content with this name. A WARNING logs the SHA-256
        ///         and the author of the replaced content. Default False.
        ///
        /// Returns:
        ///     The library's entry. Its `changed` is True if the file was uploaded now.
        ///
        /// Raises:
        ///     InvalidRequestError: the name is missing or not allowed, or the file is too
        ///         large.
        ///     AlreadyExistsError: the library has different content with this name, and
        ///         `overwrite` is False.
        ///     PermissionDeniedError: the permission is missing.
        ///     ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        ///     OSError: the file cannot be read.
        ensure / ensure_async (
            file, *, name=None, description="", parameters_description=None, overwrite=false
        )
            [
                file: UploadFile<'_>,
                name: Option<String>,
                description: &str,
                parameters_description: Option<String>,
                overwrite: bool
            ]
            |this, py| {
                let sessions = this.client.sessions(py)?;
                let given = Upload::new(
                    max_upload_size(&sessions), file, name, description, parameters_description,
                    overwrite,
                );
                given.map(|given| CoreTask::new(&sessions.clone(), async move {
                    ensure(&sessions.pipeline, given.form().await?).await
                }))
            };

        /// Delete a file from the library.
        ///
        /// The service's page: learn.microsoft.com/defender-endpoint/api/delete-library
        /// Permission: Library.Manage.
        ///
        /// Args:
        ///     name: the file's name in the library.
        ///
        /// Raises:
        ///     NotFoundError: the library has no file with this name.
        ///     PermissionDeniedError: the permission is missing.
        ///     ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        delete / delete_async (name) [name: String]
            |this, py| {
                let sessions = this.client.sessions(py)?;
                PyResult::Ok(CoreTask::new(&sessions.clone(), async move {
                    sessions.local_files.forget(&name);
                    sessions.pipeline.delete_library_file(&name).await
                }))
            };

        #[doc = include_str!("docs/sync.txt")]
        sync / sync_async (folder, *, delete=false, dry_run=false)
            [folder: PathArgument, delete: bool, dry_run: bool]
            |this, py| {
                let sessions = this.client.sessions(py)?;
                PyResult::Ok(CoreTask::new(&sessions.clone(), async move {
                    let (pipeline, local_files) = (&sessions.pipeline, &sessions.local_files);
                    sync(pipeline, local_files, &folder.0, delete, dry_run).await
                }))
            };

        /// Delete files that `Command.put_local`, `run_local` and `run_inline` uploaded.
        ///
        /// A file stays if an open or unsettled submit or an unfinished run of the state store may
        /// need it, or a session that the service lists as open. A later submit uploads a deleted
        /// file again.
        /// The service's pages: learn.microsoft.com/defender-endpoint/api/list-library-files
        /// and learn.microsoft.com/defender-endpoint/api/delete-library
        /// Permissions: Library.Manage; Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     older_than: seconds or a timedelta since the upload, 0 or more. Give a day or
        ///         more if other processes submit without a shared state store.
        ///     dry_run: only return what would be deleted. Default False.
        ///
        /// Returns:
        ///     The plan: what is deleted, what stays, and the files of others.
        ///
        /// Raises:
        ///     InvalidRequestError: `older_than` is negative.
        ///     PermissionDeniedError: a permission is missing.
        ///     ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        ///     StateError: the state store is unavailable.
        prune / prune_async (*, older_than, dry_run=false)
            [older_than: Seconds, dry_run: bool]
            |this, py| {
                let sessions = this.client.sessions(py)?;
                PyResult::Ok(CoreTask::new(&sessions.clone(), async move {
                    let (pipeline, local_files) = (&sessions.pipeline, &sessions.local_files);
                    prune(pipeline, local_files, older_than.0, dry_run).await
                }))
            };
    }

    methods {
        fn __reduce__(&self) -> PyResult<()> {
            Err(PyTypeError::new_err(
                "a Library is not pickled: it holds a client; pickle the files it lists",
            ))
        }

        fn __repr__(&self) -> String {
            format!("<Library of {}>", self.endpoint)
        }
    }
}
